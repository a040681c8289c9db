"""Test the conditions under which settlement confirms the stream's rows of a day."""

from __future__ import annotations

import polars as pl
import pytest

from hitmesh.model.generations import Drift
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, ROW_SUMS
from processor.settle.drift import drift_of, with_stored_rows
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from tests.support.settled_rows import MIDNIGHT, frame, traffic, visits

TRAFFIC = frame(RowSource.TRAFFIC, [traffic(MIDNIGHT, hits=3, gross_revenue=2**62), traffic(MIDNIGHT, hits=4)])
VISITS = frame(RowSource.VISITS, [visits(MIDNIGHT, visits=2, bounces=1)])
ROWS = SettledRows.in_memory(TRAFFIC, VISITS)


def streamed(**added: int) -> pl.DataFrame:
    """Return the stream's series.

    In the first cell, the stream's measures exceed the settled measures by `added`. In all other cells, the stream's
    measures equal the settled measures.
    """
    cells = settled_series(ROWS)
    first = pl.int_range(pl.len()) == 0
    return cells.with_columns(
        pl.when(first).then(pl.col(name) + value).otherwise(pl.col(name)) for name, value in added.items()
    )


def stored(**added: int) -> dict[str, int]:
    sums = {name: int(rows[name].sum()) for rows in (TRAFFIC, VISITS) for name in ROW_SUMS if name in rows.columns}
    return sums | {name: sums[name] + value for name, value in added.items()}


def a_drift(**added: int) -> Drift:
    drift = drift_of(ROWS, streamed(**added), RowDigest())
    assert drift is not None
    return drift


def test_stream_that_agrees_is_confirmed() -> None:
    assert a_drift() == Drift(confirmed=True, rows_differ=False, sketch_provisional=False, measures={})


def test_stream_whose_visitors_moved_is_not_confirmed_though_no_row_differs() -> None:
    assert a_drift(**{MOVED_VISITORS: 1}) == Drift(
        confirmed=False, rows_differ=False, sketch_provisional=True, measures={}
    )


def test_stream_of_which_a_row_differs_is_not_confirmed() -> None:
    assert a_drift(hits=2, digest=5) == Drift(
        confirmed=False, rows_differ=True, sketch_provisional=False, measures={"hits": -2}
    )
    assert not a_drift(digest=1).confirmed


def test_stream_without_partials_has_no_drift() -> None:
    assert drift_of(ROWS, streamed().clear(), RowDigest()) is None


@pytest.mark.parametrize("changed", [{"hits": 7}, {"hits": -1}, {"visits": 2}, {"gross_revenue": 2**62}])
def test_rows_that_a_store_lost_or_has_twice_confirm_nothing(changed: dict[str, int]) -> None:
    found = with_stored_rows(a_drift(), ROWS, stored(**changed))
    assert (found.confirmed, found.rows_differ, found.row_measures) == (False, True, changed)


def test_rows_are_compared_with_what_the_stream_counted_where_it_differs_from_the_settlement() -> None:
    drift = a_drift(hits=2, digest=5)
    assert with_stored_rows(drift, ROWS, stored(hits=2)) == drift
    assert with_stored_rows(drift, ROWS, stored()).row_measures == {"hits": -2}


def test_sums_of_rows_are_compared_modulo_two_to_the_64() -> None:
    wrapped = stored() | {"gross_revenue": 2**62 - 2**64}
    assert with_stored_rows(a_drift(), ROWS, wrapped).confirmed
