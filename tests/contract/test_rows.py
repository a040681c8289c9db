"""Contract tests for the ports RollupSink and MetricStore. Answers contain the rows that the sink has written.

A store may take seconds until its answers contain written rows. The function `write` blocks until answers contain the
rows.
"""

from __future__ import annotations

from typing import Final

import polars as pl
import pytest

from control.history.stored_sums import metric_sums
from hitmesh.adapters.factory import Stores
from hitmesh.model.checkpoints import unwatched
from hitmesh.model.errors import RefusedError
from hitmesh.model.filters import And, Filter, Not, Operator, Or
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from tests.support.opened import Opener
from tests.support.stored_rows import (
    CELL_MS,
    DAY,
    DAY_MS,
    OTHER,
    QUIRKY,
    SHOP,
    START,
    a_row,
    a_sketch,
    ask,
    await_ingested,
    frame,
    hits_by,
    is_,
    write,
    write_both,
)
from tests.support.unions import estimate, union

CONDITIONS: Final[list[tuple[Filter, int]]] = [
    (is_("channel", Operator.EQ, "ads"), 1),
    (is_("channel", Operator.EQ, "(not set)"), 4),
    (is_("source", Operator.EQ, "(direct)"), 3),
    (is_("source", Operator.NE, "(direct)"), 4),
    (is_("channel", Operator.NE, "ads"), 6),
    (is_("channel", Operator.NE, "(not set)"), 3),
    (is_("channel", Operator.IN, "ads", "(not set)"), 5),
    (is_("channel", Operator.RE2, "^(ads|Mail)$"), 1),
    (is_("channel", Operator.RE2, "ai"), 2),
    (is_("channel", Operator.RE2, "(?i)MAIL$"), 2),
    (is_("channel", Operator.RE2, r"not set\)"), 4),
    (is_("page_path", Operator.RE2, r"^/\w+$"), 1),
    (And((is_("channel", Operator.NE, "ads"), is_("source", Operator.EQ, "(direct)"))), 2),
    (Or((is_("channel", Operator.EQ, "ads"), is_("channel", Operator.EQ, "mail"))), 3),
    (Not(is_("channel", Operator.EQ, "ads")), 6),
    (Not(And((is_("channel", Operator.EQ, "ads"), is_("source", Operator.EQ, "x")))), 7),
    (And(()), 7),
    (Or(()), 0),
]
"""Filters, each with the number of hits that the filter selects. The hits are in three rows of 1, 2 and 4 hits."""


