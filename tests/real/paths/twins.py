"""A mesh on servers and a mesh in memory.

Both meshes append the same hits to the same partitions at the same log times. The collect times of the hits lie far in
the past, so in Kafka a hit's log time is its collect time + 10 minutes (rule L1). In memory, a hit's log time is the
time of the mesh's clock. To get equal log times, the clock of the mesh in memory is 10 minutes ahead of the collect
times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.records import heartbeat_record
from hitmesh.model.errors import RetryError
from hitmesh.model.positions import LoggedPosition, PartitionId, Topic
from hitmesh.model.zones import DAY_MS
from reporter.rpc.answer import Answer, answer
from reporter.rpc.backend import Backend
from tests.generate.arrivals import Arrival, in_slices
from tests.generate.scenarios import HOUR, MINUTE
from tests.real.paths.questions import SiteQuestion
from tests.real.paths.traffic import END, FIRST_DAY, SITES, START
from tests.reference.hits import RefHit
from tests.reference.settled import Entry, settle
from tests.reference.streamed import stream
from tests.support.live_mesh import OUTCOME_S, LiveMesh, partition_of
from tests.support.patience import patient
from tests.support.small_mesh import MAX_PASSES, PARTITIONS
from tests.support.two_paths import Faulty

DEADLINE_S: Final = 60.0
LOOK_EVERY_S: Final = 0.1
POLL_S: Final = 0.2
SLICE_MS: Final = 20 * MINUTE
"""Maximum time between the first and the last hit of a log record.

The maximum is so low that no hit in a record becomes late. Shuffling and the log may each delay a hit by ten minutes.
"""
SLICES_PER_STEP: Final = 8
BEAT_MS: Final = 6 * HOUR


class Twin(LiveMesh):
    """Either the mesh on servers or the mesh in memory.

    A step of a mesh ends when all appended records are committed. A commit takes some time on servers.
    """

    def __init__(self, url: str, home: Path, lead_ms: int = 0) -> None:
        self._appended: dict[PartitionId, int] = {}
        self.log_time = 0
        self._lead_ms = lead_ms
        super().__init__(url, home, START - HOUR + lead_ms, SITES, partitions=PARTITIONS)

    def append(self, hits: Sequence[RefHit], partition: int) -> None:
        """Append hits, and remember the partition's last offset."""
        super().append(hits, partition)
        if hits:
            _, log, _, offset, _ = self.logged[hits[-1].site][-1].position
            self._appended[PartitionId(log, partition)] = offset

    def beat(self) -> None:
        """Append heartbeats, and remember each partition's last offset."""
        log, beat = self.stores.log, heartbeat_record("test", self.clock.now())
        appends = [log.append(Topic.HITS, number, beat) for number in range(log.partitions(Topic.HITS))]
        for appended in appends:
            at: LoggedPosition = appended.result(OUTCOME_S)
            (log_id, partition, offset), self.log_time = at
            self._appended[PartitionId(log_id, partition)] = offset

    def step(self) -> None:
        """Process all records in the log."""
        wait_until(self._stepped, "what was appended is not committed")

    def load(self, sent: Iterable[Arrival]) -> None:
        """Append all hits, let the stream process the hits, and settle the closed days at the end."""
        for number, part in enumerate(in_slices(sent, 10**6, SLICE_MS)):
            self.advance_to(max(self.clock.now(), part[-1].at_ms + self._lead_ms), BEAT_MS)
            for partition in range(PARTITIONS):
                self.append([arrival.hit for arrival in part if partition_of(arrival.hit) == partition], partition)
            if number % SLICES_PER_STEP == 0:
                self.step()
        self.advance_to(END + self._lead_ms)
        self.idle()
        self.runner.flush()
        self._settle_closed()

    def _settle_closed(self) -> None:
        for _ in range(MAX_PASSES):
            if not self.stores.dirty.take(1, FIRST_DAY + 1):
                return
            self.clock.advance(1)
            self.settler.run_once()
        raise AssertionError(f"still dirty after {MAX_PASSES} passes")

    def _stepped(self) -> bool:
        try:
            self.runner.step(POLL_S)
        except RetryError as error:
            threading.Event().wait(error.retry_after_s)
        progress = self.stores.progress.progress(Topic.HITS)
        return all(progress[partition].next_offset > offset for partition, offset in self._appended.items())

    def is_visible(self) -> bool:
        """Return whether both stores contain every committed hit."""
        committed = self.stores.progress.progress(Topic.HITS)
        through, flushed = self.stores.metrics.ingested_through(), self.stores.series.flushed()
        return all(
            positions[partition].next_offset == reached.next_offset
            for partition, reached in committed.items()
            for positions in (through, flushed)
        )


@dataclass(frozen=True)
class Twins:
    """The two meshes, and the entries of the reference for settled days and live days."""

    served: Twin
    in_memory: Twin
    entries: list[Entry] = field(default_factory=list)

    def load(self, sent: Sequence[Arrival]) -> None:
        """Load all hits into both meshes, and block until every hit is visible."""
        for mesh in (self.in_memory, self.served):
            mesh.load(sent)
            wait_until(mesh.is_visible, "what was committed cannot be seen")
        for site in SITES:
            logged = self.served.logged[site]
            self.entries.extend(entry for entry in settle(logged).entries if entry.instant_ms // DAY_MS <= FIRST_DAY)
            self.entries.extend(
                entry
                for entry in stream(logged, self.served.log_time).entries
                if entry.instant_ms // DAY_MS > FIRST_DAY
            )

    def from_series(self, site_question: SiteQuestion) -> Answer:
        """Return Cassandra's answer."""
        return _answer(Faulty(self.served.stores, self.served.clock).backend, site_question)

    def from_metrics(self, site_question: SiteQuestion) -> Answer:
        """Return Druid's answer."""
        return _answer(self.without_series().backend, site_question)

    def from_memory(self, site_question: SiteQuestion) -> Answer:
        """Return the answer from the rows in memory."""
        backend = Faulty(self.in_memory.stores, self.in_memory.clock)
        backend.series.is_silent = True
        return _answer(backend.backend, site_question)

    def without_series(self) -> Faulty:
        """Return a reporter on the servers. The series store does not answer the reporter."""
        reporter = Faulty(self.served.stores, self.served.clock)
        reporter.series.is_silent = True
        return reporter


def _answer(backend: Backend, site_question: SiteQuestion) -> Answer:
    sites = tuple(site for name in site_question.sites if (site := backend.directory.site(name)) is not None)
    return answer(backend, site_question.question, sites, "USD", ())


def wait_until(holds: Callable[[], bool], otherwise: str, timeout_s: float = DEADLINE_S) -> None:
    """Poll a condition until it is true. Fail with the text `otherwise` after `timeout_s`."""
    deadline = time.monotonic() + patient(timeout_s)
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} after {timeout_s:g} s"
        pause.wait(LOOK_EVERY_S)
