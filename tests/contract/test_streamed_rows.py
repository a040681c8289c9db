"""Test answers from rows that an Outbox has committed.

A store may take seconds until its answers contain committed rows. Tests that read rows therefore write them with
`commit`, which waits until answers contain the rows.
"""

from __future__ import annotations

import polars as pl
import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, ROW_SUMS
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows
from tests.support.opened import Opener
from tests.support.stored_rows import CELL_MS, DAY, DAY_MS, OTHER, QUIRKY, SHOP, START, a_row, a_sketch, ask, hits_by
from tests.support.stored_rows import write as write_settled
from tests.support.stream_builders import (
    TODAY,
    a_partial,
    a_partition,
    await_answers,
    commit,
    commit_rows,
    live,
    partials,
    settled,
    signed,
    some_rows,
    transact,
)
from tests.support.unions import estimate, union


class TestStreamedRows:
    def test_signed_rows_add_up_to_their_net(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        commit(stores, writer, a_row(channel="ads", hits=3), a_row(channel=None, hits=2))
        commit(stores, writer, a_row(channel="ads", hits=-1, gross_revenue=10**15))
        answer = live(stores, "channel", measures=("hits", "gross_revenue"))
        assert set(answer.rows()) == {(0, "ads", 2, 10**15), (0, None, 2, 0)}

    def test_net_beyond_64_bits_is_exact_and_goes_back(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        for _ in range(3):
            commit(stores, writer, *[a_row(channel="ads", hits=1, gross_revenue=10**18, tax=-(10**18))] * 12)
        measures = ("hits", "gross_revenue", "tax")
        assert live(stores, measures=measures).rows() == [(0, 36, 36 * 10**18, -36 * 10**18)]
        back = [a_row(channel="ads", hits=-1, gross_revenue=-(10**18), tax=10**18)] * 35
        commit(stores, writer, *back)
        assert live(stores, measures=measures).rows() == [(0, 1, 10**18, -(10**18))]

    def test_value_whose_rows_come_to_nothing_is_in_no_answer(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        commit(stores, writer, a_row(page_path="/a", hits=1, visitors=a_sketch(1)), a_row(page_path="/b", hits=1))
        commit(stores, writer, a_row(page_path="/a", hits=-1, moved_visitors=1), a_row(cell=1, page_path="/c", hits=1))
        commit(stores, writer, a_row(cell=1, page_path="/c", hits=-1))
        assert hits_by(live(stores, "page_path"), "page_path") == {"/b": 1}
        total = live(stores, measures=("hits", MOVED_VISITORS), sketches=("visitors",))
        assert total.rows() == [(0, 1, 0, None)]
        starts = (START, START + CELL_MS)
        assert live(stores, buckets=starts)["bucket"].to_list() == [0]

    def test_row_that_counts_something_else_stays_with_its_zeros(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        commit(stores, writer, a_row(page_path="/a", hits=1, duplicate_hits=2))
        commit(stores, writer, a_row(page_path="/a", hits=-1))
        assert hits_by(live(stores, "page_path"), "page_path") == {"/a": 0}

    def test_visitors_who_left_are_counted_where_others_stayed(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        commit(stores, writer, a_row(channel="ads", hits=1, visitors=a_sketch(1)))
        commit(stores, writer, a_row(channel="ads", hits=1, visitors=a_sketch(2)))
        commit(
            stores,
            writer,
            a_row(channel="ads", hits=-1, moved_visitors=1),
            a_row(channel="mail", hits=1, visitors=a_sketch(1)),
        )
        answer = live(stores, "channel", measures=("hits", MOVED_VISITORS), sketches=("visitors",))
        found = {row[1]: (row[2], row[3], estimate(union([row[4]]))) for row in answer.rows()}
        assert found == {"ads": (1, 1, 2.0), "mail": (1, 0, 1.0)}

    def test_rows_of_several_partitions_meet(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        rows = [some_rows(stores, a_row(hits=10**number), partition=number) for number in range(4)]
        commit_rows(stores, writer, rows)
        assert live(stores)["hits"].to_list() == [1_111]

    def test_visits_are_a_source_of_their_own(self, stores: Stores) -> None:
        visits = signed(RowSource.VISITS, a_row(exit_page="/x", visits=1, bounces=1), a_row(exit_page="/x", bounces=-1))
        rows = some_rows(stores, a_row(page_path="/x", hits=1), visits=visits)
        commit_rows(stores, stores.outbox.take_over(), [rows])
        answer = live(stores, "exit_page", source=RowSource.VISITS, measures=("visits", "bounces"))
        assert answer.rows() == [(0, "/x", 1, 0)]
        assert live(stores)["hits"].to_list() == [1]

    def test_live_and_settled_days_are_answered_together(self, stores: Stores) -> None:
        write_settled(stores, a_row(hits=100, visitors=a_sketch(1)), a_row(hits=5, generation=2))
        row = a_row(cell=96, day=DAY + 1, hits=7, moved_visitors=1, visitors=a_sketch(2))
        commit(stores, stores.outbox.take_over(), row, a_row(hits=30), a_row(site=OTHER, hits=1_000))
        generations = {TODAY: 1, SiteDay(SHOP, DAY + 1): STREAM_GENERATION}
        answer = ask(
            stores,
            generations=generations,
            end=START + 2 * DAY_MS,
            measures=("hits", MOVED_VISITORS),
            sketches=("visitors",),
        )
        assert answer.rows()[0][:3] == (0, 107, 1)
        assert estimate(union(answer["visitors"].to_list())) == 2.0
        assert ask(stores, measures=(MOVED_VISITORS,)).rows() == [(0, 0)]

    def test_sums_of_site_days_are_those_of_all_their_rows(self, stores: Stores) -> None:
        visits = signed(RowSource.VISITS, a_row(exit_page="/x", visits=2, visit_duration_total=7), a_row(visits=-1))
        rows = [
            a_row(hits=3, gross_revenue=2**62, tax=-5),
            a_row(cell=1, page_path="/a", hits=1, gross_revenue=2**62 - 1),
            a_row(excluded=True, hits=10, moved_visitors=1),
            a_row(page_path="/gone", hits=1),
            a_row(page_path="/gone", hits=-1),
            a_row(cell=96, day=DAY + 1, hits=100),
            a_row(site=OTHER, hits=1_000),
        ]
        write_settled(stores, a_row(hits=5))
        commit_rows(stores, stores.outbox.take_over(), [some_rows(stores, *rows, visits=visits)])
        nothing = dict.fromkeys(ROW_SUMS, 0)
        assert stores.metrics.stream_sums([TODAY, SiteDay(OTHER, DAY + 1), SiteDay(SHOP, DAY + 1)]) == {
            TODAY: {
                **nothing,
                "hits": 14,
                "gross_revenue": 2**63 - 1,
                "tax": -5,
                "visits": 1,
                "visit_duration_total": 7,
            },
            SiteDay(SHOP, DAY + 1): {**nothing, "hits": 100},
            SiteDay(OTHER, DAY + 1): nothing,
        }
        assert stores.metrics.stream_sums([]) == {}

    def test_only_requested_site_days_are_read(self, stores: Stores) -> None:
        rows = [a_row(cell=96 * n, day=DAY + n, site=site, hits=1) for n in range(3) for site in (SHOP, OTHER)]
        commit(stores, stores.outbox.take_over(), *rows)
        generations = {SiteDay(SHOP, DAY): 0, SiteDay(OTHER, DAY + 2): 0}
        answer = ask(stores, "site", generations=generations, end=START + 3 * DAY_MS, buckets=(START, START + DAY_MS))
        assert set(answer.rows()) == {(0, SHOP, 1), (1, OTHER, 1)}

    def test_answer_without_rows_has_the_promised_columns(self, stores: Stores) -> None:
        empty = live(stores, "channel", measures=(MOVED_VISITORS,), sketches=("visitors",))
        promised = {"bucket": pl.Int32(), "channel": pl.String(), MOVED_VISITORS: pl.Int64(), "visitors": pl.Binary()}
        assert dict(empty.schema) == promised

    def test_any_value_of_a_dimension_comes_back(self, opener: Opener) -> None:
        stores = opener()
        values = [*QUIRKY, "\x00", "a\x00b", None]
        commit(stores, stores.outbox.take_over(), *[a_row(page_path=value, campaign=value, hits=1) for value in values])
        answer = live(opener(), "page_path", "campaign")
        assert set(zip(answer["page_path"], answer["campaign"], strict=True)) == {(value, value) for value in values}

    @pytest.mark.parametrize("times", [1, 40, 400])
    def test_many_small_transactions_answer_as_one_large(self, opener: Opener, times: int) -> None:
        stores = opener()
        writer = stores.outbox.take_over()
        sites = [f"{SHOP}{n}" for n in range(5)]
        for n in range(times):
            transact(
                stores,
                writer,
                a_row(site=sites[n % 5], cell=n % 7, page_path=f"/{n % 3}", hits=2, visitors=a_sketch(n % 11)),
                a_row(site=sites[n % 5], cell=n % 7, page_path="/gone", hits=1 if n % 70 < 35 else -1),
                next_offset=n + 1,
            )
        await_answers(stores)
        for reader in (stores, opener()):
            generations = {SiteDay(site, DAY): STREAM_GENERATION for site in sites}
            total = ask(reader, generations=generations, sketches=("visitors",))
            gone = sum(1 if n % 70 < 35 else -1 for n in range(times))
            assert total["hits"].to_list() == [2 * times + gone]
            assert estimate(union(total["visitors"].to_list())) == min(times, 11)
            pages = hits_by(ask(reader, "page_path", generations=generations), "page_path")
            assert pages.get("/0") == 2 * len(range(0, times, 3))
            by_site = hits_by(ask(reader, "site", generations=generations), "site")
            assert sum(by_site.values()) == 2 * times + gone

    def test_large_transaction_is_answered_site_by_site(self, stores: Stores) -> None:
        count = 30_000
        base = signed(RowSource.TRAFFIC, a_row(hits=1))
        sites = [f"merchants/m/sites/s{n % 300}" for n in range(count)]
        rows = pl.concat([base] * count).with_columns(
            pl.Series("site", sites), pl.Series("page_path", [str(n % 17) for n in range(count)])
        )
        folded = FoldedRows(a_partition(stores), rows, signed(RowSource.VISITS))
        commit_rows(stores, stores.outbox.take_over(), [folded])
        everything = {SiteDay(site, DAY): STREAM_GENERATION for site in sites}
        assert ask(stores, generations=everything)["hits"].to_list() == [count]
        for site in sites[:3]:
            assert ask(stores, generations={SiteDay(site, DAY): 0})["hits"].to_list() == [100]

    def test_dropped_site_days_are_gone_with_their_partials_and_the_others_stay(self, opener: Opener) -> None:
        stores = opener()
        writer = stores.outbox.take_over()
        commit(stores, writer, a_row(hits=1), a_row(site=OTHER, hits=2), a_row(cell=96, day=DAY + 1, hits=4))
        write_settled(stores, a_row(hits=100))
        stores.series.put_partials(partials(a_partial(hits=1), a_partial(generation=1, hits=5)))
        stores.series.put_settled(TODAY, STREAM_GENERATION, settled(a_partial(hits=3)))
        for _ in range(2):
            stores.sink.drop([(TODAY, STREAM_GENERATION)])
        for _ in range(40):
            transact(stores, writer, a_row(site=OTHER, hits=2), a_row(cell=96, day=DAY + 1, hits=4))
        await_answers(stores)
        for reader in (stores, opener()):
            assert len(live(reader)) == 0
            assert ask(reader)["hits"].to_list() == [100]
            assert ask(reader, generations={SiteDay(OTHER, DAY): 0})["hits"].to_list() == [82]
            tomorrow = ask(reader, generations={SiteDay(SHOP, DAY + 1): 0}, end=START + 2 * DAY_MS)
            assert tomorrow["hits"].to_list() == [164]
            assert len(reader.series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)) == 0
            assert reader.series.read(SHOP, DAY, DAY + 1, 1)["hits"].to_list() == [5]
