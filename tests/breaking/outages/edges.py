"""Edges that send hits to a collector, on a test clock. Each edge sends a window of batches and buffers further hits.

The collector is the production micro-batcher with the real log. A batch is acknowledged once Kafka has stored the
batch.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from collector.admission import Frame
from collector.batcher import MicroBatcher
from collector.micro_batch import Waiting
from collector.outcome import BatchOutcome
from hitmesh.api.hit.v1 import hit_pb2
from tests.reference.hits import RefHit
from tests.support.clock import ManualClock
from tests.support.messages import message_of, timestamp

WINDOW_BATCHES: Final = 4
BATCH_HITS: Final = 40


@dataclass
class Edge:
    """An edge that sends the hits of a single site."""

    site: str
    """The site of all hits."""
    key: str
    """The ingest key with which the edge sends the hits."""
    buffer: deque[RefHit] = field(default_factory=deque)
    """Hits that are not sent yet, the oldest first."""
    window: deque[tuple[int, Future[BatchOutcome]]] = field(default_factory=deque)
    """The size and the outcome of each batch that is sent but not yet acknowledged."""
    acknowledged: int = 0
    """Number of hits that the collector has acknowledged."""
    batches: int = 0

    def pump(self, batcher: MicroBatcher, clock: ManualClock) -> None:
        """Process acknowledgements, and send hits while the window has room."""
        while self.window and self.window[0][1].done():
            size, pending = self.window.popleft()
            outcome = pending.result()
            refused = [issue for issue in outcome.issues if issue.outcome != "WARNED"]  # a warning is no refusal
            assert not refused, refused[:3]
            assert outcome.accepted == size
            self.acknowledged += size
        while self.buffer and len(self.window) < WINDOW_BATCHES:
            self._send(batcher, clock)

    @property
    def is_done(self) -> bool:
        """Return whether every hit of this edge is acknowledged."""
        return not self.buffer and not self.window

    def _send(self, batcher: MicroBatcher, clock: ManualClock) -> None:
        hits = [self.buffer.popleft() for _ in range(min(BATCH_HITS, len(self.buffer)))]
        self.batches += 1
        batch = hit_pb2.HitBatch(
            batch_id=f"edge-{self.batches}", client_send_time=timestamp(clock.now()), hits=map(message_of, hits)
        )
        pending: Future[BatchOutcome] = Future()
        batcher.submit(Waiting(Frame(batch.SerializeToString(), self.key, self.site, clock.now()), pending.set_result))
        self.window.append((len(hits), pending))
