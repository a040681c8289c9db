"""Test how rows and progress marks are sent to Druid, and how Druid's answers are read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hitmesh.adapters.druid.answer import as_promised, frame_of
from hitmesh.adapters.druid.metrics import matching
from hitmesh.adapters.druid.question import MAX_ROWS
from hitmesh.adapters.druid.scan import answered, scan_query
from hitmesh.adapters.shared.answers import answer
from hitmesh.adapters.shared.druid_columns import COUNTS, DIMENSIONS, HIGH, MEASURES, SMALL, SORTED
from hitmesh.adapters.shared.druid_rows import MAX_ROWS as ROWS_A_MESSAGE
from hitmesh.adapters.shared.druid_rows import encoded, encoded_mark
from hitmesh.model.errors import RefusedError
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, STREAM_COLUMNS
from hitmesh.model.sites import SiteDay
from hitmesh.model.sketches.unions import cell_sketches
from tests.support.unions import estimate, union

DAY, DAY_MS, CELL_MS = 20_000, 86_400_000, 900_000
START = DAY * DAY_MS
# The encoded form in which Druid returns an empty compact sketch.
EMPTY = base64.b64encode(bytes([1, 3, 3, 0, 0, 0x1E, 0, 0])).decode()


def a_sketch(*visitors: int) -> bytes:
    return bytes(cell_sketches(np.array(visitors, np.uint64), np.zeros(len(visitors), np.int64), 1)[0].as_py())


def a_row(cell: int = 0, **values: Any) -> dict[str, Any]:
    row = {"site": "shop", "day": DAY, "generation": STREAM_GENERATION, "excluded": False, "cell": START}
    return row | {"cell": START + cell * CELL_MS} | values


def frame(*rows: Mapping[str, Any], source: RowSource = RowSource.TRAFFIC, settled: bool = False) -> pl.DataFrame:
    schema = (ROW_COLUMNS if settled else STREAM_COLUMNS)[source]
    whole = [{name: row.get(name, 0 if dtype == pl.Int64 else None) for name, dtype in schema.items()} for row in rows]
    return pl.DataFrame(whole, schema=schema)


def lines(messages: Sequence[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for message in messages for line in message.splitlines()]


class TestEncoded:
    def test_empty_dimensions_and_measures_are_left_out(self) -> None:
        sent = lines(encoded(frame(a_row(page_path="/a", hits=2, excluded=True)), RowSource.TRAFFIC))
        assert sent == [
            {
                "t": START,
                "site": "shop",
                "generation": 0,
                "excluded": 1,
                "page_path": "/a",
                "hits": 2,
                "presence": 2,
                "sent": 1,
            }
        ]

    def test_null_and_the_empty_text_are_two_values(self) -> None:
        values = ["", None, 'a"b\\', "line\nbreak\u2028\x00"]
        sent = lines(encoded(frame(*[a_row(page_path=row, hits=1) for row in values]), RowSource.TRAFFIC))
        assert [row["page_path"] for row in sent] == [None, "", 'a"b\\', "line\nbreak\u2028\x00"]

    def test_sketch_travels_as_base64(self) -> None:
        sent = lines(encoded(frame(a_row(hits=1, visitors=a_sketch(1, 2)), a_row(hits=1)), RowSource.TRAFFIC))
        assert base64.b64decode(sent[0]["visitors"]) == a_sketch(1, 2)
        assert sent[1]["visitors"] is None

    def test_rows_of_a_key_that_come_to_nothing_have_no_presence_together(self) -> None:
        rows = frame(a_row(hits=1, pageviews=1), a_row(hits=-1, pageviews=-1, moved_visitors=1))
        assert sum(row["presence"] for row in lines(encoded(rows, RowSource.TRAFFIC))) == 0

    def test_settled_row_of_zeros_is_there(self) -> None:
        rows = frame(a_row(generation=4, page_path="/a"), settled=True)
        assert [row["presence"] for row in lines(encoded(rows, RowSource.TRAFFIC))] == [1]

    def test_rows_are_sorted_as_segments_are(self) -> None:
        places = [(cell, site, page) for cell in (1, 0) for site in ("b", "a") for page in ("/b", None, "/", "/a")]
        rows = [a_row(cell, site=site, page_path=page, hits=1) for cell, site, page in places]
        sent = [(row["t"], row["site"], row["page_path"]) for row in lines(encoded(frame(*rows), RowSource.TRAFFIC))]
        wanted = sorted(places, key=lambda place: (*place[:2], place[2] is not None, place[2] or ""))
        assert sent == [(START + cell * CELL_MS, site, page) for cell, site, page in wanted]

    def test_rows_with_rare_columns_are_in_messages_of_their_own(self) -> None:
        few = [a_row(page_path="/0", orders=1), a_row(page_path="/9", product="x")]
        many = [a_row(page_path=f"/{number}", hits=1) for number in range(10)]
        messages = [lines([content]) for content in encoded(frame(*few, *many), RowSource.TRAFFIC)]
        assert [[row["page_path"] for row in message] for message in messages] == [
            [f"/{number}" for number in range(10)],
            ["/0", "/9"],
        ]
        assert [{"orders", "product"} & set(message[0]) for message in messages] == [set(), {"orders", "product"}]

    def test_messages_are_bounded_and_rows_with_equal_keys_keep_their_order(self) -> None:
        count = 2 * ROWS_A_MESSAGE + 7
        messages = encoded(frame(*[a_row(hits=n) for n in range(1, count + 1)]), RowSource.TRAFFIC)
        assert [len(message.splitlines()) for message in messages] == [ROWS_A_MESSAGE, ROWS_A_MESSAGE, 7]
        assert [row["hits"] for row in lines(messages)] == list(range(1, count + 1))

    def test_large_sketches_make_more_messages(self) -> None:
        large = a_sketch(*range(7_000))
        messages = encoded(frame(*[a_row(hits=n, visitors=large) for n in range(1, 201)]), RowSource.TRAFFIC)
        assert max(map(len, messages)) <= 4 << 20
        assert [row["hits"] for row in lines(messages)] == list(range(1, 201))

    def test_row_of_another_day_than_its_cell_is_refused(self) -> None:
        with pytest.raises(ValueError, match="outside the row's UTC day"):
            encoded(frame(a_row(cell=96, hits=1)), RowSource.TRAFFIC)

    def test_no_rows_are_no_message(self) -> None:
        assert encoded(frame(source=RowSource.VISITS), RowSource.VISITS) == []

    def test_mark_stands_at_the_day_of_its_log_time(self) -> None:
        mark = encoded_mark(PartitionId("hits.x", 3), PartitionProgress(17, START + 5))
        assert orjson.loads(mark) == {"t": START, "mark": "hits.x/3", "mark_offset": 17, "mark_log_time": START + 5}

    @pytest.mark.parametrize("source", list(RowSource))
    def test_every_column_of_a_row_is_sent_or_known_otherwise(self, source: RowSource) -> None:
        known = {"site", "day", "generation", "cell", "excluded", *DIMENSIONS[source], *MEASURES[source], "visitors"}
        assert set(STREAM_COLUMNS[source]) <= known
        assert set(COUNTS[source]) <= set(MEASURES[source])

    @pytest.mark.parametrize("source", list(RowSource))
    def test_rows_are_sorted_by_every_dimension(self, source: RowSource) -> None:
        assert sorted(SORTED[source]) == sorted(DIMENSIONS[source])


def a_question(**values: Any) -> MetricQuery:
    given: dict[str, Any] = {
        "source": RowSource.TRAFFIC,
        "generations": {SiteDay("shop", DAY): STREAM_GENERATION},
        "start": START,
        "end": START + DAY_MS,
        "bucket_starts": (START,),
        "measures": ("hits",),
    }
    return MetricQuery(**{**given, **values})


class TestAmounts:
    """Druid stores an amount in two columns. When Druid adds up amounts, no column overflows an int64."""

    AMOUNTS = (0, 1, -1, SMALL - 1, SMALL, -SMALL, -SMALL - 1, 10**18, -(10**18), 2**62, -(2**63), 2**63 - 1)

    def sent(self, *values: int) -> list[dict[str, Any]]:
        rows = [a_row(cell=n, hits=1, gross_revenue=value) for n, value in enumerate(values)]
        return sorted(lines(encoded(frame(*rows), RowSource.TRAFFIC)), key=lambda row: int(row["t"]))

    def test_small_amounts_are_sent_as_they_are_and_large_ones_in_halves(self) -> None:
        for value, row in zip(self.AMOUNTS, self.sent(*self.AMOUNTS), strict=True):
            low, high = row.get("gross_revenue", 0), row.get("gross_revenue_high", 0)
            assert low + high * 2**32 == value
            assert abs(low) < SMALL
            assert (high == 0) == (abs(value) < SMALL)

    def test_ordinary_messages_have_no_second_column(self) -> None:
        assert "gross_revenue_high" not in self.sent(59_990_000)[0]

    @pytest.mark.parametrize("values", [AMOUNTS, [10**18] * 40, [-(10**18)] * 40, [2**62 - 1, -(2**62)] * 9])
    def test_sums_are_exact_however_druid_s_own_wrap(self, values: Sequence[int]) -> None:
        """Older rows store an amount in a single column. The sum over many older rows is exact.

        Druid's int64 sum of a single column may overflow. A sum of doubles shows how often the int64 sum overflowed.
        """
        names = ("gross_revenue", HIGH["gross_revenue"])
        for one_column in (False, True):
            sent = [{names[0]: value} for value in values] if one_column else self.sent(*values)
            low, high = (wrapped(sum(row.get(name, 0) for row in sent)) for name in names)
            about = sum(float(row.get(names[0], 0)) for row in sent)
            question = a_question(measures=("gross_revenue", "hits"))
            answer = [0, low, 1, high or None, about, 1]
            found = as_promised(frame_of([answer], question), question)
            assert found["gross_revenue"].to_list() == [sum(values)]

    def test_scanned_rows_are_whole_again(self) -> None:
        question = a_question(measures=("gross_revenue", "hits"))
        rows = frame(*[a_row(cell=n % 7, page_path=str(n), hits=1, gross_revenue=10**18 - n) for n in range(30)])
        found = answered(as_druid_gives(rows, question), question)
        assert found.row(0) == (0, sum(10**18 - n for n in range(30)), 30)


def wrapped(value: int) -> int:
    """Return the value that a Java long has after an overflow."""
    return (value + 2**63) % 2**64 - 2**63


class TestFrameOf:
    def test_columns_are_as_promised_even_without_rows(self) -> None:
        question = a_question(dimensions=("channel",), sketches=("visitors",))
        promised = {"bucket": pl.Int32(), "channel": pl.String(), "hits": pl.Int64(), "visitors": pl.Binary()}
        assert dict(as_promised(frame_of((), question), question).schema) == promised
        rows = [[0, None, 5, base64.b64encode(a_sketch(1)).decode(), 2]]
        found = as_promised(frame_of(rows, question), question)
        assert dict(found.schema) == promised
        assert found.rows() == [(0, None, 5, a_sketch(1))]

    def test_groups_that_come_to_nothing_are_not_there(self) -> None:
        rows = [[0, "a", 0, 0], [0, "b", 0, 1], [1, "c", None, 1]]
        assert frame_of(rows, a_question(dimensions=("channel",))).rows() == [(0, "b", 0), (1, "c", 0)]

    @pytest.mark.parametrize("nothing", [None, EMPTY])
    def test_group_without_sketches_has_none(self, nothing: str | None) -> None:
        found = frame_of([[0, 1, nothing, 1]], a_question(sketches=("visitors",)))
        assert found["visitors"].to_list() == [None]

    def test_too_many_groups_are_refused_with_the_remedy(self) -> None:
        with pytest.raises(RefusedError, match="fewer dimensions"):
            frame_of([[0, 1, 1]] * (MAX_ROWS + 1), a_question())


class TestScanned:
    """Rows that come back from Druid give the same answers as the rows that were sent."""

    def test_rows_that_come_to_nothing_go_with_their_sketches(self) -> None:
        rows = [
            a_row(page_path="/a", hits=1, visitors=a_sketch(1)),
            a_row(page_path="/a", hits=-1, moved_visitors=1),
            a_row(page_path="/b", hits=2, visitors=a_sketch(2)),
            a_row(cell=1, page_path="/b", hits=1, duplicate_hits=1, visitors=a_sketch(3)),
            a_row(cell=1, page_path="/b", hits=-1, moved_visitors=1),
        ]
        question = a_question(measures=("hits", MOVED_VISITORS), sketches=("visitors",))
        found = answered(as_druid_gives(frame(*rows), question), question)
        assert found.select("hits", MOVED_VISITORS).rows() == [(2, 1)]
        assert estimate(union(found["visitors"].to_list())) == 2.0

    def test_answer_is_that_of_the_rows(self) -> None:
        rows = frame(
            *[
                a_row(cell=n % 5, channel=channel, page_path=f"/{n % 3}", hits=n + 1, visitors=a_sketch(n % 4))
                for n in range(20)
                for channel in ("ads", "", None)
            ]
        )
        starts = tuple(START + n * CELL_MS for n in range(3))
        question = a_question(dimensions=("channel",), sketches=("visitors",), bucket_starts=starts)
        found = answered(as_druid_gives(rows, question), question)
        by = ["bucket", "channel"]
        assert_frame_equal(with_estimates(found).sort(by), with_estimates(answer(rows, question)).sort(by))

    def test_no_rows_are_the_promised_columns(self) -> None:
        question = a_question(dimensions=("channel",), sketches=("visitors",))
        found = answered([], question)
        assert found.columns == ["bucket", "channel", "hits", "visitors"]
        assert found.height == 0

    def test_too_many_rows_are_refused(self) -> None:
        with pytest.raises(RefusedError, match="groups"):
            answered([{"events": [[]] * (MAX_ROWS + 1)}], a_question())


def as_druid_gives(rows: pl.DataFrame, question: MetricQuery) -> list[dict[str, Any]]:
    """Return sent rows in the form in which a scan returns them. A missing sketch becomes an empty sketch."""
    columns = scan_query(question, "mesh_traffic", lambda _: []).json()["columns"]
    sent = [row | {"__time": row["t"]} for row in lines(encoded(rows, question.source))]
    events = [[row.get(name) or (EMPTY if name == "visitors" else row.get(name)) for name in columns] for row in sent]
    return [{"events": events[:7]}, {"events": events[7:]}]


def with_estimates(found: pl.DataFrame) -> pl.DataFrame:
    estimates = [None if sketch is None else estimate(union([sketch])) for sketch in found["visitors"]]
    return found.with_columns(visitors=pl.Series(estimates, dtype=pl.Float64))


class TestMatching:
    def test_matches_are_those_of_re2_and_null_has_its_name(self) -> None:
        values = [None, "", "größe", "shop", "line\nbreak"]
        found = matching("channel", [r"^\w+$", "not set", ""], values)
        assert found == {r"^\w+$": ["shop"], "not set": ["(not set)"], "": ["(not set)", *values[1:]]}
        assert matching("source", ["direct"], values) == {"direct": ["(direct)"]}

    def test_pattern_of_another_language_is_refused(self) -> None:
        with pytest.raises(RefusedError, match="RE2"):
            matching("channel", [r"(?=x)"], ["x"])

    def test_too_many_values_and_too_many_matches_are_refused(self) -> None:
        with pytest.raises(RefusedError, match="regexp 'x' matches more than 3 values of page_path"):
            matching("page_path", ["x"], ["x"] * 4, max_matches=3)
        with pytest.raises(RefusedError, match="tried on more than 3 values"):
            matching("page_path", ["x"], ["y"] * 4, max_values=3)
