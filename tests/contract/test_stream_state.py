"""Contract tests for SeriesStore, Ledger and StateStore, which store all data of the stream except rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.adapters.shared.partials import ledger_sums
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.stream_columns import EPOCH_MS, LEDGER_SUMS, PARTIAL_SUMS, SERIES_COLUMNS
from hitmesh.model.sites import SiteDay
from tests.support.opened import NOON, Opener
from tests.support.stored_rows import CELL_MS, DAY, DAY_MS, OTHER, SHOP, START, a_sketch
from tests.support.stream_builders import (
    CHUNKS,
    P0,
    TODAY,
    a_manifest,
    a_partial,
    an_entry,
    entries,
    partials,
    save,
    settled,
)
from tests.support.unions import estimate, union


class TestSeriesStore:
    def test_partial_comes_back_with_every_sum(self, opener: Opener) -> None:
        row = a_partial(currency="EUR", digest=2**64 - 1, visitors=a_sketch(1, 2))
        sums = {name: (-1) ** n * (2**40 + n) for n, name in enumerate(PARTIAL_SUMS)}
        opener().series.put_partials(partials(row | sums))
        read = opener().series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)
        assert dict(read.schema) == SERIES_COLUMNS
        assert read.row(0, named=True) == {name: (row | sums)[name] for name in SERIES_COLUMNS}

    def test_epochs_and_partitions_of_a_cell_add_up(self, stores: Stores) -> None:
        rows = [
            a_partial(epoch=NOON + n * EPOCH_MS, partition=n % 2, hits=10**n, digest=2**63, visitors=sketch)
            for n, sketch in enumerate([a_sketch(1, 2), a_sketch(2, 3), None])
        ]
        stores.series.put_partials(partials(rows[0], rows[1]))
        stores.series.put_partials(partials(rows[2]))
        read = stores.series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)
        assert read.select("hits", "digest").rows() == [(111, 3 * 2**63 % 2**64)]
        assert estimate(union(read["visitors"].to_list())) == 3.0

    def test_redo_changes_nothing(self, stores: Stores) -> None:
        rows = partials(a_partial(hits=5), a_partial(epoch=NOON + EPOCH_MS, hits=7))
        for _ in range(3):
            stores.series.put_partials(rows)
        assert stores.series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)["hits"].to_list() == [12]

    def test_sums_of_money_beyond_64_bits_are_exact(self, opener: Opener) -> None:
        stores = opener()
        most = {"hits": 3, "gross_revenue": 2**80 + 1, "tax": -(2**63) - 1, "refunds": 2**63 - 1}
        stores.series.put_partials(partials(*(a_partial(epoch=n * 900_000, **most) for n in range(4))))
        stores.series.put_settled(TODAY, 1, settled(a_partial(**most)))
        for generation, times in ((STREAM_GENERATION, 4), (1, 1)):
            [found] = opener().series.read(SHOP, DAY, DAY + 1, generation).select(list(most)).rows(named=True)
            assert found == {name: value * times for name, value in most.items()}

    def test_newer_value_takes_the_place_and_a_stale_one_changes_nothing(self, stores: Stores) -> None:
        for written, hits in ((5, 1), (7, 2), (6, 3), (7, 4), (1, 9)):
            stores.series.put_partials(partials(a_partial(written=written, hits=hits)))
        assert stores.series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)["hits"].to_list() == [4]

    def test_newest_of_one_call_wins(self, stores: Stores) -> None:
        stores.series.put_partials(partials(a_partial(written=2, hits=2), a_partial(written=1, hits=1)))
        assert stores.series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)["hits"].to_list() == [2]

    def test_cells_come_in_order_and_apart(self, stores: Stores) -> None:
        stores.series.put_partials(
            partials(
                a_partial(day=DAY + 1, cell=START + DAY_MS, hits=4),
                a_partial(cell=START + CELL_MS, hits=3),
                a_partial(excluded=True, hits=2),
                a_partial(currency="USD", hits=6),
                a_partial(hits=1),
                a_partial(currency="EUR", hits=5),
                a_partial(site=OTHER, hits=9),
                a_partial(day=DAY + 2, hits=9),
                a_partial(generation=1, hits=9),
            )
        )
        read = stores.series.read(SHOP, DAY, DAY + 2, STREAM_GENERATION)
        assert read.select("day", "cell", "excluded", "currency", "hits").rows() == [
            (DAY, START, False, "", 1),
            (DAY, START, False, "EUR", 5),
            (DAY, START, False, "USD", 6),
            (DAY, START, True, "", 2),
            (DAY, START + CELL_MS, False, "", 3),
            (DAY + 1, START + DAY_MS, False, "", 4),
        ]

    def test_redo_of_one_currency_leaves_the_others(self, stores: Stores) -> None:
        euros, dollars = a_partial(currency="EUR", hits=1), a_partial(currency="USD", hits=10)
        stores.series.put_partials(partials(euros, dollars))
        stores.series.put_partials(partials(euros | {"hits": 2, "written": 2}))
        read = stores.series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)
        assert read.select("currency", "hits").rows() == [("EUR", 2), ("USD", 10)]

    @pytest.mark.parametrize("at_once", [1, 2, 3, 9])
    def test_some_sites_at_a_time_are_all_of_them_once(self, stores: Stores, at_once: int) -> None:
        stores.ledger.put(entries(an_entry(site="", kind=LedgerKind.CELL, at=START), an_entry(site=OTHER), an_entry()))
        parts: list[pl.DataFrame] = []
        last: str | None = None
        while not parts or last is not None:
            part, last = stores.ledger.read_some(last, at_once)
            assert part["site"].n_unique() <= at_once
            parts.append(part)
        assert len(parts) == -(-3 // at_once)
        assert ledger_sums(pl.concat(parts)).rows() == stores.ledger.read(None).rows()

    def test_read_without_rows_has_the_same_columns(self, stores: Stores) -> None:
        stores.series.put_partials(partials())
        assert dict(stores.series.read(SHOP, DAY, DAY + 1, 0).schema) == SERIES_COLUMNS

    def test_settled_site_day_comes_back_with_every_sum(self, opener: Opener) -> None:
        row = a_partial(currency="EUR", excluded=True, digest=2**64 - 1, visitors=a_sketch(1, 2))
        row |= {name: (-1) ** n * (2**40 + n) for n, name in enumerate(PARTIAL_SUMS)}
        opener().series.put_settled(TODAY, 3, settled(row, a_partial(hits=2)))
        read = opener().series.read(SHOP, DAY, DAY + 1, 3)
        assert dict(read.schema) == SERIES_COLUMNS
        assert read["hits"].to_list() == [2, row["hits"]]
        assert read.row(1, named=True) == {name: row[name] for name in SERIES_COLUMNS}

    def test_settled_site_day_is_read_without_its_partials_and_others_with_theirs(self, stores: Stores) -> None:
        rows = [a_partial(currency="EUR", hits=1), a_partial(generation=1, hits=2), a_partial(site=OTHER, hits=3)]
        tomorrow = a_partial(day=DAY + 1, cell=START + DAY_MS, hits=4)
        stores.series.put_partials(partials(*rows, tomorrow))
        stores.series.put_settled(TODAY, STREAM_GENERATION, settled(a_partial(currency="USD", hits=10)))
        stores.series.put_partials(partials(a_partial(epoch=NOON + EPOCH_MS, hits=5)))
        read = stores.series.read(SHOP, DAY, DAY + 2, STREAM_GENERATION)
        assert read.select("day", "currency", "hits").rows() == [(DAY, "USD", 10), (DAY + 1, "", 4)]
        assert stores.series.read(SHOP, DAY, DAY + 1, 1)["hits"].to_list() == [2]
        assert stores.series.read(OTHER, DAY, DAY + 1, STREAM_GENERATION)["hits"].to_list() == [3]

    def test_settling_again_replaces_rows_and_an_empty_settlement_leaves_none(self, opener: Opener) -> None:
        opener().series.put_partials(partials(a_partial(hits=1)))
        rows = [settled(a_partial(hits=2), a_partial(currency="EUR", hits=3)), settled(a_partial(hits=4)), settled()]
        found = []
        for frame in [*rows, rows[1]]:
            opener().series.put_settled(TODAY, STREAM_GENERATION, frame)
            found.append(opener().series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)["hits"].to_list())
        assert found == [[2, 3], [4], [], [4]]

    def test_settled_rows_of_another_site_day_are_refused(self, stores: Stores) -> None:
        stores.series.put_settled(TODAY, STREAM_GENERATION, settled(a_partial(hits=1)))
        for other in (a_partial(day=DAY + 1), a_partial(site=OTHER)):
            with pytest.raises(ValueError, match="settled"):
                stores.series.put_settled(TODAY, STREAM_GENERATION, settled(a_partial(hits=2), other))
        assert stores.series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)["hits"].to_list() == [1]

    def test_dropped_generation_is_gone_settled_or_not(self, stores: Stores) -> None:
        stores.series.put_partials(partials(a_partial(hits=1)))
        for generation in (STREAM_GENERATION, 1):
            stores.series.put_settled(TODAY, generation, settled(a_partial(hits=2)))
        for _ in range(2):
            stores.series.drop([(SiteDay(SHOP, DAY), STREAM_GENERATION)])
        assert len(stores.series.read(SHOP, DAY, DAY + 1, STREAM_GENERATION)) == 0
        assert stores.series.read(SHOP, DAY, DAY + 1, 1)["hits"].to_list() == [2]

    def test_dropped_generation_of_a_site_day_is_gone(self, stores: Stores) -> None:
        others = [a_partial(day=DAY + 1), a_partial(site=OTHER), a_partial(generation=1)]
        stores.series.put_partials(partials(a_partial(), *others))
        for _ in range(2):
            stores.series.drop([(SiteDay(SHOP, DAY), STREAM_GENERATION)])
        assert stores.series.read(SHOP, DAY, DAY + 2, STREAM_GENERATION)["day"].to_list() == [DAY + 1]
        assert len(stores.series.read(OTHER, DAY, DAY + 1, STREAM_GENERATION)) == 1
        assert len(stores.series.read(SHOP, DAY, DAY + 1, 1)) == 1

    def test_flushed_progress_is_seen_by_every_reader_and_never_moves_back(self, opener: Opener) -> None:
        other = PartitionId("hits.1", 1)
        assert dict(opener().series.flushed()) == {}
        opener().series.note_flushed({P0: PartitionProgress(5, 50), other: PartitionProgress(1, 10)})
        opener().series.note_flushed({P0: PartitionProgress(3, 30)})
        opener().series.note_flushed({other: PartitionProgress(1, 20)})
        assert dict(opener().series.flushed()) == {P0: PartitionProgress(5, 50), other: PartitionProgress(1, 20)}


class TestLedger:
    def test_counts_add_up_over_epochs_and_partitions(self, opener: Opener) -> None:
        rows = [
            an_entry(epoch=NOON + n * EPOCH_MS, partition=n % 2, hits=10**n, sum64=2**63 + n, xor64=2**63 + 2**n)
            for n in range(3)
        ]
        opener().ledger.put(entries(*rows[:2]))
        opener().ledger.put(entries(*rows[2:]))
        read = opener().ledger.read(SHOP)
        assert dict(read.schema) == LEDGER_SUMS
        assert read.rows() == [(SHOP, "day", DAY, "counted", 111, (3 * 2**63 + 3) % 2**64, 2**63 + 7)]

    def test_redo_and_stale_entries_change_nothing(self, stores: Stores) -> None:
        for written, hits in ((5, 1), (7, 2), (6, 3), (7, 2), (1, 9)):
            stores.ledger.put(entries(an_entry(written=written, hits=hits, sum64=hits, xor64=hits)))
        assert stores.ledger.read(SHOP).rows() == [(SHOP, "day", DAY, "counted", 2, 2, 2)]

    def test_days_with_hits_that_wait_are_found(self, opener: Opener) -> None:
        waits = [an_entry(kind=LedgerKind.WAITS, at=DAY + n, hits=1, partition=n % 2) for n in (0, 2, 5)]
        of_none = an_entry(kind=LedgerKind.WAITS, at=DAY + 1, hits=0)
        opener().ledger.put(entries(*waits, of_none, an_entry(at=DAY + 3, hits=1), waits[0] | {"site": OTHER}))
        assert opener().ledger.waiting(SHOP, DAY, DAY + 5) == {DAY, DAY + 2}
        assert opener().ledger.waiting(SHOP, DAY + 3, DAY + 9) == {DAY + 5}
        assert opener().ledger.waiting(OTHER, 0, DAY + 9) == {DAY}
        assert opener().ledger.waiting("merchants/m/sites/none", 0, DAY + 9) == set()

    def test_all_sites_and_no_site_are_read_together_in_order(self, stores: Stores) -> None:
        rows = [
            an_entry(site="", kind=LedgerKind.CELL, at=START),
            an_entry(site=OTHER),
            an_entry(**{"class": LedgerClass.ACCEPTED}),
            an_entry(at=DAY - 1),
        ]
        stores.ledger.put(entries(*reversed(rows)))
        keys = [row[:4] for row in stores.ledger.read(None).rows()]
        assert keys == [
            ("", "cell", START, "counted"),
            (OTHER, "day", DAY, "counted"),
            (SHOP, "day", DAY - 1, "counted"),
            (SHOP, "day", DAY, "accepted"),
        ]
        assert [row[0] for row in stores.ledger.read("").rows()] == [""]

    def test_read_without_rows_has_the_same_columns(self, stores: Stores) -> None:
        assert dict(stores.ledger.read(None).schema) == LEDGER_SUMS
        assert dict(stores.ledger.read(SHOP).schema) == LEDGER_SUMS

    def test_days_of_epochs_read_as_their_sum_and_a_redo_of_recent_ones_stays_right(self, opener: Opener) -> None:
        stores = opener()
        count = 3 * 96
        first = START
        for n in range(count):
            row = an_entry(epoch=first + n * EPOCH_MS, written=n, hits=1, sum64=2**60 + n, xor64=n)
            stores.ledger.put(entries(row, row | {"site": OTHER, "at": n // 96}))
        for _ in range(2):
            expected = [(SHOP, "day", DAY, "counted", count, sum(2**60 + n for n in range(count)) % 2**64)]
            assert [row[:6] for row in stores.ledger.read(SHOP).rows()] == expected
            assert stores.ledger.read(SHOP)["xor64"].to_list() == [int(np.bitwise_xor.reduce(np.arange(count)))]
            assert stores.ledger.read(OTHER)["hits"].to_list() == [96] * 3
            recent = range(count - 8, count)
            stores.ledger.put(
                entries(
                    *[an_entry(epoch=first + n * EPOCH_MS, written=n, hits=1, sum64=2**60 + n, xor64=n) for n in recent]
                )
            )
            stores = opener()


class TestStateStore:
    def test_snapshot_comes_back_as_it_was_saved(self, opener: Opener) -> None:
        assert opener().states.load(P0, 1) is None
        assert save(opener(), a_manifest())
        assert opener().states.load(P0, 1) == (a_manifest(), CHUNKS)
        assert opener().states.load(PartitionId("hits.1", 1), 1) is None

    def test_empty_state_has_a_snapshot(self, stores: Stores) -> None:
        assert save(stores, a_manifest(chunks=0), [])
        assert stores.states.load(P0, 1) == (a_manifest(chunks=0), [])

    def test_chunks_without_a_manifest_are_no_snapshot(self, stores: Stores) -> None:
        stores.states.save_chunks(P0, 1, 10, CHUNKS)
        assert stores.states.load(P0, 1) is None
        save(stores, a_manifest())
        stores.states.save_chunks(P0, 1, 20, [b"half"])
        assert stores.states.load(P0, 1) == (a_manifest(), CHUNKS)

    def test_manifest_without_all_its_chunks_is_no_snapshot(self, stores: Stores) -> None:
        assert save(stores, a_manifest(chunks=4))
        assert stores.states.load(P0, 1) is None

    def test_another_logic_version_loads_nothing(self, stores: Stores) -> None:
        save(stores, a_manifest(logic=1))
        assert stores.states.load(P0, 2) is None
        assert save(stores, a_manifest(next_offset=11, logic=2))
        assert stores.states.load(P0, 1) is None
        assert stores.states.load(P0, 2) is not None

    def test_later_snapshot_takes_the_place_of_an_earlier_one(self, stores: Stores) -> None:
        save(stores, a_manifest(next_offset=10))
        assert save(stores, a_manifest(next_offset=11, chunks=1), [b"new"])
        assert stores.states.load(P0, 1) == (a_manifest(next_offset=11, chunks=1), [b"new"])

    def test_saving_twice_is_saving_once(self, stores: Stores) -> None:
        assert save(stores, a_manifest())
        assert save(stores, a_manifest())
        assert stores.states.load(P0, 1) == (a_manifest(), CHUNKS)

    def test_chunks_of_a_visible_snapshot_never_change(self, stores: Stores) -> None:
        assert save(stores, a_manifest())
        stores.states.save_chunks(P0, 1, 10, [b"a process that dies before the manifest"])
        assert stores.states.load(P0, 1) == (a_manifest(), CHUNKS)
        assert not save(stores, a_manifest(chunks=1), [b"other"])
        assert stores.states.load(P0, 1) == (a_manifest(), CHUNKS)
        assert save(stores, a_manifest(writer=2, chunks=1), [b"other"])
        assert stores.states.load(P0, 1) == (a_manifest(writer=2, chunks=1), [b"other"])

    def test_chunks_that_were_left_by_a_crash_are_replaced(self, stores: Stores) -> None:
        stores.states.save_chunks(P0, 1, 10, [*CHUNKS, b"more"])
        assert save(stores, a_manifest())
        assert stores.states.load(P0, 1) == (a_manifest(), CHUNKS)

    def test_older_position_of_the_same_writer_is_refused(self, stores: Stores) -> None:
        save(stores, a_manifest(next_offset=10))
        assert not save(stores, a_manifest(next_offset=9), [b"a", b"b", b"c"])
        assert stores.states.load(P0, 1) == (a_manifest(next_offset=10), CHUNKS)

    def test_older_writer_is_refused_however_far_it_got(self, opener: Opener) -> None:
        save(opener(), a_manifest(writer=2, next_offset=10))
        assert not save(opener(), a_manifest(writer=1, next_offset=99), [b"a", b"b", b"c"])
        assert opener().states.load(P0, 1) == (a_manifest(writer=2, next_offset=10), CHUNKS)

    def test_newer_writer_may_go_back(self, stores: Stores) -> None:
        save(stores, a_manifest(writer=1, next_offset=99))
        assert save(stores, a_manifest(writer=2, next_offset=10))
        assert stores.states.load(P0, 1) == (a_manifest(writer=2, next_offset=10), CHUNKS)

    def test_partitions_do_not_touch_each_other(self, stores: Stores) -> None:
        other = PartitionId("hits.1", 1)
        save(stores, a_manifest(writer=1, partition=other))
        save(stores, a_manifest(writer=5, next_offset=50))
        assert stores.states.load(other, 1) == (a_manifest(writer=1, partition=other), CHUNKS)
