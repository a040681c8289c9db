"""Test row digests (decision A8, rule D0). Digests are linear and keyed, and a sender cannot force collisions."""

from __future__ import annotations

import polars as pl
import pytest

from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.row_digest import NOT_SET_HASH, RowDigest
from hitmesh.model.rows.stream_columns import UNKEYED_DIGESTS
from processor.settle.drift import drift_of
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from tests.support.settled_rows import frame, traffic, visits
from tests.support.twins import TWINS

DIGEST = RowDigest(b"secret of a mesh")


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: twins[0])
def test_texts_with_one_hash64_have_digests_of_their_own(twins: tuple[str, str]) -> None:
    first, second = (
        DIGEST.of(frame(RowSource.TRAFFIC, [traffic(page_path=twin, hits=1)]), RowSource.TRAFFIC) for twin in twins
    )
    assert first[0] != second[0]
    assert len(set(DIGEST.texts(pl.Series(twins)).tolist())) == 2


def test_digests_of_two_meshes_have_nothing_in_common() -> None:
    rows = frame(RowSource.TRAFFIC, [traffic(page_path="/", hits=1)])
    assert RowDigest(b"another").of(rows, RowSource.TRAFFIC)[0] != DIGEST.of(rows, RowSource.TRAFFIC)[0]


@pytest.mark.parametrize("height", [3, 60])
def test_hashes_of_texts_do_not_depend_on_what_is_remembered_or_how_many_there_are(height: int) -> None:
    texts = pl.Series([None, "a", "b"] * (height // 3))
    hashes = RowDigest(b"secret of a mesh", max_remembered=1).texts(texts)
    assert (hashes == DIGEST.texts(texts)).all()
    assert hashes[0] == NOT_SET_HASH
    assert len(set(hashes.tolist())) == 3


def test_few_texts_are_remembered() -> None:
    digest = RowDigest(max_remembered=3)
    for begin in range(0, 200, 100):
        digest.texts(pl.Series([f"/{number}" for number in range(begin, begin + 100)]))
    assert len(digest._remembered) <= 3


def test_digests_of_older_partials_confirm_nothing_and_are_no_drift_by_themselves() -> None:
    of_hits = frame(RowSource.TRAFFIC, [traffic(page_path="/", hits=2), traffic(page_path="/a", hits=1)])
    of_visits = frame(RowSource.VISITS, [visits(landing_page="/", visits=1)])
    rows = SettledRows.in_memory(of_hits, of_visits)
    streamed = settled_series(rows, DIGEST)
    same = drift_of(rows, streamed, DIGEST)
    assert same is not None
    assert (same.confirmed, same.rows_differ) == (True, False)
    older = drift_of(rows, streamed.with_columns(pl.lit(1, pl.Int64).alias(UNKEYED_DIGESTS)), DIGEST)
    assert older is not None
    assert (older.confirmed, older.rows_differ, older.measures) == (False, False, {})
    more = frame(RowSource.TRAFFIC, [traffic(page_path="/", hits=3), traffic(page_path="/a", hits=1)])
    later = SettledRows.in_memory(more, of_visits)
    late = drift_of(later, streamed.with_columns(pl.lit(1, pl.Int64).alias(UNKEYED_DIGESTS)), DIGEST)
    assert late is not None
    assert (late.confirmed, late.rows_differ, late.measures) == (False, True, {"hits": 1})


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: twins[0])
def test_rows_of_a_twin_are_not_confirmed(twins: tuple[str, str]) -> None:
    streamed, settled = (frame(RowSource.TRAFFIC, [traffic(page_path=twin, hits=1)]) for twin in twins)
    none = frame(RowSource.VISITS, [])
    series = settled_series(SettledRows.in_memory(streamed, none), DIGEST)
    drift = drift_of(SettledRows.in_memory(settled, none), series, DIGEST)
    assert drift is not None
    assert (drift.confirmed, drift.rows_differ, drift.measures) == (False, True, {})
