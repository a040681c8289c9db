"""Test that answers from series equal the metric store's answers for the same cells."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from hitmesh.model.limits import CELL_MS
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import SERIES_COLUMNS
from hitmesh.model.sites import SiteDay
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from reporter.answer.from_series import MAX_RUN_DAYS, Run, added, folded, is_complete, runs
from tests.support.settled_rows import DAY, HOUR, MIDNIGHT, SITE, frame, sketch_of, traffic, visits
from tests.support.unions import estimate, union

UTC_DAY = MIDNIGHT // DAY
HOURLY = MetricQuery(
    RowSource.TRAFFIC,
    {SiteDay(SITE, UTC_DAY): 1},
    MIDNIGHT,
    MIDNIGHT + DAY,
    tuple(range(MIDNIGHT, MIDNIGHT + DAY, HOUR)),
    measures=("hits",),
)


def a_series(*rows: dict[str, object], of_visits: tuple[dict[str, object], ...] = ()) -> pl.DataFrame:
    traffic, visits = frame(RowSource.TRAFFIC, rows), frame(RowSource.VISITS, of_visits)
    return settled_series(SettledRows.in_memory(traffic, visits))


def groups_of(rows: pl.DataFrame, query: MetricQuery) -> set[tuple[object, ...]]:
    return set(folded(rows, query).rows())


def test_cells_are_added_up_by_bucket_and_outside_of_the_range_is_nothing() -> None:
    times = (0, CELL_MS, HOUR, 3 * HOUR, DAY - CELL_MS, DAY, -CELL_MS)
    rows = a_series(*(traffic(MIDNIGHT + time, hits=10 + place) for place, time in enumerate(times)))
    assert groups_of(rows, HOURLY) == {(0, 21), (1, 12), (3, 13), (23, 14)}
    later = replace(HOURLY, start=MIDNIGHT + HOUR, end=MIDNIGHT + DAY - CELL_MS, bucket_starts=(MIDNIGHT + HOUR,))
    assert groups_of(rows, later) == {(0, 25)}


def test_excluded_hits_are_added_on_request() -> None:
    rows = a_series(traffic(hits=1), traffic(hits=2, excluded=True))
    assert groups_of(rows, HOURLY) == {(0, 1)}
    assert groups_of(rows, replace(HOURLY, include_excluded=True)) == {(0, 3)}


def test_visits_stand_beside_hits() -> None:
    rows = a_series(traffic(hits=5), of_visits=(visits(visits=2, bounces=1),))
    of_visits = replace(HOURLY, source=RowSource.VISITS, measures=("visits", "bounces"))
    assert groups_of(rows, of_visits) == {(0, 2, 1)}


def test_rows_without_a_queried_measure_are_left_out() -> None:
    rows = a_series(traffic(hits=5), traffic(MIDNIGHT + HOUR, orders=1), traffic(MIDNIGHT + 2 * HOUR))
    assert groups_of(rows, HOURLY) == {(0, 5)}


def test_amounts_are_grouped_by_currency_and_no_currency_is_null() -> None:
    rows = a_series(
        traffic(hits=1, pageviews=1),
        traffic(hits=1, gross_revenue=7, currency="USD"),
        traffic(hits=1, gross_revenue=9, currency="JPY"),
    )
    by_currency = replace(HOURLY, dimensions=("currency",), measures=("hits", "gross_revenue"))
    assert groups_of(rows, by_currency) == {(0, None, 1, 0), (0, "USD", 1, 7), (0, "JPY", 1, 9)}
    assert groups_of(rows, HOURLY) == {(0, 3)}


def test_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="'channel'"):
        folded(a_series(), replace(HOURLY, dimensions=("channel",)))


def test_sketches_are_united_over_cells_currencies_and_parts() -> None:
    query = replace(HOURLY, bucket_starts=(MIDNIGHT,), measures=(), sketches=("visitors",))
    rows = a_series(
        traffic(hits=1, visitors=sketch_of(1, 2)),
        traffic(hits=1, visitors=sketch_of(2, 3), currency="USD"),
        traffic(MIDNIGHT + HOUR, hits=1, visitors=sketch_of(4)),
        traffic(MIDNIGHT + HOUR, hits=1),
    )
    (whole,) = folded(rows, query)["visitors"]
    assert estimate(union([whole])) == 4
    first, second = rows.filter(pl.col("cell") == MIDNIGHT), rows.filter(pl.col("cell") != MIDNIGHT)
    (together,) = added([folded(first, query), folded(second, query)], query)["visitors"]
    assert together == whole
    hourly = added([folded(rows, replace(query, bucket_starts=HOURLY.bucket_starts))], query)
    assert {bucket: estimate(union([sketch])) for bucket, sketch in hourly.rows()} == {0: 3, 1: 1}


def test_no_rows_have_the_types_of_an_answer() -> None:
    query = replace(HOURLY, dimensions=("currency",), sketches=("visitors",))
    assert added([], query).schema == {
        "bucket": pl.Int32,
        "currency": pl.String,
        "hits": pl.Int64,
        "visitors": pl.Binary,
    }


def test_days_of_one_generation_are_read_together_a_bounded_number_at_a_time() -> None:
    days = {**dict.fromkeys(range(3), 0), 3: 2, 5: 2, **dict.fromkeys(range(6, 6 + MAX_RUN_DAYS + 1), 0)}
    found = runs({SiteDay(SITE, day): generation for day, generation in reversed(days.items())})
    assert found == [
        Run(0, 3, 0),
        Run(3, 4, 2),
        Run(5, 6, 2),
        Run(6, 6 + MAX_RUN_DAYS, 0),
        Run(6 + MAX_RUN_DAYS, 7 + MAX_RUN_DAYS, 0),
    ]
    assert runs({}) == []


def test_a_settled_day_without_stored_series_is_incomplete() -> None:
    rows = a_series(traffic(hits=1))
    assert is_complete(Run(UTC_DAY, UTC_DAY + 1, 3), rows, frozenset({UTC_DAY}))
    assert not is_complete(Run(UTC_DAY, UTC_DAY + 2, 3), rows, frozenset({UTC_DAY, UTC_DAY + 1}))
    assert is_complete(Run(UTC_DAY, UTC_DAY + 2, 0), rows, frozenset()), "a live day may have nothing yet"
    assert is_complete(Run(UTC_DAY, UTC_DAY + 1, 0), pl.DataFrame(schema=SERIES_COLUMNS), frozenset())


@pytest.mark.parametrize("generation", [0, -1])
def test_a_confirmed_day_without_stored_series_is_incomplete(generation: int) -> None:
    rows = a_series(traffic(hits=1))
    both = Run(UTC_DAY, UTC_DAY + 2, generation)
    assert is_complete(both, rows, frozenset({UTC_DAY})), "the second day is live"
    assert not is_complete(both, rows, frozenset({UTC_DAY, UTC_DAY + 1}))
    assert is_complete(both, rows, frozenset({UTC_DAY, UTC_DAY + 2})), "the run does not have this day"


def test_amounts_stored_without_their_currency_are_incomplete() -> None:
    old = a_series(traffic(hits=1, gross_revenue=7, currency="USD")).with_columns(currency=pl.lit(""))
    assert not is_complete(Run(UTC_DAY, UTC_DAY + 1, 0), old, frozenset())
