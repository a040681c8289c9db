"""Test log times and freshness after a collector's clock was ahead for a while.

A hit with a correct time belongs to a visit at the latest when the hit's day is settled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from collector.records import heartbeat_record
from hitmesh.adapters.factory import open_stores
from hitmesh.model.closing import visits_wait_until
from hitmesh.model.days import iso_instant
from hitmesh.model.limits import AHEAD_TOLERANCE_MS
from hitmesh.model.positions import PartitionId, Position, Topic
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.logs import Seldom
from processor.stream.clock_ahead import ClockAhead
from reporter.answer.freshness import State, freshness
from reporter.rpc.messages import freshness_message
from tests.reference.hits import RefHit
from tests.reference.visits import V1
from tests.support.clock import ManualClock
from tests.support.live_mesh import LiveMesh, partition_of
from tests.support.small_mesh import expected_rows

SITE = "merchants/demo/sites/alpha"
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 20_000
NOON = DAY * 24 * HOUR + 12 * HOUR
LOG = PartitionId("log", 3)


class AheadOnce(LiveMesh):
    """A mesh on files. A collector whose clock is ahead appends to the mesh's log."""

    def __init__(self, home: Path) -> None:
        self.url = f"embedded:{home}/data"
        super().__init__(self.url, home, NOON, [SITE])

    def beat_ahead(self, lead_ms: int) -> None:
        """Append a heartbeat to each partition, as the collector whose clock is ahead."""
        wrong = ManualClock(self.clock.now() + lead_ms)
        partitions = {topic: self.stores.log.partitions(topic) for topic in (Topic.HITS, Topic.REJECTED)}
        stores = open_stores(self.url, wrong, partitions=partitions)
        try:
            beat = heartbeat_record("wrong", wrong.now())
            for partition in range(partitions[Topic.HITS]):
                stores.log.append(Topic.HITS, partition, beat).result(60)
        finally:
            stores.close()

    def visit(self, visitor: str) -> RefHit:
        """Append a page view of a visitor at the present time."""
        hit = RefHit(SITE, visitor, f"{visitor}-{self.clock.now()}", self.clock.now(), page_path="/")
        self.append([hit], partition_of(hit))
        self.step()
        return hit


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[AheadOnce]:
    with AheadOnce(tmp_path) as made:
        yield made


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lead_ms", [2 * HOUR, 40 * HOUR], ids=["late", "history"])
def test_hits_with_a_right_clock_are_in_visits_at_the_latest_when_their_day_is_settled(
    mesh: AheadOnce, lead_ms: int
) -> None:
    mesh.visit("before")
    mesh.beat_ahead(lead_ms)
    ahead_until = mesh.clock.now() + lead_ms
    from_then_on = visits_wait_until(ahead_until)
    seen_at_once = []
    while mesh.clock.now() <= ahead_until + HOUR:
        mesh.advance_to(mesh.clock.now() + lead_ms // 8, HOUR)
        fast = mesh.runner.counts.fast
        hit = mesh.visit(f"at-{mesh.clock.now()}")
        is_at_once = mesh.runner.counts.fast == fast + 1
        mesh.visit("walker")
        assert is_at_once is (hit.event_time >= from_then_on)
        seen_at_once.append(is_at_once)
    assert set(seen_at_once) == {False, True}
    counts = mesh.runner.counts
    assert counts.late + counts.history == 2 * seen_at_once.count(False)
    mesh.settle()
    assert mesh.published() >= {SiteDay(SITE, hit.event_time // (24 * HOUR)) for hit in mesh.logged[SITE]}
    assert mesh.seen(SITE).differences_from(expected_rows(mesh.logged[SITE])) == []
    visits = sum(row.get("visits", 0) for key, row in mesh.seen(SITE).rows.items() if not key[1])
    of_walker = 1 if lead_ms // 8 <= V1.gap_ms else len(seen_at_once)
    assert visits == 1 + len(seen_at_once) + of_walker


@pytest.mark.timeout(60)
def test_log_and_freshness_name_partition_cause_and_end_until_time_has_caught_up(mesh: AheadOnce) -> None:
    site = mesh.stores.directory.site(SITE)
    assert site is not None

    def now_fresh() -> tuple[State, int]:
        found = freshness([site], mesh.stores.progress.progress(Topic.HITS), {}, mesh.clock.now())
        assert found.complete_through <= mesh.clock.now()
        return found.state, len(found.ahead)

    mesh.visit("before")
    mesh.idle()
    assert now_fresh() == (State.LIVE, 0)
    log_time = mesh.clock.now() + 2 * HOUR
    with structlog.testing.capture_logs() as logged:
        mesh.beat_ahead(2 * HOUR)
        mesh.step()
        mesh.visit("after")
    lines = [line for line in logged if line["event"] == "log_time_ahead"]
    assert len(lines) == mesh.stores.log.partitions(Topic.HITS), "each partition once, however many windows"
    for line in lines:
        assert line["log_level"] == "warning"
        assert line["ahead_s"] == 2 * 3_600
        assert "collector wrong" in line["cause"]
        assert iso_instant(log_time) in line["cause"]
        assert line["visits_wait_until"] == iso_instant(log_time - HOUR)
    found = freshness([site], mesh.stores.progress.progress(Topic.HITS), {}, mesh.clock.now())
    assert (found.state, found.lag_ms) == (State.DEGRADED, 0)
    (ahead,) = freshness_message(found).ahead
    assert f"{ahead.log}/{ahead.partition}" in {line["partition"] for line in lines}
    assert ahead.log_time.ToMilliseconds() == log_time
    assert ahead.visits_wait_until.ToMilliseconds() == log_time - HOUR
    assert "log_time_ahead" in ahead.cause
    mesh.idle(HOUR, MINUTE)
    assert now_fresh() == (State.DELAYED, 1)
    mesh.idle(HOUR - AHEAD_TOLERANCE_MS, MINUTE)
    assert now_fresh() == (State.LIVE, 0)


def a_record(offset: int, log_time: int, collector: str = "one") -> LoggedRecord:
    record = Record(RecordKind.HEARTBEAT, max_collect_time=log_time, collector=collector)
    return LoggedRecord(Position(*LOG, offset), log_time, record)


@pytest.mark.parametrize(("over_ms", "lines"), [(0, 0), (1, 1)])
def test_log_time_within_the_tolerance_is_as_it_should_be(over_ms: int, lines: int) -> None:
    ahead = ClockAhead(ManualClock(NOON), tolerance_ms=MINUTE)
    with structlog.testing.capture_logs() as logged:
        ahead.passed([a_record(0, NOON + MINUTE + over_ms)], {})
    assert len(logged) == lines


def test_cause_is_the_record_that_raised_log_time_and_is_named_at_a_bounded_rate() -> None:
    clock, now_s = ManualClock(NOON), [0.0]
    ahead = ClockAhead(clock, MINUTE, Seldom(60.0, lambda: now_s[0]))
    late, top = NOON + HOUR, NOON + 2 * HOUR
    with structlog.testing.capture_logs() as logged:
        ahead.passed([a_record(0, NOON), a_record(1, late), a_record(2, top, "two"), a_record(3, top, "three")], {})
        for offset in range(4, 9):
            ahead.passed([a_record(offset, top, "three")], {LOG: top})
        now_s[0] = 60.0
        ahead.passed([a_record(9, top, "three")], {LOG: top})
        clock.advance(2 * HOUR)
        now_s[0] = 120.0
        ahead.passed([a_record(10, top, "three")], {LOG: top})
    assert [(line["partition"], line["windows"]) for line in logged] == [("log/3", 1), ("log/3", 6)]
    assert all(line["cause"].startswith("the record at offset 2 of collector two") for line in logged)


def test_a_record_of_another_run_is_the_cause_where_log_time_was_ahead_before() -> None:
    with structlog.testing.capture_logs() as logged:
        ClockAhead(ManualClock(NOON)).passed([a_record(7, NOON + HOUR)], {LOG: NOON + HOUR})
    assert [line["cause"] for line in logged] == ["a record before offset 7"]


def test_a_cause_is_forgotten_once_time_has_caught_up() -> None:
    clock, now_s = ManualClock(NOON), [0.0]
    ahead = ClockAhead(clock, MINUTE, Seldom(60.0, lambda: now_s[0]))
    with structlog.testing.capture_logs() as logged:
        ahead.passed([a_record(0, NOON + HOUR)], {})
        clock.advance(HOUR)
        ahead.passed([a_record(1, NOON + HOUR)], {LOG: NOON + HOUR})
        now_s[0] = 60.0
        # In the meantime, another process owned the partition.
        ahead.passed([a_record(9, NOON + 5 * HOUR)], {LOG: NOON + 5 * HOUR})
    causes = [line["cause"] for line in logged]
    assert causes[0].startswith("the record at offset 0 of collector one")
    assert causes[1:] == ["a record before offset 9"]
