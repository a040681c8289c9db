"""One StreamHits call: a queue of requests going out, a thread that hands responses in.

Decides nothing about hits; its owner is told of every response and of the end, from the reader's thread.
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
    """A stream from its open message to its end. Its public fields belong to the owner, which guards them."""

    def __init__(self, mesh: Mesh, site: str, resume_from: int, opened_at_s: float) -> None:
        self.ready = False
        self.credit_bytes = 0
        self.room_bytes = 0
        self.going_away = False
        self.progressed = False
        self.ended = False
        self.error: grpc.RpcError | None = None
        self.patience_ends_s: float | None = None
        self.active_at_s = opened_at_s
        self._requests: SimpleQueue[collector_pb2.StreamHitsRequest | None] = SimpleQueue()
        self._mesh = mesh
        self._site = site
        opening = collector_pb2.StreamOpen(ingest_key=mesh.require_key(), resume_from=resume_from)
        self._requests.put(collector_pb2.StreamHitsRequest(open=opening))

    def start(self, responded: Responded, ended: Ended) -> None:
        """Makes the call and starts the reader."""
        metadata = (*self._mesh.credentials, (SITE_METADATA, self._site))
        self._call = self._mesh.collector.StreamHits(self._outgoing(), metadata=metadata)
        threading.Thread(target=self._read, args=(responded, ended), name="hit-stream-reader", daemon=True).start()

    def put(self, request: collector_pb2.StreamHitsRequest) -> None:
        """Sends a request after those before it. Never blocks: the owner keeps to the credit."""
        self._requests.put(request)

    def half_close(self) -> None:
        """Sends nothing more; the collector ends the stream when everything is acknowledged."""
        self._requests.put(None)

    def cancel(self) -> None:
        """Breaks the call off."""
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
