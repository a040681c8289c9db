"""Sends encoded frames over consecutive StreamHits calls (see collector.proto).

The send window decides when each frame is sent. `submit` never blocks, because frames wait in the send window while the
collector grants no credit.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.client.patience import Backoff, Patience
from hitmesh.client.send_window import SendWindow, Settled
from hitmesh.client.sender import RETRYABLE, SendStopped
from hitmesh.tools.load.encoding import sequenced, sequenced_size
from hitmesh.tools.load.traffic import Frame

PATIENCE: Final = Patience()
STREAM_HITS: Final = "/hitmesh.api.collector.v1.CollectorService/StreamHits"

Answered = Callable[[Settled[Frame]], None]


class FrameStream:
    """Sends frames over a separate connection, and reports their outcomes to `answered`. Thread-safe."""

    def __init__(self, endpoint: str, answered: Answered, patience: Patience = PATIENCE) -> None:
        self._answered = answered
        self._changed = threading.Condition()
        self._window: SendWindow[Frame] = SendWindow(patience)
        self._backoff = Backoff(patience, random.random)
        self._life = 0
        self._closing = False
        self._call: grpc.Call | None = None
        self.failure: Exception | None = None
        self._channel = grpc.insecure_channel(
            endpoint, options=(("grpc.use_local_subchannel_pool", 1), ("grpc.keepalive_time_ms", 20_000))
        )
        self._thread = threading.Thread(target=self._live, name="load-stream", daemon=True)

    def start(self) -> None:
        """Start the thread, which opens the first call."""
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Total size in bytes of the frames that wait for credit or for a retry."""
        return self._window.queued_bytes

    def submit(self, frame: Frame) -> None:
        """Queue a frame without blocking; the frame is sent as soon as there is credit."""
        with self._changed:
            self._window.add(frame)
            self._changed.notify_all()

    def finish(self) -> None:
        """Declare that no frame will follow. The stream ends when every frame is acknowledged."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`; return whether the stream has ended, successfully or with `failure`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Drop all frames and close the connection."""
        with self._changed:
            self._closing = True
            self._window.clear()
            self._changed.notify_all()
        self._channel.close()

    def look_after(self) -> None:
        """Send frames whose retry is due, and cancel a call whose response is overdue.

        Call this method about once per second.
        """
        with self._changed:
            self._changed.notify_all()
            if self._call is not None and self._window.break_off(time.monotonic()):
                self._call.cancel()

    # The following methods run in the stream's own thread.

    def _live(self) -> None:
        while True:
            error = self._follow_call()
            with self._changed:
                self._life += 1
                self._call = None
                self._backoff.ended(progressed=self._window.progressed)
                self._changed.notify_all()  # ends the request iterator, because the call has ended
                if self.failure is not None or (self._closing and self._window.is_idle):
                    return
                self.failure = self._failure_after(error)
                if self.failure is not None:
                    return
                if self._backoff.failures:
                    self._changed.wait_for(lambda: self._closing, self._backoff.pause_s())

    def _failure_after(self, error: grpc.RpcError | None) -> Exception | None:
        if error is not None and error.code() not in RETRYABLE:
            return error
        if self._backoff.is_exhausted:
            why = f": {error.details()}" if error is not None else ""
            return SendStopped(
                f"{self._backoff.failures} streams in a row brought no acknowledgement{why}; check that the collector "
                "runs"
            )
        return None

    def _follow_call(self) -> grpc.RpcError | None:
        """Make a call, and handle the responses until the call ends.

        Return the error that broke the call, or None.
        """
        with self._changed:
            self._life += 1
            life, resume_from = self._life, self._window.reopen(time.monotonic())
        stream_hits: grpc.StreamStreamMultiCallable[bytes, collector_pb2.StreamHitsResponse] = (
            self._channel.stream_stream(STREAM_HITS, None, collector_pb2.StreamHitsResponse.FromString)
        )
        try:
            call = stream_hits(self._requests(life, resume_from))
            self._call = call
            for response in call:
                self._responded(response)
        except grpc.RpcError as error:
            return error
        except ValueError:  # raised if `close` has closed the channel
            return None
        return None

    def _requests(self, life: int, resume_from: int) -> Iterator[bytes]:
        opening = collector_pb2.StreamOpen(resume_from=resume_from)
        yield collector_pb2.StreamHitsRequest(open=opening).SerializeToString()
        while (message := self._next_message(life)) is not None:
            yield message

    def _next_message(self, life: int) -> bytes | None:
        """Wait until a frame can be sent, and return its message.

        The result is None if no further frame can be sent over this call.
        """
        window = self._window
        with self._changed:
            while not self._may_go(life):
                self._changed.wait()
            now_s = time.monotonic()
            frame = window.head(now_s)
            if self._life != life or frame is None:
                return None
            message = sequenced(window.next_number, frame.content)
            window.take(len(message), now_s)
            return message

    def _may_go(self, life: int) -> bool:
        window = self._window
        if self._life != life or window.is_draining:
            return True
        frame = window.head(time.monotonic())
        if frame is None:
            return self._closing and window.is_idle
        return window.fits(sequenced_size(window.next_number, frame.size))

    # The following method handles responses, and also runs in the stream's thread.

    def _responded(self, response: collector_pb2.StreamHitsResponse) -> None:
        with self._changed:
            answers = self._window.respond(response, time.monotonic())
            self._changed.notify_all()
        for answer in answers:
            self._answered(answer)
            if answer.given_up and self.failure is None:
                self.failure = SendStopped(
                    f"the collector did not accept a frame in {answer.attempts} attempts: {answer.given_up}; "
                    "check that the mesh is healthy"
                )
                if self._call is not None:
                    self._call.cancel()
