"""A mesh on servers and one in memory that take the same hits, at the same log times, into the same places.

Kafka takes hits that were collected long ago as ten minutes older than that (rule L1), a log in memory as old as its
clock: so the clock of the mesh in memory is ten minutes ahead.
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
from tests.real.paths.questions import Asked
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
"""So long hits are gathered in records: with ten minutes of shuffling and ten of the log's they are on time still."""
SLICES_PER_STEP: Final = 8
BEAT_MS: Final = 6 * HOUR


class Twin(LiveMesh):
    """One of the two; a step ends when all that was appended is committed, which servers do in their own time."""

    def __init__(self, url: str, home: Path, lead_ms: int = 0) -> None:
        self._appended: dict[PartitionId, int] = {}
        self.log_time = 0
        self._lead_ms = lead_ms
        super().__init__(url, home, START - HOUR + lead_ms, SITES, partitions=PARTITIONS)

    def append(self, hits: Sequence[RefHit], partition: int) -> None:
        """As it says, remembering up to where."""
        super().append(hits, partition)
        if hits:
            _, log, _, offset, _ = self.logged[hits[-1].site][-1].position
            self._appended[PartitionId(log, partition)] = offset

    def beat(self) -> None:
        """As it says, remembering up to where."""
        log, beat = self.stores.log, heartbeat_record("test", self.clock.now())
        told = [log.append(Topic.HITS, one, beat) for one in range(log.partitions(Topic.HITS))]
        for appended in told:
            at: LoggedPosition = appended.result(OUTCOME_S)
            (log_id, partition, offset), self.log_time = at
            self._appended[PartitionId(log_id, partition)] = offset

    def step(self) -> None:
        """Streams all that is in the log."""
        wait_until(self._stepped, "what was appended is not committed")

    def load(self, sent: Iterable[Arrival]) -> None:
        """Takes everything in, and settles the days that have closed at the end."""
        for number, part in enumerate(in_slices(sent, 10**6, SLICE_MS)):
            self.advance_to(max(self.clock.now(), part[-1].at_ms + self._lead_ms), BEAT_MS)
            for partition in range(PARTITIONS):
                self.append([one.hit for one in part if partition_of(one.hit) == partition], partition)
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
        """Whether both stores have all that was committed."""
        committed = self.stores.progress.progress(Topic.HITS)
        through, flushed = self.stores.metrics.ingested_through(), self.stores.series.flushed()
        return all(
            one[partition].next_offset == reached.next_offset
            for partition, reached in committed.items()
            for one in (through, flushed)
        )


@dataclass(frozen=True)
class Twins:
    """Both, loaded; and what the reference says of the days that are settled and those that are live."""

    served: Twin
    in_memory: Twin
    entries: list[Entry] = field(default_factory=list)

    def load(self, sent: Sequence[Arrival]) -> None:
        """Takes everything in, into both, and waits until all can be seen."""
        for mesh in (self.in_memory, self.served):
            mesh.load(sent)
            wait_until(mesh.is_visible, "what was committed cannot be seen")
        for site in SITES:
            logged = self.served.logged[site]
            self.entries.extend(one for one in settle(logged).entries if one.instant_ms // DAY_MS <= FIRST_DAY)
            self.entries.extend(
                one for one in stream(logged, self.served.log_time).entries if one.instant_ms // DAY_MS > FIRST_DAY
            )

    def from_series(self, asked: Asked) -> Answer:
        """What Cassandra says."""
        return _answer(Faulty(self.served.stores, self.served.clock).backend, asked)

    def from_metrics(self, asked: Asked) -> Answer:
        """What Druid says."""
        return _answer(self.without_series().backend, asked)

    def from_memory(self, asked: Asked) -> Answer:
        """What the rows in memory say."""
        backend = Faulty(self.in_memory.stores, self.in_memory.clock)
        backend.series.is_silent = True
        return _answer(backend.backend, asked)

    def without_series(self) -> Faulty:
        """A reporter over the servers that must do without series."""
        reporter = Faulty(self.served.stores, self.served.clock)
        reporter.series.is_silent = True
        return reporter


def _answer(backend: Backend, asked: Asked) -> Answer:
    sites = tuple(site for name in asked.sites if (site := backend.directory.site(name)) is not None)
    return answer(backend, asked.question, sites, "USD", ())


def wait_until(holds: Callable[[], bool], otherwise: str, timeout_s: float = DEADLINE_S) -> None:
    """Looks until it holds; fails after a while."""
    deadline = time.monotonic() + patient(timeout_s)
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} after {timeout_s:g} s"
        pause.wait(LOOK_EVERY_S)
