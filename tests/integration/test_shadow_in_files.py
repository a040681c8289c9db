"""Test a shadow stream beside the live stream, in files.

The shadow stream is started, compared, published and rolled back, and takes over. The processor runs in threads. The
functions of control and reporter are called without a network. At any time, a report has only numbers of the live
stream or only numbers of the shadow stream.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from control.backend import Backend as ControlBackend
from control.rpc.shadow.get_shadow_stream import get_shadow_stream
from control.rpc.shadow.get_shadow_stream_diff import get_shadow_stream_diff
from control.rpc.shadow.publish_shadow_stream import publish_shadow_stream
from control.rpc.shadow.rollback_shadow_stream import rollback_shadow_stream
from control.rpc.shadow.start_shadow_stream import start_shadow_stream
from control.rpc.shadow.stop_shadow_stream import stop_shadow_stream
from hitmesh.access.callers import caller_with_key
from hitmesh.adapters.factory import open_stores
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.checkpoints import unwatched
from hitmesh.model.errors import RefusedError
from hitmesh.model.generations import is_streamed
from hitmesh.model.logic import V0, V1
from hitmesh.model.names import OPERATORS
from hitmesh.model.positions import Topic
from hitmesh.model.sites import IngestKey, KeyKind, SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.telemetry import unmeasured
from processor.__main__ import run_stream
from processor.building import build_beside, build_settler
from processor.settings import ProcessorSettings
from reporter.answer.route import Path as ServingPath
from reporter.rpc.answer import answer
from tests.integration.test_reports_while_history_moves import DAY, DAYS, MINUTE, SITE, by_day, wait_for_answers
from tests.reference.hits import RefHit
from tests.support.reporters import control_backend
from tests.support.small_mesh import SmallMesh
from tests.support.two_paths import Faulty, report_of
from tests.support.waiting import eventually

TODAY = DAY + DAYS - 1
NOW = TODAY * DAY_MS + 12 * 60 * MINUTE
OPERATOR = caller_with_key(IngestKey("operator-1", OPERATORS, KeyKind.OPERATOR))
WAIT_S = 60
MOVES = 10
"""Number of times that the shadow stream is published and rolled back again."""


def views(visitor: str, count: int = 4, at: int = NOW - 40 * MINUTE) -> list[RefHit]:
    """Return page views 10 minutes apart.

    Under v0, each page view is a visit. Under v1, all page views are one visit.
    """
    times = [at + number * 10 * MINUTE for number in range(count)]
    return [RefHit(SITE, visitor, f"{visitor}-{time}", time, page_path="/") for time in times]


class Running:
    """A mesh in files whose processor runs logic v0, with a reporter and a control service."""

    def __init__(self, home: Path) -> None:
        self.url = f"embedded:{home / 'data'}"
        self.mesh = SmallMesh(NOW, sites=[SITE], logic=V0, url=self.url)
        self.mesh.runner.close()
        self.clock, self.stores = self.mesh.clock, self.mesh.stores
        self.control: ControlBackend = control_backend(self.stores, self.clock, open_reads=False)
        values = {"store": self.url, "cache": str(home / "cache"), "logic": "v0", "keep_superseded_ms": 0}
        self.settings = ProcessorSettings.model_validate(values | {"window_ms": 0, "quiet_ms": 0})
        self.failures: list[BaseException] = []

    @contextmanager
    def processor(self) -> Iterator[None]:
        """Run the processor: the live stream, and the shadow stream if there is one."""
        stop = threading.Event()
        live, other = open_stores(self.url, self.clock), open_stores(self.url, self.clock)
        beside = build_beside(other, self.clock, self.settings)
        works: tuple[Callable[[], None], ...] = (
            lambda: run_stream(live, self.clock, self.settings, unmeasured(), stop),
            lambda: beside.run(stop),
        )
        threads = [threading.Thread(target=self._watched, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(WAIT_S)
            live.close()
            other.close()
        assert not self.failures, self.failures

    def _watched(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # the test's thread reports the error
            self.failures.append(error)

    def send(self, hits: list[RefHit]) -> None:
        self.mesh.send(hits)
        self.mesh.heartbeat()

    def settle_all(self) -> None:
        """Advance the clock until all days are closed, and settle them."""
        self.mesh.close_days()
        self.await_streams()
        settler = build_settler(self.stores, self.clock, self.settings, threading.Event())
        for _ in range(20):
            self.clock.advance(10_000)
            settler.run_once()
            if not self.stores.dirty.take(1, 10**6):
                return
        raise AssertionError("still dirty")

    def await_streams(self) -> None:
        """Wait until all streams have flushed the whole log."""
        table = self.stores.streams.read()
        streams = [self.stores.stream(table.live.generation, is_shadow=False)]
        if table.shadow is not None:
            streams.append(self.stores.stream(table.shadow.stream.generation, is_shadow=True))
        log = self.stores.log
        ends = {at: self.stores.log_scan.offset_at(at, 10**15) for at in self.stores.progress.progress(Topic.HITS)}
        assert log.partitions(Topic.HITS) == len(ends)

        def are_there() -> bool:
            assert not self.failures, self.failures
            reached = [stream.series.flushed() for stream in streams]
            return all(at in each and each[at].next_offset == end for each in reached for at, end in ends.items())

        eventually(are_there, "every stream has read the log", WAIT_S)

    def numbers(self, path: ServingPath = ServingPath.SERIES, reporter: Faulty | None = None) -> dict[str, Any]:
        """Return the present day's numbers that the reporter answers on the given serving path."""
        reporter = reporter or self.reporter(path)
        site = self.stores.directory.site(SITE)
        assert site is not None
        found = answer(reporter.backend, by_day(), (site,), site.currency, ())
        assert found.path is path
        rows = report_of(found)
        return dict(rows[max(rows)])

    def reporter(self, path: ServingPath) -> Faulty:
        reporter = Faulty(self.stores, self.clock)
        reporter.series.is_silent = path is ServingPath.METRICS
        return reporter

    def visits(self) -> int:
        """Return today's visits. Both serving paths must give the same number of visits."""
        found = {int(self.numbers(path)["visits"]) for path in ServingPath}
        (visits,) = found
        return visits

    def start(self) -> pb.ShadowStream:
        return start_shadow_stream(self.control, OPERATOR, pb.StartShadowStreamRequest(logic="v1")).shadow_stream

    def publish(self) -> pb.ShadowStream:
        return publish_shadow_stream(self.control, OPERATOR, pb.PublishShadowStreamRequest()).shadow_stream

    def roll_back(self) -> pb.ShadowStream:
        return rollback_shadow_stream(self.control, OPERATOR, pb.RollbackShadowStreamRequest()).shadow_stream

    def stop(self) -> pb.ShadowStream:
        return stop_shadow_stream(self.control, OPERATOR, pb.StopShadowStreamRequest()).shadow_stream

    def status(self) -> pb.GetShadowStreamResponse:
        return get_shadow_stream(self.control, OPERATOR, pb.GetShadowStreamRequest())

    def diff(self) -> pb.GetShadowStreamDiffResponse:
        return get_shadow_stream_diff(self.control, OPERATOR, pb.GetShadowStreamDiffRequest(), unwatched)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    yield found
    found.stores.close()


