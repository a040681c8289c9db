"""A StreamHits call: a queue of outgoing requests, and a reader thread for the responses.

The reader thread passes every response, and the end of the stream, to the functions given to `start`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.client.mesh import SITE_METADATA, Mesh

Responded = Callable[["OpenStream", collector_pb2.StreamHitsResponse], None]
Ended = Callable[["OpenStream", grpc.RpcError | None], None]


class OpenStream:
    """A stream, from the `open` request to the end.

    Callers must guard the public fields with a lock.
    """

    def __init__(self, mesh: Mesh, site: str, resume_from: int, *, validate_only: bool = False) -> None:
        self.ended = False
        self.error: grpc.RpcError | None = None
        self._requests: SimpleQueue[collector_pb2.StreamHitsRequest | None] = SimpleQueue()
        self._mesh = mesh
        self._site = site
        opening = collector_pb2.StreamOpen(
            ingest_key=mesh.require_key(), resume_from=resume_from, validate_only=validate_only
        )
        self._requests.put(collector_pb2.StreamHitsRequest(open=opening))

    def start(self, responded: Responded, ended: Ended) -> None:
        """Make the call and start the reader thread."""
        metadata = (*self._mesh.credentials, (SITE_METADATA, self._site))
        self._call = self._mesh.collector.StreamHits(self._outgoing(), metadata=metadata)
        threading.Thread(target=self._read, args=(responded, ended), name="hit-stream-reader", daemon=True).start()

    def put(self, request: collector_pb2.StreamHitsRequest) -> None:
        """Queue a request without blocking.

        The caller must keep the queue within the collector's credit.
        """
        self._requests.put(request)

    def half_close(self) -> None:
        """Send no further requests; the collector ends the stream when it has acknowledged every batch."""
        self._requests.put(None)

    def cancel(self) -> None:
        """Cancel the call."""
        self._call.cancel()
        self._requests.put(None)

    def _outgoing(self) -> Iterator[collector_pb2.StreamHitsRequest]:
        while (request := self._requests.get()) is not None:
            yield request

    def _read(self, responded: Responded, ended: Ended) -> None:
        error: grpc.RpcError | None = None
        try:
            for response in self._call:
                responded(self, response)
        except grpc.RpcError as broken:
            error = broken
        finally:
            self._requests.put(None)
            ended(self, error)
