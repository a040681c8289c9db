"""Test that every refused hit counts, and that bytes are kept only for a sample of the refused hits.

In the tests, each limit of the sample is three.
"""

from __future__ import annotations

import polars as pl
import pytest

from collector.admission.batches import Refusal
from collector.refusal_sample import RefusalSample
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.cells import HOUR_MS
from hitmesh.model.limits import CELL_MS
from hitmesh.model.refusals import MAX_KEPT_BYTES
from hitmesh.model.rows.columns import REJECTED_COLUMNS
from hitmesh.model.zones import DAY_MS
from tests.support.admitting import SERVER, a_batch, a_hit, admitted, grants

NOW = 20_000 * DAY_MS


def refused(rows: int, site: str = "s", reason: str = "DECODE", at: int = NOW) -> pl.DataFrame:
    schema = {**REJECTED_COLUMNS, "frame": pl.UInt32()}
    row = {
        "site": site,
        "collect_time": at,
        "reason": reason,
        "field": "",
        "message": "why",
        "hit_id": "h",
        "batch_id": "b",
        "batch_index": 0,
        "hits": 2,
        "original": b"bytes",
        "key_id": "k",
    }
    return pl.DataFrame([row | {"frame": number} for number in range(rows)], schema=schema)


def shown(rows: pl.DataFrame) -> list[tuple[str, int, bytes]]:
    return list(rows.select("reason", "hits", "original").iter_rows())


def test_below_the_cap_nothing_changes() -> None:
    rows = refused(3)
    assert RefusalSample(12, 12).thinned(rows, NOW).equals(rows)


def test_beyond_the_cap_of_an_hour_refusals_are_added_up() -> None:
    sample = RefusalSample(12, 12)
    found = sample.thinned(refused(50), NOW)
    assert shown(found) == [("DECODE", 2, b"bytes")] * 3 + [("DECODE", 94, b"")]
    assert found.schema == refused(1).schema
    assert shown(sample.thinned(refused(2), NOW)) == [("DECODE", 4, b"")]
    assert shown(sample.thinned(refused(1), NOW + HOUR_MS)) == [("DECODE", 2, b"bytes")], "the next hour has room"


def test_a_day_keeps_no_more_than_its_cap_and_the_next_one_begins_anew() -> None:
    sample = RefusalSample(12, 12)
    kept = [sample.thinned(refused(10), NOW + hour * HOUR_MS).filter(pl.col("hits") == 2).height for hour in range(6)]
    assert kept == [3, 3, 3, 3, 0, 0]
    assert sample.thinned(refused(3), NOW + DAY_MS).height == 3


def test_sites_have_room_of_their_own_and_those_without_share_little() -> None:
    sample = RefusalSample(12, 4)
    rows = pl.concat([refused(5, "a"), refused(3, "b"), refused(5, "")])
    found = sample.thinned(rows, NOW)
    assert found.filter(pl.col("original") == b"bytes")["site"].to_list() == ["a"] * 3 + ["b"] * 3 + [""]
    assert found["hits"].sum() == rows["hits"].sum()


def test_sums_keep_reasons_and_cells_apart() -> None:
    rows = pl.concat([refused(2), refused(2, reason="QUOTA"), refused(2, at=NOW + CELL_MS)])
    found = RefusalSample(0, 0).thinned(rows, NOW)
    kept = found.filter(pl.col("original") == b"")
    assert kept["hits"].sum() + 2 * (found.height - kept.height) == 12
    assert found["hits"].sum() == 12
    assert kept.select("reason", pl.col("collect_time") // CELL_MS).n_unique() == kept.height


@pytest.mark.parametrize("most", [0, 1, 2, 4, 100])
def test_bytes_are_found_for_the_sampled_refusals_and_for_no_others(most: int) -> None:
    batches = [a_batch(a_hit(), key="nobody", batch_id=f"whole {number}") for number in range(3)]
    without_type = [hit_pb2.Hit(hit_id=name) for name in ("first", "second")]
    batches += [a_batch(without_type[0], a_hit(), without_type[1], batch_id=f"single {n}") for n in range(2)]
    sample, rooms = RefusalSample(4 * most, 4 * most), RefusalSample(4 * most, 4 * most)
    found = admitted(*batches, room_of=lambda site: rooms.room(site, NOW)).rejected
    every = admitted(*batches).rejected
    assert found.select(pl.exclude("original", "origin")).equals(every.select(pl.exclude("original", "origin")))
    assert sorted(found.group_by("site").agg((pl.col("original") != b"").sum())["original"]) == [
        min(most, 3),
        min(most, 4),
    ]
    assert sample.thinned(found, NOW).equals(RefusalSample(4 * most, 4 * most).thinned(every, NOW))


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_the_key_in_a_refused_hit_is_not_kept(cut: int) -> None:
    """A client may write its key into a hit. The last `cut` bytes of the key are beyond the kept bytes."""
    key = "hms_zW3qXv8bN1mKc6LpR0tY5uJdF7aGhE2sOiQwTnVx"
    hit = hit_pb2.Hit(hit_id="h", visitor_id="v" * (MAX_KEPT_BYTES - len(key) + cut - 6) + key)
    (kept,) = admitted(a_batch(hit, key=key), to={(key, ""): grants()[SERVER, ""]}).rejected["original"]
    assert (len(kept), kept[-1:]) == (MAX_KEPT_BYTES if cut else len(kept), b"*")
    assert key[:16].encode() not in kept


def test_a_batch_that_is_sent_again_takes_no_room() -> None:
    again = Refusal("UNKNOWN_KEY", "the directory is not available", retry=True)
    batches = [a_batch(a_hit(), key="later", batch_id="later"), a_batch(a_hit(), key="nobody", batch_id="final")]
    rows = admitted(*batches, to={**grants(), ("later", ""): again}, room_of=lambda site: 1).rejected
    assert [(batch_id, bool(original)) for batch_id, original in rows.select("batch_id", "original").iter_rows()] == [
        ("final", True)
    ]
