"""Test the difference of a reprocessing: sums, days, sites, and the values of a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from control.rpc.reprocessing.cells import changed_cells
from control.rpc.reprocessing.compared_rows import ChangedKeys, Generations
from control.rpc.reprocessing.difference_messages import metric_messages, reasons_message
from control.rpc.reprocessing.differences import MICROS, UNITS, Sums, differences, most_changed, ranking
from control.rpc.reprocessing.get_reprocessing_diff import READ_SITE_DAYS, Part, rebuilt_in
from control.rpc.reprocessing.values import DIMENSIONS, ChangedValues, changed_values, legs
from hitmesh.adapters.factory import open_stores
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.checkpoints import unwatched
from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import CELL_MS
from hitmesh.model.money import INT64_MAX
from hitmesh.model.positions import PartitionId
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import Rebuilt
from hitmesh.model.rows.rollup_rows import (
    AMOUNT_MEASURES,
    TRAFFIC_MEASURES,
    TRAFFIC_SKETCHES,
    VISITS_MEASURES,
    RowSource,
)
from hitmesh.model.sites import SiteDay
from hitmesh.ports import MetricStore, Reprocessings
from reporter.question.catalogue import DIMENSIONS as REPORT_DIMENSIONS
from reporter.question.catalogue import ITEM_METRICS, METRICS, PARTS
from tests.support.clock import ManualClock
from tests.support.rebuilt_days import UTC_DAY, a_ledger, a_rebuilt
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, frame, traffic, visits

BLOG = "merchants/demo/sites/blog"


def test_every_stored_measure_has_a_unit_and_the_name_of_its_metric() -> None:
    assert set(UNITS) == {*TRAFFIC_MEASURES, *VISITS_MEASURES, *TRAFFIC_SKETCHES}
    assert {measure for measure, unit in UNITS.items() if unit == MICROS} == set(AMOUNT_MEASURES)
    assert set(UNITS) - set(METRICS) == {"visit_views"}
    assert all(METRICS[measure].parts == (measure,) for measure in UNITS if measure in METRICS)


@dataclass
class Recorded:
    """A store of reprocessings that remembers how many site-days each read requests."""

    stored: Reprocessings
    limits: list[int] = field(default_factory=list)

    def rebuilt(self, id_: str, after: SiteDay | None = None, limit: int = 1_000) -> Sequence[Rebuilt]:
        """Return recomputed site-days."""
        self.limits.append(limit)
        return self.stored.rebuilt(id_, after, limit)


def test_recomputed_site_days_are_read_in_small_pages_and_kept_without_their_carries() -> None:
    stored = open_stores("memory:", ManualClock(0)).reprocessings
    days = [a_rebuilt({"visits": (2, 3)}, day) for day in range(UTC_DAY - 70, UTC_DAY)]
    full = [
        replace(
            each,
            before=replace(each.before, carry=b"megabytes"),
            after=replace(each.after, carry=b"megabytes", read_through={PartitionId("hits", 0): 7}),
            disturbed_days=frozenset({1}),
        )
        for each in days
    ]
    stored.put("r1", full)
    recorded = Recorded(stored)
    read = list(rebuilt_in(recorded, "r1", Part(None, 0, UTC_DAY), unwatched))  # type: ignore[arg-type]  # only reads
    assert read == [replace(each, disturbed_days=frozenset({1})) for each in days]
    assert (len(recorded.limits), max(recorded.limits)) == (70 // READ_SITE_DAYS + 2, READ_SITE_DAYS)
    assert READ_SITE_DAYS <= 32


def test_unchanged_site_days_give_an_empty_difference() -> None:
    found = differences([a_rebuilt({"visits": (7, 7)}), a_rebuilt({}, UTC_DAY + 1)])
    assert (found.total.site_days, found.total.changed_site_days) == (2, 0)
    assert (found.total.changed, found.days, found.sites) == ({}, {}, {})
    assert ranking(found.total.sums) == ""


def test_differences_add_up_in_total_per_day_and_per_site() -> None:
    found = differences(
        [
            a_rebuilt({"visits": (10, 8), "hits": (30, 30)}, UTC_DAY, BLOG),
            a_rebuilt({"visits": (5, 5), "hits": (9, 9)}, UTC_DAY + 1, BLOG),
            a_rebuilt({"visits": (10, 11), "bounces": (0, 1)}, UTC_DAY),
        ]
    )
    assert found.total.changed == {"bounces": Sums(0, 1, 1), "visits": Sums(25, 24, 3)}
    assert found.total.sums["hits"] == Sums(39, 39, 0)
    assert (found.total.site_days, found.total.changed_site_days) == (3, 2)
    assert list(found.days) == [UTC_DAY]
    assert found.days[UTC_DAY].changed["visits"] == Sums(20, 19, 3)
    assert {site: tally.changed for site, tally in found.sites.items()} == {
        BLOG: {"visits": Sums(10, 8, 2)},
        SITE: {"bounces": Sums(0, 1, 1), "visits": Sums(10, 11, 1)},
    }
    assert most_changed(found.sites, "visits", 1) == [BLOG]
    assert most_changed(found.sites, "bounces", 10) == [SITE]


def test_changes_that_cancel_out_are_no_empty_difference() -> None:
    found = differences([a_rebuilt({"visits": (1, 2)}), a_rebuilt({"visits": (2, 1)}, UTC_DAY + 1)])
    assert found.total.changed == {"visits": Sums(3, 3, 2)}
    (message,) = metric_messages(found.total.changed)
    assert (message.difference, message.percent) == (0, 0)
    assert message.absolute_difference == 2
    assert message.absolute_percent == pytest.approx(200 / 3)


def test_a_different_ledger_alone_is_a_change() -> None:
    lost = a_rebuilt({"hits": (3, 3)}, ledgers=(a_ledger(3), a_ledger(4, duplicate=1)))
    found = differences([lost, a_rebuilt({}, UTC_DAY + 1)])
    assert found.total.changed_site_days == 1
    assert list(found.days) == [UTC_DAY]
    assert (found.total.before.accepted, found.total.after.accepted, found.total.after.duplicate) == (6, 7, 1)
    assert (found.total.before.sum64, found.total.after.xor64) == (60, 3 ^ 4)


def test_the_metric_that_changed_most_in_per_cent_ranks_and_those_that_were_0_come_last() -> None:
    assert ranking({"bounces": Sums(0, 9, 9), "hits": Sums(100, 90, 10), "visits": Sums(10, 8, 2)}) == "visits"
    assert ranking({"bounces": Sums(0, 9, 9), "hits": Sums(5, 5, 0)}) == "bounces"


def test_a_sum_beyond_an_int64_is_left_out_and_its_share_is_not() -> None:
    (message,) = metric_messages({"gross_revenue": Sums(4 * INT64_MAX, 2 * INT64_MAX, 2 * INT64_MAX)})
    assert not any(message.HasField(name) for name in ("old", "new", "difference", "absolute_difference"))
    assert (message.percent, message.absolute_percent, message.unit) == (-50, 50, "micros")
    (message,) = metric_messages({"visits": Sums(0, 1, 1)})
    assert not message.HasField("percent")
    assert (message.old, message.new, message.unit) == (0, 1, "count")


def test_dimensions_and_their_columns_are_those_of_reports() -> None:
    assert set(REPORT_DIMENSIONS) - set(DIMENSIONS) == {"site"}
    for dimension in (*REPORT_DIMENSIONS, "exit_page", "landing_page"):
        if dimension == "site":
            continue
        for leg in legs(dimension):
            for measure in leg.measures:
                column = PARTS[measure].page_column if dimension == "page_path" else dimension
                assert (leg.source, leg.column) == (PARTS[measure].source, column)
    assert {measure for leg in legs("product") for measure in leg.measures} == set(ITEM_METRICS)
    assert {measure for leg in legs("channel") for measure in leg.measures} == set(UNITS) - {
        "rejected_hits",
        "visitors",
    }


def test_an_unknown_dimension_names_similar_dimensions() -> None:
    with pytest.raises(RefusedError, match="did you mean channel") as caught:
        legs("chanel")
    assert (caught.value.reason, caught.value.field) == (ErrorReason.UNKNOWN_DIMENSION, "dimension")


@pytest.fixture
def rows() -> MetricStore:
    """Return a store with generations 1 and 2 of a site-day, and an unrelated generation 3."""
    stores = open_stores("memory:", ManualClock(0))
    for generation, (mail, direct, revenue) in {1: (5, 3, 10), 2: (2, 4, 10), 3: (99, 99, 99)}.items():
        stores.sink.write(
            frame(
                RowSource.TRAFFIC,
                [
                    traffic(generation=generation, hits=9, gross_revenue=revenue, channel="email", page_path="/a"),
                    traffic(generation=generation, hits=generation, page_path="/excluded", excluded=True),
                ],
            ),
            frame(
                RowSource.VISITS,
                [
                    visits(generation=generation, visits=mail, channel="email", landing_page="/a", exit_page="/z"),
                    visits(generation=generation, visits=direct, exits=generation, landing_page="/a", exit_page="/y"),
                    visits(generation=generation, visits=8, channel="search", landing_page="/b"),
                ],
            ),
        )
    return stores.metrics


def ask(rows: MetricStore, dimension: str, order_by: str = "", top: int = 10) -> ChangedValues:
    day = SiteDay(SITE, UTC_DAY)
    return changed_values(rows, Generations({day: 1}, {day: 2}), dimension, order_by, top, unwatched)


def test_values_of_a_dimension_whose_sums_changed_are_ranked(rows: MetricStore) -> None:
    found = ask(rows, "channel", "visits")
    assert (found.ranked_by, found.total) == ("visits", 2)
    assert [value for value, _ in found.values] == ["email", "(not set)"]
    assert found.values[0][1] == {"visits": Sums(5, 2, 3)}
    assert found.values[1][1] == {"exits": Sums(1, 2, 1), "visits": Sums(3, 4, 1)}
    assert [value for value, _ in ask(rows, "channel", "visits", top=1).values] == ["email"]
    # Exits changed by 100 %, visits only by 25 %.
    assert ask(rows, "channel").ranked_by == "exits"


def test_a_page_is_the_landing_page_for_visits_and_the_exit_page_for_exits(rows: MetricStore) -> None:
    found = dict(ask(rows, "page_path", "visits").values)
    assert found == {"/a": {"visits": Sums(8, 6, 2)}}
    assert dict(ask(rows, "page_path", "exits").values) == {"/y": {"exits": Sums(1, 2, 1)}}


def test_rows_without_a_value_are_compared_under_their_name_in_reports(rows: MetricStore) -> None:
    assert ask(rows, "browser").values == [("(not set)", {"exits": Sums(1, 2, 1), "visits": Sums(16, 14, 2)})]


def test_a_dimension_without_changed_values_is_empty(rows: MetricStore) -> None:
    assert ask(rows, "product") == ChangedValues("", [], 0)


def test_a_metric_that_does_not_go_with_the_dimension_is_refused(rows: MetricStore) -> None:
    with pytest.raises(RefusedError, match="visits cannot be broken down by product: use one of items_sold") as caught:
        ask(rows, "product", "visits")
    assert caught.value.reason is ErrorReason.VISIT_METRIC_HIT_DIMENSION


def test_no_site_day_gives_no_value(rows: MetricStore) -> None:
    assert changed_values(rows, Generations({}, {}), "channel", "", 10, unwatched) == ChangedValues("", [], 0)


def test_reasons_are_added_up_over_the_site_days_that_are_explained() -> None:
    merged, joined = ChangeReasons(merged_visits=3), ChangeReasons(merged_visits=1, joined_hits=2)
    found = differences(
        [
            a_rebuilt({"visits": (9, 6)}, reasons=merged),
            a_rebuilt({"visits": (9, 8)}, site=BLOG, reasons=joined),
            a_rebuilt({"visits": (1, 2)}, UTC_DAY + 1),
        ]
    )
    assert (found.total.explained_site_days, found.total.reasons) == (2, merged.plus(joined))
    message = reasons_message(found.days[UTC_DAY])
    assert message is not None
    assert (message.explained_site_days, message.merged_visits, message.joined_hits) == (2, 4, 2)
    assert reasons_message(found.days[UTC_DAY + 1]) is None


@pytest.fixture
def cell_rows() -> MetricStore:
    """Return a store with generations 1 and 2 of a day of BLOG and two days of SITE.

    The days of SITE are ten days apart.
    """
    stores = open_stores("memory:", ManualClock(0))
    far = MIDNIGHT + 10 * DAY
    for generation, count in {1: 5, 2: 3}.items():
        hits = [traffic(at, generation=generation, hits=9, site=site) for site in (SITE, BLOG) for at in (MIDNIGHT,)]
        starts = [
            visits(MIDNIGHT + CELL_MS, generation=generation, visits=count),
            visits(MIDNIGHT + CELL_MS, generation=generation, visits=count, site=BLOG, channel="email"),
            visits(MIDNIGHT, generation=generation, visits=7),
            visits(far + DAY - CELL_MS, generation=generation, visits=2 * count, bounces=4),
            visits(far, generation=generation, visits=generation, excluded=True),
        ]
        stores.sink.write(frame(RowSource.TRAFFIC, hits), frame(RowSource.VISITS, starts))
    return stores.metrics


def cells_of(rows: MetricStore, site_days: Sequence[SiteDay], order_by: str = "", top: int = 10) -> ChangedKeys:
    generations = Generations(dict.fromkeys(site_days, 1), dict.fromkeys(site_days, 2))
    return changed_cells(rows, generations, order_by, top, unwatched)


def test_cells_whose_sums_changed_are_ranked_over_sites_and_days(cell_rows: MetricStore) -> None:
    days = [SiteDay(SITE, UTC_DAY), SiteDay(SITE, UTC_DAY + 10), SiteDay(BLOG, UTC_DAY)]
    found = cells_of(cell_rows, days)
    late, early = MIDNIGHT + 11 * DAY - CELL_MS, MIDNIGHT + CELL_MS
    assert (found.ranked_by, found.total) == ("visits", 3)
    assert found.keys == [
        ((SITE, late), {"visits": Sums(10, 6, 4)}),
        ((BLOG, early), {"visits": Sums(5, 3, 2)}),
        ((SITE, early), {"visits": Sums(5, 3, 2)}),
    ]
    assert [key for key, _ in cells_of(cell_rows, days, "visits", top=1).keys] == [(SITE, late)]
    assert [key for key, _ in cells_of(cell_rows, days[2:]).keys] == [(BLOG, early)]


def test_cells_without_a_change_and_no_site_day_give_no_cell(cell_rows: MetricStore) -> None:
    assert cells_of(cell_rows, []) == ChangedKeys("", [], 0)
    assert cells_of(cell_rows, [SiteDay(SITE, UTC_DAY)], "bounces") == ChangedKeys("", [], 1)


def test_a_metric_that_cells_do_not_have_is_refused(cell_rows: MetricStore) -> None:
    with pytest.raises(RefusedError, match="visitors cannot be broken down by cell: use one of hits") as caught:
        cells_of(cell_rows, [SiteDay(SITE, UTC_DAY)], "visitors")
    assert caught.value.field == "order_by"