@pytest.mark.timeout(300)
def test_days_that_are_not_settled_are_corrected_rolled_back_and_corrected_again(running: Running) -> None:
    running.send(views("a"))
    with running.processor():
        running.await_streams()
        assert running.visits() == 4, "a visit for each view under v0"
        with pytest.raises(RefusedError, match="start a shadow stream first"):
            running.publish()

        assert running.start().logic == "v1"
        assert running.start().logic == "v1", "repeating changes nothing"
        running.await_streams()
        assert running.visits() == 4, "no report reads a shadow that is not published"
        running.send(views("b"))
        running.await_streams()
        eventually(lambda: running.status().shadow_stream.caught_up, "the shadow has caught up", WAIT_S)
        found = running.diff()
        (visits,) = (metric for metric in found.metrics if metric.metric == "visits")
        assert (visits.old, visits.new) == (8, 2)
        (hits,) = (metric for metric in found.metrics if metric.metric == "hits")
        assert (hits.old, hits.new, hits.difference) == (8, 8, 0)
        assert (found.site_days, found.changed_site_days, found.settled_site_days) == (1, 1, 0)

        before = running.stores.streams.read()
        assert running.publish().state == pb.SHADOW_STREAM_STATE_PUBLISHED
        assert running.visits() == 2
        assert running.roll_back().state == pb.SHADOW_STREAM_STATE_RUNNING
        assert running.visits() == 8, "a rollback keeps hits that arrived meanwhile"
        running.publish()
        running.send(views("c"))
        running.await_streams()
        assert running.visits() == 3

        assert running.stop().state == pb.SHADOW_STREAM_STATE_ADOPTING
        eventually(lambda: running.stores.streams.read().shadow is None, "the processor has taken over", WAIT_S)
        assert running.visits() == 3
        running.send(views("d"))
        running.await_streams()
        assert running.visits() == 4
        assert before.shadow is not None
        assert running.stores.streams.read().live.generation == before.shadow.stream.generation
        running.clock.advance(1)
        eventually(lambda: not running.stores.streams.read().gone, "the earlier values are removed", WAIT_S)
        earlier = running.stores.series.read(SITE, TODAY, TODAY + 1, 0)
        assert earlier.is_empty()
        assert not any(running.stores.metrics.stream_sums([SiteDay(SITE, TODAY)])[SiteDay(SITE, TODAY)].values())
        running.settle_all()
    entry = running.stores.generations.current(SITE, TODAY, TODAY + 1)[TODAY]
    assert (entry.logic_version, is_streamed(entry.generation)) == (V1.number, True), "the stream's rows are confirmed"
    drift = running.stores.generations.drifts(SITE, TODAY, TODAY + 1)[SiteDay(SITE, TODAY)]
    assert (drift.confirmed, drift.measures) == (True, {})
    with running.processor():  # a restart with the setting `logic=v0` changes nothing
        running.await_streams()
        assert running.visits() == 4


