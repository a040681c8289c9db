"""Kafka is down for twenty minutes of simulated time.

The edges buffer hits during the outage. After the outage, every hit counts as on time. Collector and edges use a clock
that is far in the past, so a record's log time is the record's collect time + 10 minutes (rule L1). To agree with the
log times, the clock of the readers is 10 minutes ahead of the clock of collector and edges.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from collector.batcher import MicroBatcher
from collector.classify import Classifier
from collector.records import heartbeat_record
from collector.settings import CollectorSettings
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.limits import MAX_LEAD_MS
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.sites import IngestKey, KeyKind, Site
from hitmesh.runtime.clock import SystemClock
from processor.building import stream_stores
from processor.settle.pace import SettlePace
from processor.settle.settler import Settler
from processor.stream.pace import StreamPace
from processor.stream.runner import Runner
from reporter.answer.freshness import Freshness, State, freshness
from tests.breaking.outages.edges import Edge
from tests.breaking.outages.servers import Control
from tests.generate.arrivals import Arrival
from tests.generate.scenarios import HOUR, MINUTE
from tests.support.clock import ManualClock
from tests.support.counted import is_counted, log_ends
from tests.support.kill_checks import Logged, check_acknowledged, check_counted, key_of, read_log
from tests.support.kill_load import SITES, arrivals_of, hits_of_now
from tests.support.services import KEY
from tests.support.small_mesh import settler_stores
from tests.support.waiting import eventually

VISITORS: Final = 400
OUTAGE_MS: Final = 20 * MINUTE
LONG_AGO_MS: Final = 12 * HOUR
SOON_MS: Final = HOUR - OUTAGE_MS - MAX_LEAD_MS - MINUTE
DONE_S: Final = 120.0
PACE: Final = StreamPace(flush_ms=0, snapshot_ms=5 * MINUTE)


@dataclass
class FastMesh:
    """A mesh whose processor runs in the background. The test advances the shared clock by a minute at a time."""

    stores: Stores
    clock: ManualClock
    batcher: MicroBatcher
    edges: dict[str, Edge]
    settler: Settler
    coming: deque[Arrival]
    seen: list[Freshness] = field(default_factory=list)
    beats: list[Future[LoggedPosition]] = field(default_factory=list)

    def minute(self) -> None:
        """Advance one minute: send heartbeats, let hits reach the edges, and let the edges send."""
        self.clock.advance(MINUTE)
        while self.coming and self.coming[0].at_ms <= self.clock.now():
            hit = self.coming.popleft().hit
            self.edges[hit.site].buffer.append(hit)
        beat = heartbeat_record("test", self.clock.now())
        log = self.stores.log
        self.beats += [log.append(Topic.HITS, partition, beat) for partition in range(log.partitions(Topic.HITS))]
        self.pump()

    def pump(self) -> bool:
        """Let the edges send, and return whether every hit is acknowledged."""
        for edge in self.edges.values():
            edge.pump(self.batcher, self.clock)
        return all(edge.is_done for edge in self.edges.values())

    def run_until(self, instant: int) -> None:
        """Advance the clock minute by minute to `instant`.

        In each minute, wait until all sent hits are acknowledged.
        """
        while self.clock.now() < instant:
            self.minute()
            eventually(self.pump, "edges have nothing left", DONE_S)
        eventually(self.is_counted, "everything is counted", DONE_S)

    def is_counted(self) -> bool:
        """Settle dirty days, and return whether every hit in the log is counted."""
        self.settler.run_once()
        return is_counted(self.stores, log_ends(self.stores))

    def look(self) -> Freshness:
        """Return a site's current freshness."""
        site = self.stores.directory.site(SITES[0])
        assert site is not None
        through = self.stores.metrics.ingested_through()
        self.seen.append(freshness([site], through, {}, self.clock.now() + MAX_LEAD_MS))
        return self.seen[-1]

    @property
    def acknowledged(self) -> int:
        """Return the acknowledged hits of all edges."""
        return sum(edge.acknowledged for edge in self.edges.values())


