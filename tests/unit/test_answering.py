"""Test the order in which an answer reads the stores (rule P15).

A concurrent commit or publication is never half visible.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.cells import Grain
from hitmesh.model.errors import Unavailable
from hitmesh.model.filters import Comparison, Operator
from hitmesh.model.generations import STREAM_GENERATION, DirtyMark, DirtySiteDay, Drift, LedgerEntry
from hitmesh.model.ledger import LedgerKind
from hitmesh.model.logic import CURRENT, V0, V1, Logic
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import PolicyChange, Site, SiteDay
from hitmesh.model.stream_values import FoldedRows
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from reporter.answer.freshness import CellState
from reporter.answer.route import Path
from reporter.answer.series import Exactness
from reporter.answer.visits import resting_on_visits
from reporter.rpc.answer import Answer, answer
from reporter.rpc.backend import Backend
from tests.support.clock import ManualClock
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, a_question, frame, partials_of, stream_frame, traffic
from tests.support.stream_builders import an_entry, entries

NOW = MIDNIGHT + 12 * 3_600_000
UTC_DAY = MIDNIGHT // DAY
SITE_DAY = SiteDay(SITE, UTC_DAY)
CONFIRMED = Drift(confirmed=True, rows_differ=False, sketch_provisional=False, measures={})


class Meanwhile:
    """A store that runs the next action after each read, as long as actions are left."""

    def __init__(self, store: object, reads: str, actions: list[Callable[[], None]]) -> None:
        self._store = store
        self._reads = reads
        self._actions = actions

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return self._read(method) if name == self._reads else method

    def _read(self, method: Callable[..., pl.DataFrame]) -> Callable[..., pl.DataFrame]:
        def read(*arguments: object) -> pl.DataFrame:
            found = method(*arguments)
            if self._actions:
                self._actions.pop(0)()
            return found

        return read


class Scene:
    """The stores of a site, and a reporter that reads these stores.

    The methods of Scene change the stores as the stream and the settlement do. The reporter answers on a single serving
    path. Partials are stored immediately after a commit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meanwhile: list[Callable[[], None]] = []
        self.stores: Stores = open_stores("memory:", ManualClock(NOW), partitions={Topic.HITS: 1, Topic.REJECTED: 1})
        self.site = Site(SITE, "UTC", "USD", b"s" * 32)
        self.writer = self.stores.outbox.take_over()
        tokens = itertools.count()
        self.backend = Backend(
            directory=self.stores.directory,
            generations=self.stores.generations,
            dirty=self.stores.dirty,
            metrics=Meanwhile(self.stores.metrics, "query", self.meanwhile),
            series=Meanwhile(self.stores.series, "read", self.meanwhile),
            progress=self.stores.progress,
            ledger=self.stores.ledger,
            erasures=self.stores.erasures,
            streams=self.stores.streams,
            stream=self.stores.stream,
            clock=ManualClock(NOW),
            new_token=lambda: f"token{next(tokens)}",
        )
        self.partition = PartitionId(self.stores.log.log_id(Topic.HITS), 0)
        self.offset = 0

    def stream(self, hits: int, log_time: int = NOW) -> None:
        """Commit and flush hits of the day, as the live stream does."""
        self.stores.dirty.await_close([SITE_DAY])
        self.offset += 1
        rows = stream_frame(RowSource.TRAFFIC, [traffic(hits=hits, generation=0)])
        folded = FoldedRows(self.partition, rows, stream_frame(RowSource.VISITS, []))
        progress = {self.partition: PartitionProgress(self.offset, log_time)}
        self.stores.outbox.transaction(self.writer, [folded], progress)
        self.stores.series.put_partials(partials_of(folded.traffic, folded.visits, self.partition, self.offset))
        self.stores.series.note_flushed(progress)

    def settle(self, hits: int, drift: Drift | None = None, logic: Logic = CURRENT) -> None:
        """Publish a settlement of the day and clear its dirty marks, as the settler does."""
        waiting = self.stores.dirty.take(10, UTC_DAY + 1)
        generation = self.stores.generations.begin(SITE_DAY)
        if drift is None or not drift.confirmed:
            rows = frame(RowSource.TRAFFIC, [traffic(hits=hits, generation=generation)]), frame(RowSource.VISITS, [])
            self.stores.sink.write(*rows)
            self.stores.series.put_settled(SITE_DAY, generation, settled_series(SettledRows.in_memory(*rows)))
        current = self.stores.generations.current(SITE, UTC_DAY, UTC_DAY + 1).get(UTC_DAY)
        self.stores.generations.publish(
            SITE_DAY,
            generation,
            logic_version=logic.number,
            read_through={self.partition: self.offset},
            seen_sequence=current.sequence if current else 0,
            ledger=LedgerEntry(0, 0, 0, 0, 0, 0),
            carry=b"",
            now=NOW,
            drift=drift,
        )
        for dirty_day in waiting:
            self.stores.dirty.clear(dirty_day)

    def ask(self, metrics: str = "hits") -> Answer:
        dimensions = "channel" if self.path is Path.METRICS else ""
        question = a_question(metrics, dimensions=dimensions, since="2015-05-17", until="2015-05-17")
        found = answer(self.backend, question, (self.site,), "USD", ())
        assert found.path is self.path
        return found


