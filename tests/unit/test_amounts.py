"""Test sums of money beyond an int64: in additions, rows, encoded bytes and answers (rule M1)."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.adapters.shared.packed_sums import packed_sums, unpacked_sums
from hitmesh.adapters.shared.stream_rows import folded
from hitmesh.model.amounts import as_rows, sums, total
from hitmesh.model.errors import RefusedError, StoreCorrupt
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.money import INT64_MAX, INT64_MIN, MICROS
from hitmesh.model.rows.columns import pack_record, unpack_record
from hitmesh.model.rows.rollup_rows import AMOUNT_MEASURES, AMOUNT_SUM, RowSource
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.rows.stream_columns import PARTIAL_SUMS, SERIES_COLUMNS, UNKEYED_DIGESTS
from hitmesh.model.stored import opened
from processor.settle.drift import drift_of
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from processor.stream.live.epochs import EpochSums
from reporter.answer.formats import Format, to_csv, to_file
from reporter.answer.series import Series
from reporter.answer.sum_range import MAX_UNITS, refuse_beyond_messages
from tests.support.settled_rows import (
    DAY,
    MIDNIGHT,
    RowsStore,
    a_question,
    ask,
    frame,
    sketch_of,
    stream_frame,
    traffic,
)

MOST = MAX_ABS_MICROS
WIDE = [0, 1, -1, INT64_MAX, INT64_MIN, INT64_MAX + 1, INT64_MIN - 1, 2**64, -(2**64), 2**90, -(2**90) + 1]
amounts = st.sampled_from((MOST, -MOST, MOST - 1, 1, 0)) | st.integers(-MOST, MOST)


class TestSums:
    @given(st.lists(amounts, min_size=1, max_size=60))
    def test_sum_is_that_of_whole_numbers_however_it_is_folded_in_between(self, values: list[int]) -> None:
        rows = pl.DataFrame({"k": [n % 2 for n in range(len(values))], "gross_revenue": values})
        rows = rows.with_columns(pl.lit(1, pl.Int64).alias("hits"))
        once = as_rows(rows.group_by("k").agg(*sums(["hits", "gross_revenue"])))
        twice = as_rows(
            pl.concat([once, rows.select(once.columns)]).group_by("k").agg(*sums(["hits", "gross_revenue"]))
        )
        assert twice.schema["gross_revenue"] == pl.Int64
        assert total(twice["gross_revenue"]) == 2 * sum(values)
        assert twice["hits"].sum() == 2 * len(values)

    @pytest.mark.parametrize("value", [*WIDE[:8], 2**70, 3 - 2**70])
    def test_only_sums_beyond_int64_take_further_rows_which_have_no_other_values(self, value: int) -> None:
        row = {"page_path": "/a", "hits": 3, "gross_revenue": value, "tax": -value, "visitors": b"sketch"}
        found = as_rows(pl.DataFrame([row], schema_overrides={"gross_revenue": AMOUNT_SUM, "tax": AMOUNT_SUM}))
        assert (total(found["gross_revenue"]), total(found["tax"])) == (value, -value)
        assert (found["hits"].sum(), found["visitors"].drop_nulls().to_list()) == (3, [b"sketch"])
        assert set(found["page_path"]) == {"/a"}
        fits = INT64_MIN < value <= INT64_MAX
        assert (found.height == 1) == fits

    def test_rows_of_the_stream_fold_again_and_again(self) -> None:
        rows = stream_frame(
            RowSource.TRAFFIC, [traffic(generation=0, hits=1, gross_revenue=MOST, visitors=sketch_of(1))] * 30
        )
        for whole in (False, True, True):
            net = folded(
                pl.concat([rows[:13], folded(rows[13:], RowSource.TRAFFIC, whole=False)]),
                RowSource.TRAFFIC,
                whole=whole,
            )
            assert (total(net["gross_revenue"]), net["hits"].sum()) == (30 * MOST, 30)
            assert net["visitors"].drop_nulls().len() == 1
            back = net.with_columns(-pl.col("hits", "gross_revenue"))
            assert folded(pl.concat([net, back]), RowSource.TRAFFIC, whole=True).is_empty()

    def test_digest_is_the_same_however_many_rows_a_key_has(self) -> None:
        one_by_one = frame(RowSource.TRAFFIC, [traffic(hits=1, gross_revenue=MOST)] * 25)
        by_key = [name for name in one_by_one.columns if name not in ("hits", "gross_revenue")]
        together = as_rows(one_by_one.group_by(by_key).agg(*sums(["hits", "gross_revenue"])))
        digests = [int(RowDigest().of(rows, RowSource.TRAFFIC).sum()) for rows in (one_by_one, together)]
        assert together.height < 10
        assert digests[0] == digests[1]


STORED = {name: SERIES_COLUMNS[name] for name in (*PARTIAL_SUMS, UNKEYED_DIGESTS)}


class TestStored:
    @given(st.lists(st.tuples(st.sampled_from(WIDE), st.sampled_from(WIDE), st.sampled_from([0, 1])), max_size=6))
    def test_sums_come_back_from_their_blobs(self, values: list[tuple[int, int, int]]) -> None:
        rows = [
            {name: n for n, name in enumerate(PARTIAL_SUMS)} | {"tax": a, "refunds": b, UNKEYED_DIGESTS: unkeyed}
            for a, b, unkeyed in values
        ]
        sent = pl.DataFrame(rows, schema=STORED)
        assert unpacked_sums(packed_sums(sent)).equals(sent)

    def test_blob_of_sums_that_fit_is_as_it_always_was_but_for_its_version(self) -> None:
        row = {name: -n for n, name in enumerate(PARTIAL_SUMS)}
        as_before = np.array(list(row.values()), "<i8").tobytes()
        keyed, unkeyed = ({**row, UNKEYED_DIGESTS: number} for number in (0, 1))
        assert packed_sums(pl.DataFrame([keyed, unkeyed], schema=STORED)) == [b"\x03" + as_before, b"\x01" + as_before]

    def test_blob_of_another_version_or_size_is_corrupt(self) -> None:
        for blob in (b"\x02" + bytes(8 * len(PARTIAL_SUMS)), b"\x05" + bytes(8 * len(PARTIAL_SUMS)), b""):
            with pytest.raises(StoreCorrupt):
                unpacked_sums([blob])

    def test_series_are_stored_as_int64_where_they_fit_and_come_back_wide(self) -> None:
        for value, stored in ((7, pl.Int64()), (2**70, AMOUNT_SUM)):
            sent = settled_series(_rows([value // 2, value - value // 2] if value == 7 else [2**62] * 256))
            packed = pack_record(sent)
            assert pl.read_ipc_stream(BytesIO(opened(packed, "series", "no cure"))).schema["gross_revenue"] == stored
            assert unpack_record(packed, SERIES_COLUMNS).equals(sent)
            assert sent["gross_revenue"].to_list() == [value]

    def test_epochs_that_were_stored_as_int64_go_on(self) -> None:
        cells = settled_series(_rows([MOST])).with_columns(pl.lit(value=True).alias("changed"))
        old = EpochSums(0, cells.cast(dict.fromkeys(AMOUNT_MEASURES, pl.Int64)))
        old.touch(cells.select("site", "day", "cell", "excluded", "currency", "moved_visitors"))
        assert total(old.cells["gross_revenue"]) == MOST


def _rows(values: list[int]) -> SettledRows:
    rows = [traffic(orders=1, gross_revenue=value, currency="USD") for value in values]
    return SettledRows.in_memory(frame(RowSource.TRAFFIC, rows), frame(RowSource.VISITS, []))


def test_drift_of_a_day_beyond_an_int64_is_exact() -> None:
    most, fewer = _rows([MOST] * 30), _rows([MOST] * 9)
    drift = drift_of(most, settled_series(fewer), RowDigest())
    assert drift is not None
    assert drift.measures == {"orders": 21, "gross_revenue": 21 * MOST}
    same = drift_of(most, settled_series(most), RowDigest())
    assert same is not None
    assert (same.rows_differ, same.measures) == (False, {})


ALL = "gross_revenue,refunds,net_revenue,average_order_value"


def _answered(values: list[int], metrics: str = ALL, refunds: int = 0) -> Series:
    store = RowsStore(
        [traffic(orders=1, gross_revenue=value, refunds=refunds, currency="USD", page_path="/a") for value in values],
        [],
    )
    return ask(store, a_question(metrics))


class TestAnswered:
    def test_sum_of_ten_thousand_orders_of_a_billion_is_exact(self) -> None:
        rows = _answered([10**15] * 10_000)
        assert to_csv(rows, "VND") == f"{ALL}\r\n10000000000000,0,10000000000000,1000000000\r\n".encode()
        [row] = json.loads(to_file(Format.JSON, rows, None, {}, "VND"))["rows"]
        assert row == dict(zip(ALL.split(","), (10**13, 0, 10**13, 10**9), strict=True))

    def test_sum_that_overflows_int64_only_on_the_way_is_exact(self) -> None:
        values = [MOST] * 20 + [-MOST] * 20 + [7]
        Random(1).shuffle(values)
        assert to_csv(_answered(values, "gross_revenue"), "VND") == b"gross_revenue\r\n0\r\n"
        assert (
            to_csv(_answered([MOST] * 20, "net_revenue", refunds=MOST - 5_000_000), "USD")
            == b"net_revenue\r\n100.00\r\n"
        )

    def test_order_is_that_of_the_sums(self) -> None:
        rows = [
            traffic(orders=1, gross_revenue=value, currency="USD", page_path=path)
            for path, value, count in (("/a", MOST, 30), ("/b", MOST, 19), ("/c", 1, 1), ("/d", -MOST, 19))
            for _ in range(count)
        ]
        question = a_question("gross_revenue", dimensions="page_path")
        found = ask(RowsStore(rows, []), question)
        by_page = dict(zip(found.dimensions[0], found.columns[0].numerators.tolist(), strict=True))
        assert by_page == {"/a": 30 * MOST, "/b": 19 * MOST, "/c": 1, "/d": -19 * MOST}

    def test_numerator_that_a_message_cannot_hold_is_refused_with_the_remedy(self) -> None:
        refuse_beyond_messages(_answered([MOST] * 9))
        refuse_beyond_messages(_answered([MOST] * 30, "gross_revenue,net_revenue"))
        with pytest.raises(RefusedError, match=r"average_order_value adds up to 10,000,000,.*as CSV") as caught:
            refuse_beyond_messages(_answered([MOST] * 10))
        assert (caught.value.reason, caught.value.field) == ("SUM_OUT_OF_RANGE", "metrics")

    @pytest.mark.parametrize("form", list(Format))
    def test_money_beyond_the_units_of_a_message_is_in_no_file_either(self, form: Format) -> None:
        limit = (MAX_UNITS + 1) * MICROS - 1
        assert to_file(form, _answered([2**62], "net_revenue"), None, {}, "VND")
        huge = _with_numerators(limit + 1)
        with pytest.raises(RefusedError, match="at most 9,223,372,036,854,775,807,999,999 micros"):
            to_file(form, huge, None, {}, "VND")
        with pytest.raises(RefusedError, match="net_revenue"):
            refuse_beyond_messages(huge)
        refuse_beyond_messages(_with_numerators(limit))

    def test_number_that_json_cannot_hold_is_refused_and_csv_has_it(self) -> None:
        rows = _with_numerators((2**53 + 1) * MICROS)
        assert to_csv(rows, "VND") == f"net_revenue\r\n{2**53 + 1}\r\n".encode()
        assert json.loads(to_file(Format.NDJSON, rows, None, {}, "VND")) == {"net_revenue": 2**53 + 1}
        assert to_csv(rows, "USD") == f"net_revenue\r\n{2**53 + 1}.00\r\n".encode()
        with pytest.raises(RefusedError, match="export the report as CSV"):
            to_file(Format.NDJSON, rows, None, {}, "USD")


def _with_numerators(value: int) -> Series:
    """Return an answer whose only value is the given sum."""
    store = RowsStore([traffic(MIDNIGHT + DAY, orders=1, gross_revenue=1, currency="USD")], [])
    rows = ask(store, a_question("net_revenue"))
    return replace(rows, columns=(replace(rows.columns[0], numerators=np.array([value], np.object_)),))
