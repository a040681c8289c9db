"""A client that sends prepared batches over StreamHits and counts acknowledged hits.

The client sends as fast as credit allows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from tests.bench.traffic import sequenced

STREAM_HITS = "/hitmesh.api.collector.v1.CollectorService/StreamHits"
JOIN_TIMEOUT_S = 30.0


class StreamClient:
    """A stream on a separate channel. Call `start` first and `finish` later. Read the counts after `finish`."""

    def __init__(self, endpoint: str, batches: Sequence[bytes], first: int) -> None:
        self.sent_batches = 0
        self.accepted = 0
        self.issues = 0
        self.responses = 0
        self._batches = batches
        self._first = first
        self._credit = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._channel = grpc.insecure_channel(endpoint, options=(("grpc.use_local_subchannel_pool", 1),))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: Exception | None = None

    def start(self) -> None:
        """Open the stream and begin to send."""
        self._thread.start()

    def stop_sending(self) -> None:
        """Stop sending new batches."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def finish(self) -> None:
        """Block until every sent hit is acknowledged.

        Raises:
            RuntimeError: the stream failed, or did not end in time.
        """
        self._thread.join(JOIN_TIMEOUT_S)
        self._channel.close()
        if self._failure is not None or self._thread.is_alive():
            raise RuntimeError(f"the stream did not end well: {self._failure or 'still waiting for acks'}")

    def _run(self) -> None:
        stream_hits: grpc.StreamStreamMultiCallable[bytes, collector_pb2.StreamHitsResponse] = (
            self._channel.stream_stream(STREAM_HITS, None, collector_pb2.StreamHitsResponse.FromString)
        )
        try:
            for response in stream_hits(self._requests()):
                self._take(response)
        except grpc.RpcError as error:
            self._failure = error
            self.stop_sending()

    def _take(self, response: collector_pb2.StreamHitsResponse) -> None:
        with self._changed:
            self.responses += 1
            self._credit += response.ready.credit_bytes + response.credit.bytes
            self.accepted += response.ack.accepted_count
            self.issues += len(response.ack.issues)
            self._changed.notify_all()

    def _requests(self) -> Iterator[bytes]:
        opening = collector_pb2.StreamHitsRequest(open=collector_pb2.StreamOpen())
        yield opening.SerializeToString()
        while True:
            place = (self._first + self.sent_batches) % len(self._batches)
            message = sequenced(self.sent_batches + 1, self._batches[place])
            if not self._has_room(len(message)):
                return
            self.sent_batches += 1
            yield message

    def _has_room(self, size: int) -> bool:
        """Block until the credit covers `size`, subtract `size` from the credit, and return True.

        After `stop_sending`, return False.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._credit >= size)
            if not self._stopping:
                self._credit -= size
            return not self._stopping