def hits(found: Answer) -> int:
    return int(found.rows.columns[0].numerators.sum())


@pytest.fixture(params=Path)
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


def test_rows_committed_by_the_stream_are_in_the_next_answer(scene: Scene) -> None:
    scene.stream(3)
    first = scene.ask()
    assert (hits(first), first.data_version) == (3, "s0.p1")
    scene.stream(4)
    second = scene.ask()
    assert (hits(second), second.data_version) == (7, "s0.p2")
    assert second.freshness.complete_through == NOW
    assert second.freshness.open_days == 1


def test_a_day_without_hits_reads_no_rows_of_the_store(scene: Scene) -> None:
    assert (hits(scene.ask()), scene.ask().store_rows) == (0, 0)


def test_a_confirmed_day_is_read_as_the_stream_has_it_and_is_settled(scene: Scene) -> None:
    scene.stream(3, log_time=MIDNIGHT + 3 * DAY)
    scene.backend = replace(scene.backend, clock=ManualClock(MIDNIGHT + 3 * DAY))
    assert scene.ask().freshness.state_between(MIDNIGHT, MIDNIGHT + DAY) is CellState.PROVISIONAL
    scene.settle(3, CONFIRMED)
    found = scene.ask()
    assert (hits(found), found.is_pinnable) == (3, True)
    assert found.freshness.state_between(MIDNIGHT, MIDNIGHT + DAY) is CellState.SETTLED


def test_a_confirmed_day_whose_series_has_expired_is_answered_by_the_metric_store() -> None:
    """Partials and settled series of a confirmed day may expire (`hitmesh init --series-ttl-days`)."""
    scene = Scene(Path.SERIES)
    scene.stream(3, log_time=MIDNIGHT + 3 * DAY)
    scene.settle(3, CONFIRMED)
    scene.stores.series.drop([(SITE_DAY, STREAM_GENERATION)])
    question = a_question("hits", since="2015-05-17", until="2015-05-18")
    found = answer(scene.backend, question, (scene.site,), "USD", ())
    assert (hits(found), found.path) == (3, Path.METRICS)


def test_a_new_generation_takes_the_place_of_the_streams_rows(scene: Scene) -> None:
    scene.stream(3)
    scene.settle(5, replace(CONFIRMED, confirmed=False, rows_differ=True))
    assert hits(scene.ask()) == 5


def test_an_answer_names_the_versions_of_the_logic_of_its_settled_days(scene: Scene) -> None:
    scene.stream(3)
    assert scene.ask().logic_versions == ()
    scene.settle(3, CONFIRMED, V0)
    assert scene.ask().logic_versions == ("v0",)
    other = SiteDay(SITE, UTC_DAY + 1)
    publish_confirmed(scene, other, V1)
    assert scene.ask().logic_versions == ("v0",), "the answer has no row of the other day"
    dimensions = "channel" if scene.path is Path.METRICS else ""
    both = a_question("hits", dimensions=dimensions, since="2015-05-17", until="2015-05-18")
    assert answer(scene.backend, both, (scene.site,), "USD", ()).logic_versions == ("v0", "v1")