class TestRollupSinkAndMetricStore:
    def test_answer_has_the_promised_columns_even_without_rows(self, stores: Stores) -> None:
        promised = {"bucket": pl.Int32(), "channel": pl.String(), "hits": pl.Int64(), "visitors": pl.Binary()}
        empty = ask(stores, "channel", sketches=("visitors",))
        assert dict(empty.schema) == promised
        assert len(empty) == 0
        write(stores, a_row(hits=1))
        assert dict(ask(stores, "channel", sketches=("visitors",)).schema) == promised

    def test_sums_are_by_group_and_null_is_a_group(self, stores: Stores) -> None:
        write(stores, *[a_row(channel=channel, hits=n) for channel, n in (("ads", 1), ("ads", 2), (None, 4), ("x", 8))])
        assert hits_by(ask(stores, "channel"), "channel") == {"ads": 3, None: 4, "x": 8}
        assert ask(stores)["hits"].to_list() == [15]

    def test_sums_beyond_32_bits_are_exact(self, stores: Stores) -> None:
        write(stores, a_row(gross_revenue=10**15), a_row(gross_revenue=10**15 + 1), a_row(gross_revenue=-3))
        assert ask(stores, measures=("gross_revenue", "hits")).row(0) == (0, 2 * 10**15 - 2, 0)

    def test_sums_beyond_64_bits_are_exact(self, stores: Stores) -> None:
        write(stores, *[a_row(page_path=f"/{n}", gross_revenue=10**18, tax=-(10**18) - n) for n in range(30)])
        by_page = ask(stores, "page_path", measures=("gross_revenue",))
        assert set(by_page["gross_revenue"]) == {10**18}
        assert ask(stores, measures=("gross_revenue", "tax")).row(0) == (0, 30 * 10**18, -30 * 10**18 - 435)

    def test_any_value_of_a_dimension_comes_back_and_can_be_filtered(self, opener: Opener) -> None:
        write(opener(), *[a_row(page_path=path, hits=1) for path in [*QUIRKY, None]])
        stores = opener()
        assert set(ask(stores, "page_path")["page_path"]) == {*QUIRKY, None}
        for value in QUIRKY:
            for operator in (Operator.EQ, Operator.IN):
                found = ask(stores, "page_path", filter=is_("page_path", operator, value))
                assert found["page_path"].to_list() == [value]
            others = ask(stores, "page_path", filter=is_("page_path", Operator.NE, value))
            assert set(others["page_path"]) == {*QUIRKY, None} - {value}

    def test_only_the_requested_generation_is_read(self, stores: Stores) -> None:
        write(stores, a_row(hits=1), a_row(hits=10, generation=2), a_row(cell=96, day=DAY + 1, hits=100))
        write(stores, a_row(hits=1_000, generation=3), a_row(hits=10_000, site=OTHER))
        assert ask(stores)["hits"].to_list() == [1]
        assert ask(stores, generations={SiteDay(SHOP, DAY): 2})["hits"].to_list() == [10]
        assert ask(stores, generations={SiteDay(SHOP, DAY): 3})["hits"].to_list() == [1_000]
        assert len(ask(stores, generations={SiteDay(SHOP, DAY): 4})) == 0
        assert len(ask(stores, generations={})) == 0

    def test_days_of_one_write_are_read_with_their_own_generations(self, stores: Stores) -> None:
        days = [a_row(cell=96 * n, day=DAY + n, generation=g, hits=10**n) for n in range(3) for g in (1, 2)]
        write(stores, *[row | {"hits": row["hits"] * row["generation"]} for row in days])  # type: ignore[operator]  # row values are objects
        generations = {SiteDay(SHOP, DAY): 1, SiteDay(SHOP, DAY + 1): 2, SiteDay(SHOP, DAY + 2): 1}
        assert ask(stores, generations=generations, end=START + 3 * DAY_MS)["hits"].to_list() == [1 + 20 + 100]

    def test_several_sites_are_answered_together_and_apart(self, stores: Stores) -> None:
        write(stores, a_row(hits=1), a_row(hits=2, site=OTHER))
        both = {SiteDay(SHOP, DAY): 1, SiteDay(OTHER, DAY): 1}
        assert ask(stores, generations=both)["hits"].to_list() == [3]
        assert hits_by(ask(stores, "site", generations=both), "site") == {SHOP: 1, OTHER: 2}

    def test_fresh_question_by_site_and_day_sees_what_was_removed(self, stores: Stores) -> None:
        next_day = a_row(cell=96, day=DAY + 1, hits=4, gross_revenue=10**18)
        write(stores, a_row(hits=1), a_row(hits=2, excluded=True), next_day, a_row(hits=8, site=OTHER))
        generations = {SiteDay(SHOP, DAY): 1, SiteDay(SHOP, DAY + 1): 1, SiteDay(OTHER, DAY): 1}
        site_days = sorted(generations)

        def answered() -> dict[SiteDay, tuple[int, int]]:
            found = metric_sums(stores.metrics, generations, unwatched)
            sums = {site_day: found[site_day] for site_day in site_days}
            return {of: (each["hits"], each["gross_revenue"]) for of, each in sums.items() if not isinstance(each, str)}

        assert list(answered().values()) == [(8, 0), (3, 0), (4, 10**18)]
        stores.sink.drop([(SiteDay(SHOP, DAY), 1)])
        assert list(answered().values()) == [(8, 0), (0, 0), (4, 10**18)]

    def test_cells_fall_into_the_bucket_that_holds_them(self, stores: Stores) -> None:
        write(stores, *[a_row(cell=cell, hits=10**cell) for cell in range(6)])
        starts = tuple(START + cell * CELL_MS for cell in (1, 2, 4))
        answer = ask(stores, buckets=starts, end=START + 5 * CELL_MS).sort("bucket")
        assert answer.rows() == [(0, 10), (1, 1_100), (2, 10_000)]

    def test_bucket_without_rows_is_absent(self, stores: Stores) -> None:
        write(stores, a_row(cell=0, hits=0), a_row(cell=8, hits=1))
        starts = tuple(START + cell * CELL_MS for cell in (0, 4, 8))
        assert ask(stores, buckets=starts).sort("bucket").rows() == [(0, 0), (2, 1)]

    def test_excluded_rows_count_only_on_request(self, stores: Stores) -> None:
        write(stores, a_row(hits=1), a_row(hits=10, excluded=True))
        assert ask(stores)["hits"].to_list() == [1]
        assert ask(stores, include_excluded=True)["hits"].to_list() == [11]

    def test_filters_compare_values_as_text(self, stores: Stores) -> None:
        write(
            stores,
            a_row(channel="ads", page_path="/shop", hits=1),
            a_row(channel="mail", page_path="/größe", hits=2),
            a_row(channel=None, source="x", hits=4),
        )
        answers = [(condition, ask(stores, filter=condition)["hits"].sum()) for condition, _ in CONDITIONS]
        assert answers == CONDITIONS

    def test_pattern_that_is_not_re2_is_refused(self, stores: Stores) -> None:
        write(stores, a_row(channel="ads"))
        with pytest.raises(RefusedError, match="RE2"):
            ask(stores, filter=is_("channel", Operator.RE2, "(?=x)"))

    def test_unknown_column_is_refused(self, stores: Stores) -> None:
        with pytest.raises(RefusedError, match="exit_page"):
            ask(stores, "exit_page")

    def test_sketches_are_united_by_group(self, stores: Stores) -> None:
        write(
            stores,
            a_row(channel="ads", visitors=a_sketch(1, 2, 3)),
            a_row(channel="ads", visitors=a_sketch(3, 4)),
            a_row(channel="ads", visitors=None),
            a_row(channel="mail", visitors=a_sketch(7)),
            a_row(channel=None, visitors=None),
        )
        answer = ask(stores, "channel", sketches=("visitors",))
        found = {
            channel: None if sketch is None else estimate(union([sketch]))
            for channel, sketch in zip(answer["channel"], answer["visitors"], strict=True)
        }
        assert found == {"ads": 4.0, "mail": 1.0, None: None}
        assert estimate(union(ask(stores, sketches=("visitors",))["visitors"].to_list())) == 5.0

    def test_visits_and_their_columns_are_a_source_of_their_own(self, stores: Stores) -> None:
        write_both(
            stores,
            frame(RowSource.TRAFFIC, a_row(page_path="/a", hits=5)),
            frame(RowSource.VISITS, a_row(landing_page="/in", exit_page="/out", visits=2, hostname="h")),
        )
        answer = ask(
            stores,
            "page_path",
            source=RowSource.VISITS,
            measures=("visits",),
            columns={"page_path": "landing_page"},
            filter=is_("page_path", Operator.EQ, "/in"),
        )
        assert answer.rows() == [(0, "/in", 2)]

    def test_rows_that_are_ingested_are_so_for_everyone(self, opener: Opener) -> None:
        write(opener(), a_row(hits=1))
        assert opener().sink.ingested(SiteDay(SHOP, DAY), 1)
        assert ask(opener())["hits"].to_list() == [1]

    def test_writing_a_generation_twice_is_refused(self, stores: Stores) -> None:
        write(stores, a_row(hits=1))
        with pytest.raises(ValueError, match="written"):
            write(stores, a_row(hits=1))
        assert ask(stores)["hits"].to_list() == [1]

    def test_dropped_generations_are_gone_and_the_others_stay(self, stores: Stores) -> None:
        write(stores, a_row(hits=1), a_row(hits=10, generation=2), a_row(hits=100, generation=3, site=OTHER))
        write(stores, a_row(hits=1_000, generation=3))
        for _ in range(2):
            stores.sink.drop([(SiteDay(SHOP, DAY), 1), (SiteDay(SHOP, DAY), 3), (SiteDay(SHOP, 5), 5)])
        assert len(ask(stores)) == 0
        assert len(ask(stores, generations={SiteDay(SHOP, DAY): 3})) == 0
        assert ask(stores, generations={SiteDay(SHOP, DAY): 2})["hits"].to_list() == [10]
        assert ask(stores, generations={SiteDay(OTHER, DAY): 3})["hits"].to_list() == [100]

    def test_many_small_writes_answer_as_one_large(self, opener: Opener) -> None:
        stores = opener()
        rows = [
            a_row(cell=96 * n, day=DAY + n, page_path=f"/{n % 3}", hits=n, visitors=a_sketch(n % 7)) for n in range(40)
        ]
        for row in rows:
            stores.sink.write(frame(RowSource.TRAFFIC, row), frame(RowSource.VISITS))
        await_ingested(stores, frame(RowSource.TRAFFIC, *rows))
        generations = {SiteDay(SHOP, DAY + n): 1 for n in range(40)}
        starts = tuple(START + n * DAY_MS for n in range(40))
        for reader in (stores, opener()):
            answer = ask(reader, generations=generations, buckets=starts, end=START + 40 * DAY_MS).sort("bucket")
            assert answer["hits"].to_list() == list(range(40))
            total = ask(reader, generations=generations, end=START + 40 * DAY_MS, sketches=("visitors",))
            assert estimate(union(total["visitors"].to_list())) == 7.0

    def test_portions_of_a_generation_answer_as_one_write(self, opener: Opener) -> None:
        stores = opener()
        portions = [
            frame(
                RowSource.TRAFFIC, *(a_row(cell=cell, page_path=f"/{n}", hits=n, visitors=a_sketch(n)) for n in (1, 2))
            )
            for cell in (0, 3, 9)
        ]
        stores.sink.write_portions(iter([*portions, frame(RowSource.TRAFFIC)]), iter(()))
        await_ingested(stores, *portions)
        for reader in (stores, opener()):
            assert hits_by(ask(reader, "page_path"), "page_path") == {"/1": 3, "/2": 6}
            assert estimate(union(ask(reader, sketches=("visitors",))["visitors"].to_list())) == 2.0
        with pytest.raises(ValueError, match="already written"):
            stores.sink.write_portions(iter(portions[:1]), iter(()))

    def test_portions_of_both_sources_are_all_there_once_ingested(self, opener: Opener) -> None:
        stores = opener()
        write(stores, a_row(hits=100, generation=2))
        traffic = [frame(RowSource.TRAFFIC, a_row(cell=cell, hits=1)) for cell in (1, 2)]
        visits = [frame(RowSource.VISITS, a_row(cell=cell, visits=10)) for cell in (0, 2, 3)]
        stores.sink.write_portions(iter(traffic), iter(visits))
        await_ingested(stores, *visits)
        for reader in (stores, opener()):
            assert ask(reader)["hits"].to_list() == [2]
            assert ask(reader, source=RowSource.VISITS, measures=("visits",))["visits"].to_list() == [30]
            assert ask(reader, generations={SiteDay(SHOP, DAY): 2})["hits"].to_list() == [100]
        stores.sink.drop([(SiteDay(SHOP, DAY), 1)])
        assert len(ask(opener())) == 0