@contextmanager
def a_mesh(store_url: str, home: Path, begin: int, coming: Sequence[Arrival]) -> Iterator[FastMesh]:
    """Open a mesh on servers with a clock that begins at the given moment."""
    clock = ManualClock(begin)
    stores = open_stores(store_url, clock)
    stores.directory.create_key(IngestKey("edges", "merchants/demo", KeyKind.SERVER, unbounded_history=True), KEY)
    for name in SITES:
        stores.directory.create_site(Site(name, "UTC", "USD", b"secret of a test"))
    settings = CollectorSettings(store="memory:", record_rows=1, linger_ms=0)
    batcher = MicroBatcher(stores.log, stores.directory, Classifier(), clock, settings)
    runner = Runner(stream_stores(stores), clock, PACE, home=home)
    settler = Settler(settler_stores(stores), clock, SettlePace(resettle_after_ms=0, pass_ms=10**9))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner.run, stop)
        batcher.start()
        try:
            yield FastMesh(stores, clock, batcher, {site: Edge(site, KEY) for site in SITES}, settler, deque(coming))
        finally:
            batcher.stop()
            stop.set()
            running.result(DONE_S)
            runner.close()
            stores.close()


@pytest.mark.timeout(300)
def test_kafka_is_down_for_twenty_minutes_and_what_edges_buffered_is_on_time(
    store_url: str, servers_control: Control, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = SystemClock().now() - LONG_AGO_MS
    hits = hits_of_now(13, now, VISITORS)
    arrivals = arrivals_of(hits, now, 13)
    down_at = now - HOUR
    with a_mesh(store_url, tmp_path / "kept", now - 3 * HOUR, arrivals) as mesh:
        mesh.run_until(down_at)
        before, acknowledged = mesh.look(), mesh.acknowledged
        assert before.state == State.LIVE

        servers_control.kill("kafka")
        while mesh.clock.now() < down_at + OUTAGE_MS:
            mesh.minute()
            assert mesh.look().complete_through == before.complete_through
        during = mesh.seen[-1]
        buffered = sum(len(edge.buffer) for edge in mesh.edges.values())
        assert mesh.acknowledged == acknowledged, "nothing is promised while Kafka is down"
        assert buffered > 0
        assert during.state == State.DELAYED

        servers_control.start_all()
        began = time.monotonic()
        eventually(mesh.pump, "edges have nothing left", DONE_S)
        sent_s = time.monotonic() - began
        eventually(mesh.is_counted, "the catch-up is counted", DONE_S)
        counted_s = time.monotonic() - began
        assert mesh.look().state == State.LIVE

        mesh.run_until(arrivals[-1].at_ms + MINUTE)
        log_time = max(beat.result(DONE_S).log_time for beat in mesh.beats)
        logged = read_log(mesh.stores, hits)
        check_acknowledged(hits, logged, resent=0)
        check_counted(mesh.stores, logged, log_time)
        check_on_time(logged, arrivals)
        reached = [freshness.complete_through for freshness in mesh.seen]
        assert reached == sorted(reached)
    with capsys.disabled():
        print(  # noqa: T201  # what an outage looks like
            f"\n{buffered} hits in the edges after 20 min without Kafka, {during.state} with a lag of "
            f"{(during.lag_ms or 0) / 60_000:.0f} min; acknowledged {sent_s:.1f} s after it was back, counted after "
            f"{counted_s:.1f} s"
        )


def check_on_time(logged: Logged, arrivals: Sequence[Arrival]) -> None:
    """Check that a hit is on time if it reached an edge within half an hour after its event time."""
    delays = {key_of(arrival.hit): 0 for arrival in arrivals}
    for arrival in arrivals:  # a hit with two copies has the delay of the later copy
        key = key_of(arrival.hit)
        delays[key] = max(delays[key], arrival.at_ms - arrival.hit.event_time)
    soon = [hit for of_site in logged.values() for hit in of_site if delays[key_of(hit)] <= SOON_MS]
    assert len(soon) > len(arrivals) // 2
    assert not [hit for hit in soon if hit.is_late]