def publish_confirmed(scene: Scene, site_day: SiteDay, logic: Logic) -> None:
    """Publish an entry by which settlement confirms the stream's rows of a day."""
    generations = scene.stores.generations
    generations.publish(
        site_day,
        generations.begin(site_day),
        logic_version=logic.number,
        read_through={scene.partition: scene.offset},
        seen_sequence=0,
        ledger=LedgerEntry(0, 0, 0, 0, 0, 0),
        carry=b"",
        now=NOW,
        drift=CONFIRMED,
    )


def test_history_holds_complete_through_back_until_it_is_settled(scene: Scene) -> None:
    scene.stream(3)
    mark = DirtyMark(SITE_DAY, Position(*scene.partition, 0), NOW - 7_000, hits=1)
    scene.stores.dirty.mark([mark])
    assert scene.ask().freshness.complete_through == NOW - 7_000
    scene.settle(4)
    assert scene.ask().freshness.complete_through == NOW


def test_rows_committed_while_rows_were_read_are_read_again(scene: Scene) -> None:
    scene.stream(3)
    scene.meanwhile += [lambda: scene.stream(4)]
    found = scene.ask()
    assert (hits(found), found.data_version) == (7, "s0.p2")


def test_a_settlement_published_while_rows_were_read_is_read_again(scene: Scene) -> None:
    scene.stream(3)
    scene.meanwhile += [lambda: scene.settle(5)]
    found = scene.ask()
    assert (hits(found), found.data_version) == (5, "s1.p1")


def test_an_answer_during_which_rows_never_stop_coming_has_a_version_of_its_own(scene: Scene) -> None:
    scene.stream(1)
    scene.meanwhile += [lambda: scene.stream(1)] * 20
    first, second = scene.ask(), scene.ask()
    assert ".q" in first.data_version
    assert first.data_version != second.data_version


def test_a_settlement_published_between_waiting_and_generations_is_found(scene: Scene) -> None:
    scene.stream(3)

    class Waiting:
        """A store of dirty marks. After a caller has read the days that wait, a settlement clears the marks."""

        def __getattr__(self, name: str) -> object:
            return getattr(scene.stores.dirty, name)

        def awaited(self, site: str) -> Sequence[int]:
            found = scene.stores.dirty.awaited(site)
            if found:
                scene.settle(5)
            return found

        def pending(self, site: str) -> Sequence[DirtySiteDay]:
            return scene.stores.dirty.pending(site)

    scene.backend = replace(scene.backend, dirty=Waiting())  # type: ignore[arg-type]  # the rest by __getattr__
    assert hits(scene.ask()) == 5


@pytest.mark.parametrize("by", [-1, 0, 1])
def test_visits_are_provisional_while_hits_wait_that_may_be_of_them(scene: Scene, by: int) -> None:
    scene.stream(3)

    def exactness() -> list[Exactness]:
        return [column.exactness for column in scene.ask("hits,visits,bounce_rate").rows.columns]

    assert exactness() == [Exactness.EXACT] * 3
    entry = an_entry(site=SITE, kind=LedgerKind.WAITS, at=UTC_DAY, hits=1)
    scene.stores.ledger.put(entries(*(entry | {"at": UTC_DAY + by} for by in (-2, 2))))
    assert exactness() == [Exactness.EXACT] * 3, "no visit of the day reaches so far"
    scene.stores.ledger.put(entries(entry | {"at": UTC_DAY + by}))
    assert exactness() == [of_hits(scene), Exactness.VISITS_PROVISIONAL, Exactness.VISITS_PROVISIONAL]
    scene.settle(3)
    assert exactness() == [Exactness.EXACT] * 3


def test_visits_are_provisional_when_hits_begin_to_wait_while_rows_are_read(scene: Scene) -> None:
    scene.stream(3)
    waits = an_entry(site=SITE, kind=LedgerKind.WAITS, at=UTC_DAY, hits=1)
    scene.meanwhile += [lambda: scene.stores.ledger.put(entries(waits))]
    (visits,) = scene.ask("visits").rows.columns
    assert visits.exactness is Exactness.VISITS_PROVISIONAL


