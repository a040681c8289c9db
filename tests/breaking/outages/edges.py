"""Edges that stand before a collector on a clock of the test: each sends a window, and buffers what has no place in it.

The collector is its real micro-batcher over the real log, so a batch is acknowledged when Kafka has it, not before.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from collector.admission import Frame
from collector.batcher import MicroBatcher, Waiting
from collector.outcome import BatchOutcome
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.runtime.clock import ManualClock
from tests.reference.hits import RefHit
from tests.support.messages import message_of, timestamp

WINDOW_BATCHES: Final = 4
BATCH_HITS: Final = 40


@dataclass
class Edge:
    """One stream of one site.

    Attributes:
        site: that all hits are of.
        key: that may send them.
        buffer: hits that were not sent yet, oldest first.
        window: batches that were sent and are not acknowledged, with their sizes.
        acknowledged: hits that the collector promised to count.
    """

    site: str
    key: str
    buffer: deque[RefHit] = field(default_factory=deque)
    window: deque[tuple[int, Future[BatchOutcome]]] = field(default_factory=deque)
    acknowledged: int = 0
    batches: int = 0

    def pump(self, batcher: MicroBatcher, clock: ManualClock) -> None:
        """Takes note of what was acknowledged, and sends what the window has room for."""
        while self.window and self.window[0][1].done():
            size, told = self.window.popleft()
            outcome = told.result()
            refused = [issue for issue in outcome.issues if issue.outcome != "WARNED"]  # a refund without an amount is
            assert not refused, refused[:3]
            assert outcome.accepted == size
            self.acknowledged += size
        while self.buffer and len(self.window) < WINDOW_BATCHES:
            self._send(batcher, clock)

    @property
    def is_done(self) -> bool:
        """Whether all that it ever had is acknowledged."""
        return not self.buffer and not self.window

    def _send(self, batcher: MicroBatcher, clock: ManualClock) -> None:
        hits = [self.buffer.popleft() for _ in range(min(BATCH_HITS, len(self.buffer)))]
        self.batches += 1
        batch = hit_pb2.HitBatch(
            batch_id=f"edge-{self.batches}", client_send_time=timestamp(clock.now()), hits=map(message_of, hits)
        )
        told: Future[BatchOutcome] = Future()
        batcher.submit(Waiting(Frame(batch.SerializeToString(), self.key, self.site, clock.now()), told.set_result))
        self.window.append((len(hits), told))
