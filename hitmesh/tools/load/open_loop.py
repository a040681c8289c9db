"""Open loop: sends each frame when it is due, even while the mesh has not answered earlier frames.

This module decides the time and the stream for each frame. If too many bytes are queued, the module leaves the frame
out. A closed loop, which waits for answers, would send fewer hits whenever the mesh is slow. The measured latencies
would then lack the delays that real users have (coordinated omission).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final

from hitmesh.tools.load.expected import Expected
from hitmesh.tools.load.stream import FrameStream
from hitmesh.tools.load.tally import Tally
from hitmesh.tools.load.traffic import Frame

MAX_WAITING_BYTES: Final = 64 << 20


class OpenLoop:
    """Sends the frames of a run on schedule.

    A separate thread runs from `start` until the last frame or `stop`.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        streams: Sequence[FrameStream],
        *,
        start_s: float,
        expected: Expected,
        tally: Tally,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self.failure: Exception | None = None
        self._frames = frames
        self._streams = streams
        self._start_s = start_s
        self._expected = expected
        self._tally = tally
        self._max_waiting_bytes = max_waiting_bytes
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load-schedule", daemon=True)

    def start(self) -> None:
        """Start the thread; the first frame may be sent at `start_s` on the monotonic clock."""
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`, and return whether the thread has ended.

        The thread ends in three cases: every frame was sent or left out, `stop` was called, or an error occurred
        (`failure`).
        """
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Stop sending frames."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            for frame in self._frames:
                due_s = self._start_s + frame.due_s
                if self._stopping.wait(max(0.0, due_s - time.monotonic())):
                    return
                self._send(frame, time.monotonic() - due_s)
        except Exception as error:  # the main thread of the run raises `failure`
            self.failure = error
        finally:
            for stream in self._streams:
                stream.finish()

    def _send(self, frame: Frame, delay_s: float) -> None:
        waiting = [stream.waiting_bytes for stream in self._streams]
        shed = sum(waiting) + len(frame.content) > self._max_waiting_bytes
        # Count the frame before `submit`, because the answer may arrive at once.
        self._tally.offer(frame.hits, delay_s, shed=shed)
        if shed:
            self._expected.leave_out(frame.facts)
            return
        self._expected.send(frame.facts)
        idle = [number for number, size in enumerate(waiting) if size == 0]
        turn = idle[frame.number % len(idle)] if idle else waiting.index(min(waiting))
        self._streams[turn].submit(frame)