def test_totals_are_as_provisional_as_the_rows_they_are_of(scene: Scene) -> None:
    scene.stream(3)
    scene.stores.ledger.put(entries(an_entry(site=SITE, kind=LedgerKind.WAITS, at=UTC_DAY, hits=1)))
    dimensions = "channel" if scene.path is Path.METRICS else ""
    question = a_question("hits,visits", dimensions=dimensions, grain=Grain.DAY, until="2015-05-17")
    found = answer(scene.backend, replace(question, include_totals=True), (scene.site,), "USD", ())
    assert found.path is scene.path
    assert found.totals is not None
    assert [column.exactness for column in found.totals.columns] == [Exactness.EXACT, Exactness.VISITS_PROVISIONAL]


def test_hits_that_waited_on_a_day_between_confirmed_ones_make_no_visit_provisional(scene: Scene) -> None:
    scene.stream(3, log_time=MIDNIGHT + 9 * DAY)
    for day in (SITE_DAY, SiteDay(SITE, UTC_DAY + 4)):
        publish_confirmed(scene, day, CURRENT)
    scene.stores.ledger.put(entries(an_entry(site=SITE, kind=LedgerKind.WAITS, at=UTC_DAY + 2, hits=1)))
    question = a_question("visits", until="2015-05-21")
    (visits,) = answer(scene.backend, question, (scene.site,), "USD", ()).rows.columns
    assert visits.exactness is Exactness.EXACT


def test_visits_are_provisional_while_the_ledger_is_unavailable(scene: Scene) -> None:
    scene.stream(3)

    class Silent:
        """A ledger whose store is unavailable."""

        def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
            raise Unavailable("no answer")

    scene.backend = replace(scene.backend, ledger=Silent())  # type: ignore[arg-type]  # nothing else is asked
    hits, visits = scene.ask("hits,visits").rows.columns
    assert (hits.exactness, visits.exactness) == (of_hits(scene), Exactness.VISITS_PROVISIONAL)


def of_hits(scene: Scene) -> Exactness:
    """Return the exactness of the metric `hits` while some hits wait for settlement.

    The total number of hits is exact. The numbers of hits per channel are provisional, because settlement may change a
    hit's visit.
    """
    return Exactness.VISITS_PROVISIONAL if scene.path is Path.METRICS else Exactness.EXACT


@pytest.mark.parametrize(
    ("dimensions", "compared", "resting"),
    [
        ("", "hostname", {"visits"}),
        ("page_path", "hostname", {"visits"}),
        ("source", "hostname", {"hits", "gross_revenue", "visits"}),
        ("", "source", {"hits", "gross_revenue", "visits"}),
    ],
)
def test_metrics_grouped_or_filtered_by_a_dimension_of_the_visit_depend_on_visits(
    dimensions: str, compared: str, resting: set[str]
) -> None:
    metrics = "hits,gross_revenue" if "page_path" in dimensions else "hits,gross_revenue,visits"
    question = a_question(metrics, dimensions=dimensions, tree=Comparison(compared, Operator.EQ, ("a",)))
    assert resting_on_visits(question) == resting & {*metrics.split(",")}


def test_the_version_is_of_the_sites_own_partitions_and_of_refusals(scene: Scene) -> None:
    scene.stream(3)
    refusals = scene.stores.log_reader(Topic.REJECTED, "processor")
    refused = {partition: PartitionProgress(5, NOW) for partition in refusals.committed()}
    refusals.commit(refused)
    assert scene.backend.books.version([scene.site]) == "s0.p6"


@pytest.mark.parametrize(
    ("from_day", "versions"),
    [(UTC_DAY - 1, "v1-campaign-keeps"), (UTC_DAY, "v1-campaign-keeps"), (UTC_DAY + 1, "v1")],
)
def test_the_answer_names_the_visit_policies_of_its_days_only(scene: Scene, from_day: int, versions: str) -> None:
    change = PolicyChange(from_day, campaign_splits=False, split_at_local_midnight=False)
    scene.site = replace(scene.site, policy_changes=(change,))
    scene.stream(3)
    assert scene.ask().policy_version == versions
