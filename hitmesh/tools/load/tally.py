"""Records the outcomes of a run's frames so far: counts, latencies and log offsets. Thread-safe.

The schedule and the streams report their outcomes to the tally.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.client.send_window import Settled
from hitmesh.client.sender import HITS_TOPIC
from hitmesh.tools.load.traffic import Frame

Place = tuple[str, int]
MAX_REFUSALS: Final = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of a run's hits so far; offered = shed (left out) + acknowledged + rejected + in flight."""

    offered: int
    shed: int
    acknowledged: int
    rejected: int
    resent: int


def note_receipts(offsets: dict[Place, int], receipts: Iterable[collector_pb2.Receipt]) -> None:
    """Update the highest offset per partition with the receipts for hits."""
    for receipt in receipts:
        if receipt.topic == HITS_TOPIC:
            place = (receipt.log, receipt.partition)
            offsets[place] = max(offsets.get(place, -1), receipt.offset)


class Tally:
    """Counts and measurements of a run.

    Latencies and delays are in seconds, with a value for each frame.
    """

    def __init__(self, start_s: float) -> None:
        self.latencies_s = array("d")
        self.delays_s = array("d")
        self.last_ack_s = start_s
        self.offsets: dict[int, dict[Place, int]] = {}
        self.refusals: list[str] = []
        self._start_s = start_s
        self._lock = threading.Lock()
        self._offered = self._shed = self._acknowledged = self._rejected = self._resent = 0

    @property
    def progress(self) -> Progress:
        """The present counts."""
        with self._lock:
            return Progress(self._offered, self._shed, self._acknowledged, self._rejected, self._resent)

    def offer(self, hits: int, delay_s: float, *, shed: bool) -> None:
        """Count a frame that was due `delay_s` ago and is sent or left out."""
        with self._lock:
            self._offered += hits
            self._shed += hits if shed else 0
            self.delays_s.append(max(0.0, delay_s))

    def answer(self, answer: Settled[Frame], now_s: float) -> None:
        """Count an answer.

        The latency is measured from the time at which the frame was due, so the latency includes all waiting.
        """
        frame = answer.batch
        with self._lock:
            self._acknowledged += answer.accepted
            self._rejected += answer.rejected
            self._resent += answer.resent
            self.last_ack_s = max(self.last_ack_s, now_s)
            self.latencies_s.append(now_s - self._start_s - frame.due_s)
            if answer.refusals and len(self.refusals) < MAX_REFUSALS:
                issue = answer.refusals[0]
                self.refusals.append(f"{collector_pb2.Reason.Name(issue.reason)}: {issue.message}")
            note_receipts(self.offsets.setdefault(frame.site, {}), answer.receipts)

    def last_of_partitions(self) -> dict[int, dict[Place, int]]:
        """Return the highest offset in each partition, grouped by the site of the hit.

        As soon as reports show the hits at the returned offsets, reports show all hits of the run.
        """
        with self._lock:
            best: dict[Place, tuple[int, int]] = {}
            for site, offsets in self.offsets.items():
                for place, offset in offsets.items():
                    best[place] = max(best.get(place, (-1, 0)), (offset, site))
        by_site: dict[int, dict[Place, int]] = {}
        for place, (offset, site) in best.items():
            by_site.setdefault(site, {})[place] = offset
        return by_site