@pytest.mark.timeout(300)
def test_a_shadow_that_is_stopped_leaves_nothing_behind(running: Running) -> None:
    running.send(views("a"))
    with running.processor():
        running.start()
        running.await_streams()
        shadow = running.stores.streams.read().shadow
        assert shadow is not None
        assert running.stop().state == pb.SHADOW_STREAM_STATE_UNSPECIFIED
        running.clock.advance(1)
        eventually(lambda: not running.stores.streams.read().gone, "the values are removed", WAIT_S)
        removed = running.stores.stream(shadow.stream.generation, is_shadow=True)
        assert removed.series.flushed() == {}
        assert {reached.next_offset for reached in removed.progress.progress(Topic.HITS).values()} == {0}
        assert running.stores.series.read(SITE, TODAY, TODAY + 1, shadow.stream.generation).is_empty()
        assert running.visits() == 4
        running.start()
        running.await_streams()
        following = running.stores.streams.read().shadow
        assert following is not None
        assert following.stream.generation == shadow.stream.generation - 1


@pytest.mark.timeout(300)
def test_a_setting_that_changes_while_a_shadow_runs_keeps_the_way_back(running: Running) -> None:
    running.send(views("a"))
    with running.processor():
        running.start()
        running.await_streams()
        running.publish()
    running.settings = running.settings.model_copy(update={"logic": "v1"})
    with running.processor():
        running.send(views("b"))
        running.await_streams()
        assert running.visits() == 2
        running.roll_back()
        assert running.visits() == 8, "the live stream still runs the logic that the shadow stream replaces"
        assert running.status().shadow_stream.live_logic == "v0"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", list(ServingPath))
def test_every_answer_is_that_of_one_of_the_two_streams(path: ServingPath, running: Running) -> None:
    running.send(views("a"))
    running.send(views("b", 3))
    with running.processor():
        running.start()
        running.await_streams()
        eventually(lambda: running.status().shadow_stream.caught_up, "the shadow has caught up", WAIT_S)
        old = tuple(running.numbers(path).items())
        seen: Counter[tuple[Any, ...]] = Counter()
        is_over = threading.Event()
        failures: list[BaseException] = []

        def ask_until_over() -> None:
            reporter = running.reporter(path)
            while not is_over.is_set():
                try:
                    seen[tuple(running.numbers(path, reporter).items())] += 1
                except BaseException as error:  # the test's thread reports the error
                    failures.append(error)
                    return

        askers = [threading.Thread(target=ask_until_over) for _ in range(2)]
        for asker in askers:
            asker.start()
        try:
            for _ in range(MOVES):
                running.publish()
                new = tuple(running.numbers(path).items())
                running.roll_back()
                assert tuple(running.numbers(path).items()) == old
                wait_for_answers(seen, seen.total(), failures)
        finally:
            is_over.set()
            for asker in askers:
                asker.join()
        assert not failures, failures
        assert old != new
        assert set(seen) <= {old, new}


@pytest.mark.timeout(300)
def test_days_that_close_meanwhile_are_settled_under_the_logic_that_reports_read(running: Running) -> None:
    running.send(views("a"))
    with running.processor():
        running.start()
        running.await_streams()
        running.publish()
        running.settle_all()
        entry = running.stores.generations.current(SITE, TODAY, TODAY + 1)[TODAY]
        assert entry.logic_version == V1.number
        assert running.visits() == 1
        running.roll_back()
        assert running.visits() == 1, "a settled generation wins"
        found = running.diff()
        assert (found.site_days, found.settled_site_days) == (0, 1)
