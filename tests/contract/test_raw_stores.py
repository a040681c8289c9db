"""RawStore and RejectedStore."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hitmesh.adapters.factory import Stores
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import Origin, RawRecord, RejectedHit
from hitmesh.model.refusals import RefusalKey, RefusalRange, key_of
from hitmesh.model.sites import SiteDay
from hitmesh.ports import RejectedStore
from tests.support.opened import Opener

SHOP, OTHER = "merchants/m/sites/shop", "merchants/m/sites/other"
DAY_MS, CELL_MS = 86_400_000, 900_000


def a_raw(
    offset: int, *days: int, site: str = SHOP, log: str = "hits.1", partition: int = 0, log_time: int = 0
) -> RawRecord:
    site_days = frozenset(SiteDay(site, day) for day in days)
    position = Position(log, partition, offset)
    return RawRecord(position, log_time or offset, 3, 10, 20, f"{log}{partition}{offset}".encode(), 1, site_days)


def positions_of(records: Iterable[RawRecord]) -> list[Position]:
    return [record.position for record in records]


class TestRawStore:
    def test_record_comes_back_as_it_was_put(self, opener: Opener) -> None:
        days = {SiteDay(SHOP, -1), SiteDay("merchants/ü/sites/'\"\\", 20_000), SiteDay(SHOP, 20_001)}
        record = RawRecord(Position("hits.1", 3, 9), 77, 500, -5, 2**52, b"\x00\xff", 4, frozenset(days))
        opener().raw.put([record])
        assert opener().raw.get(record.position) == record
        assert list(opener().raw.scan(SHOP, 20_001, 20_002)) == [record]

    def test_record_that_is_not_there_is_none(self, stores: Stores) -> None:
        assert stores.raw.get(Position("hits.1", 0, 0)) is None

    def test_putting_twice_is_putting_once(self, stores: Stores) -> None:
        stores.raw.put([a_raw(1, 10), a_raw(2, 10)])
        stores.raw.put([a_raw(2, 10), a_raw(3, 10), a_raw(3, 10)])
        assert positions_of(stores.raw.scan(SHOP, 10, 11)) == [("hits.1", 0, n) for n in (1, 2, 3)]

    def test_scan_yields_records_of_the_days_and_site_only(self, stores: Stores) -> None:
        stores.raw.put([a_raw(1, 9), a_raw(2, 10, 11), a_raw(3, 12), a_raw(4, 10, site=OTHER), a_raw(5, 11)])
        assert positions_of(stores.raw.scan(SHOP, 10, 12)) == [("hits.1", 0, 2), ("hits.1", 0, 5)]
        assert positions_of(stores.raw.scan(SHOP, 10, 10)) == []
        assert positions_of(stores.raw.scan("merchants/m/sites/none", 0, 99)) == []

    def test_scan_is_in_log_order(self, stores: Stores) -> None:
        stores.raw.put(
            [
                a_raw(1, 10, log="hits.2", log_time=5),
                a_raw(7, 10, partition=1, log_time=5),
                a_raw(8, 10, partition=0, log_time=5),
                a_raw(2, 10, partition=0, log_time=6),
                a_raw(9, 10, partition=3, log_time=4),
            ]
        )
        assert positions_of(stores.raw.scan(SHOP, 10, 11)) == [
            ("hits.1", 3, 9),
            ("hits.1", 0, 8),
            ("hits.1", 1, 7),
            ("hits.2", 0, 1),
            ("hits.1", 0, 2),
        ]

    def test_scan_before_offsets_leaves_out_later_records_and_unnamed_partitions(self, stores: Stores) -> None:
        stores.raw.put([a_raw(1, 10), a_raw(2, 10), a_raw(1, 10, partition=1), a_raw(1, 10, log="hits.2")])
        before = {PartitionId("hits.1", 0): 2, PartitionId("hits.2", 0): 9}
        assert positions_of(stores.raw.scan(SHOP, 10, 11, before)) == [("hits.1", 0, 1), ("hits.2", 0, 1)]
        assert positions_of(stores.raw.scan(SHOP, 10, 11, {})) == []

    def test_scan_of_many_records_yields_each_once_while_others_are_put(self, stores: Stores) -> None:
        stores.raw.put([a_raw(offset, 10, 11) for offset in range(100)])
        seen = []
        for record in stores.raw.scan(SHOP, 10, 12):
            seen.append(record.position.offset)
            stores.raw.put([a_raw(1_000 + len(seen), 10)])
        assert seen == list(range(100))

    def test_scan_of_sites_yields_the_records_of_each_site_once_in_log_order(self, stores: Stores) -> None:
        both = frozenset({SiteDay(SHOP, 10), SiteDay(OTHER, 10)})
        shared = replace(a_raw(4, 10, log_time=2), site_days=both)
        elsewhere = a_raw(5, 10, site="merchants/m/sites/third")
        stores.raw.put([a_raw(1, 10, log_time=3), a_raw(2, 11, site=OTHER), shared, elsewhere, a_raw(6, 14)])
        sites, before = {SHOP, OTHER}, {PartitionId("hits.1", 0): 2}
        assert [position.offset for position in positions_of(stores.raw.scan_sites(sites, 10, 12))] == [2, 4, 1]
        assert [position.offset for position in positions_of(stores.raw.scan_sites({SHOP}, 10, 15))] == [4, 1, 6]
        assert [position.offset for position in positions_of(stores.raw.scan_sites(sites, 10, 12, before))] == [1]
        assert list(stores.raw.scan_sites(set(), 10, 12)) == []

    def test_days_are_ascending_and_distinct(self, stores: Stores) -> None:
        stores.raw.put([a_raw(1, 12, 10), a_raw(2, 10), a_raw(3, -4), a_raw(4, 11, site=OTHER)])
        assert list(stores.raw.days(SHOP)) == [-4, 10, 12]
        assert list(stores.raw.days("merchants/m/sites/none")) == []

    def test_salvage_yields_positions_and_records_of_a_scan(self, stores: Stores) -> None:
        records = [a_raw(1, 10), a_raw(2, 10, 11), a_raw(3, 12), a_raw(4, 10, site=OTHER)]
        stores.raw.put(records)
        assert list(stores.raw.salvage(SHOP, 10, 12)) == [(record.position, record) for record in records[:2]]
        before = {PartitionId("hits.1", 0): 2}
        assert list(stores.raw.salvage(SHOP, 10, 12, before)) == [(records[0].position, records[0])]

    def test_salvage_is_by_position_and_continues_after_a_position(self, stores: Stores) -> None:
        stores.raw.put(
            [
                a_raw(1, 10, log="hits.2", log_time=5),
                a_raw(7, 10, partition=1, log_time=4),
                a_raw(9, 10, 11, log_time=8),
                a_raw(2, 10, log_time=9),
                a_raw(3, 10, site=OTHER),
            ]
        )
        expected = [Position(*at) for at in (("hits.1", 0, 2), ("hits.1", 0, 9), ("hits.1", 1, 7), ("hits.2", 0, 1))]
        assert [position for position, _ in stores.raw.salvage(SHOP, 10, 12)] == expected
        for number, after in enumerate(expected, 1):
            found = stores.raw.salvage(SHOP, 10, 12, after=after)
            assert [position for position, _ in found] == expected[number:]
        between = Position("hits.1", 0, 5)
        before = {PartitionId("hits.1", 0): 10, PartitionId("hits.1", 1): 7}
        assert [position for position, _ in stores.raw.salvage(SHOP, 10, 12, before, between)] == expected[1:2]

    def test_restored_record_replaces_what_is_stored_and_is_found_by_every_day(self, opener: Opener) -> None:
        stores = opener()
        stores.raw.put([replace(a_raw(1, 10), value=b"damaged", log_time=7), a_raw(2, 10)])
        whole = [a_raw(1, 10, 11), a_raw(3, 10)]
        for _ in range(2):
            stores.raw.restore(whole)
        assert list(opener().raw.scan(SHOP, 10, 11)) == [whole[0], a_raw(2, 10), whole[1]]
        assert list(opener().raw.scan(SHOP, 11, 12)) == whole[:1]
        assert stores.raw.days(SHOP) == [10, 11]

    def test_mending_an_intact_index_changes_nothing(self, stores: Stores) -> None:
        records = [a_raw(1, 10), a_raw(2, 10, 11)]
        stores.raw.put(records)
        for day in (10, 11):
            stores.raw.mend_index(SiteDay(SHOP, day))
        assert list(stores.raw.scan(SHOP, 10, 12)) == records


def a_refusal(offset: int, row: int = 0, at: int = 0, site: str = SHOP, hits: int = 1) -> RejectedHit:
    return RejectedHit(
        Position("rejected.1", 0, offset), row, site, at, "TIME_FUTURE", "true_time", "ü\n", "id", hits, b"\x00"
    )


class TestRejectedStore:
    def test_refusal_comes_back_as_it_was_put(self, opener: Opener) -> None:
        opener().rejected.put([a_refusal(1, 2, 3)])
        assert list(opener().rejected.recent(SHOP, 10)) == [a_refusal(1, 2, 3)]

    def test_counts_are_per_cell_of_the_day_and_count_hits(self, stores: Stores) -> None:
        noon = 10 * DAY_MS + DAY_MS // 2
        stores.rejected.put(
            [
                a_refusal(1, 0, 10 * DAY_MS),
                a_refusal(1, 1, noon + CELL_MS - 1, hits=40),
                a_refusal(2, 0, noon),
                a_refusal(3, 0, 11 * DAY_MS),
                a_refusal(4, 0, 10 * DAY_MS - 1),
                a_refusal(5, 0, noon, site=OTHER),
                a_refusal(6, 0, noon + 2 * CELL_MS, hits=0),  # an id collision counts 0 refused hits
            ]
        )
        assert dict(stores.rejected.counts(SHOP, 10)) == {10 * DAY_MS: 1, noon: 41}

    def test_bytes_of_old_refusals_are_dropped_and_the_refusals_still_count(self, stores: Stores) -> None:
        stores.rejected.put([a_refusal(1, at=10), a_refusal(2, at=20, hits=5)])
        emptied = stores.rejected.drop_bytes(20)
        assert emptied in (0, 1), "a server that forgets by itself does nothing"
        assert dict(stores.rejected.counts(SHOP, 0)) == {0: 6}
        kept = [hit.original for hit in stores.rejected.recent(SHOP, 3)]
        assert kept == [b"\x00", b"" if emptied else b"\x00"]
        assert stores.rejected.drop_bytes(20) == 0

    def test_putting_twice_is_putting_once(self, stores: Stores) -> None:
        stores.rejected.put([a_refusal(1), a_refusal(1, 1)])
        stores.rejected.put([a_refusal(1), a_refusal(1, 1)])
        assert dict(stores.rejected.counts(SHOP, 0)) == {0: 2}

    def test_recent_is_newest_first_and_limited(self, stores: Stores) -> None:
        stores.rejected.put([a_refusal(1, at=30), a_refusal(2, 0, 10), a_refusal(2, 1, 10), a_refusal(3, at=20)])
        newest = [(hit.position.offset, hit.row) for hit in stores.rejected.recent(SHOP, 3)]
        assert newest == [(1, 0), (3, 0), (2, 1)]

    def test_refusals_that_name_no_site_are_kept(self, stores: Stores) -> None:
        stores.rejected.put([a_refusal(1, site="")])
        assert len(stores.rejected.recent("", 10)) == 1


ORIGIN = Origin("b1", 3, "k1", 120, True, True, b"\x00context", 1_700_000_000_000, 7, True)
EVER = 10**13


def listed(store: RejectedStore, site: str | None, since: int = 0, until: int = EVER, limit: int = 2) -> list[int]:
    """Return the offsets of the listed refusals, page after page."""
    found: list[int] = []
    after: RefusalKey | None = None
    for _ in range(20):
        page = store.page(RefusalRange(site, since, until), after, limit)
        assert len(page.hits) <= limit
        found += [hit.position.offset for hit in page.hits]
        after = page.after
        if after is None:
            return found
    raise AssertionError(f"the list does not end: {found}")


class TestRefusalPages:
    def test_origin_and_replay_time_come_back_as_they_were_put(self, opener: Opener) -> None:
        hit = replace(a_refusal(1, 2, 3), origin=ORIGIN)
        opener().rejected.put([hit, a_refusal(1, 3, 3)])
        assert opener().rejected.get(key_of(hit)) == hit
        assert opener().rejected.note_replayed(key_of(hit), 77)
        opener().rejected.put([hit])
        assert list(opener().rejected.recent(SHOP, 2)) == [a_refusal(1, 3, 3), replace(hit, replayed_at=77)]

    def test_a_refusal_that_is_not_there_is_none_and_is_not_noted(self, stores: Stores) -> None:
        stores.rejected.put([a_refusal(1)])
        for key in (
            key_of(a_refusal(2)),
            key_of(a_refusal(1, 1)),
            key_of(a_refusal(1, at=1)),
            key_of(a_refusal(1, site=OTHER)),
        ):
            assert not stores.rejected.note_replayed(key, 5)
            assert stores.rejected.get(key) is None
        assert [hit.replayed_at for hit in stores.rejected.recent(SHOP, 9)] == [0]
        assert list(stores.rejected.recent(OTHER, 9)) == []

    def test_pages_of_a_site_are_newest_first_and_complete(self, stores: Stores) -> None:
        times = [5, 5, 5, CELL_MS - 1, CELL_MS, 3 * CELL_MS, 3 * CELL_MS + 1]
        stores.rejected.put([a_refusal(offset, at=at) for offset, at in enumerate(times)])
        stores.rejected.put([a_refusal(9, at=5, site=OTHER), a_refusal(10, at=5, site="")])
        for limit in (1, 2, 3, 7, 8):
            assert listed(stores.rejected, SHOP, limit=limit) == [6, 5, 4, 3, 2, 1, 0]
        assert listed(stores.rejected, "") == [10]
        assert listed(stores.rejected, "merchants/m/sites/none") == []

    def test_pages_have_the_refusals_of_the_range_only(self, stores: Stores) -> None:
        stores.rejected.put([a_refusal(offset, at=offset * CELL_MS // 2) for offset in range(6)])
        for site in (SHOP, None):
            assert listed(stores.rejected, site, CELL_MS // 2, 2 * CELL_MS) == [3, 2, 1]
            assert listed(stores.rejected, site, CELL_MS // 2 + 1, CELL_MS // 2 + 1) == []
            assert listed(stores.rejected, site, 2 * CELL_MS, 2 * CELL_MS + 1) == [4]

    def test_pages_of_all_sites_are_by_cell_from_the_newest_then_by_site(self, stores: Stores) -> None:
        stores.rejected.put(
            [
                a_refusal(1, at=CELL_MS + 5),
                a_refusal(2, at=CELL_MS + 9, site=OTHER),
                a_refusal(3, at=CELL_MS + 7),
                a_refusal(4, at=CELL_MS, site=""),
                a_refusal(5, at=9, site=OTHER),
            ]
        )
        for limit in (1, 2, 3, 5, 9):
            assert listed(stores.rejected, None, limit=limit) == [4, 2, 3, 1, 5]
