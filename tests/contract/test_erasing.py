"""Test erasures: removal of hits from raw records, claims, refusals, generations and the log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.claims import ClaimKind
from hitmesh.model.erasures import ErasureMark, timeline_digest
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.positions import Position
from hitmesh.model.records import Origin, RawRecord, RejectedHit
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from processor.erase.known import KnownErasures
from tests.contract.test_order_claims import a_claim
from tests.support.clock import ManualClock
from tests.support.opened import NOON, Opener

SHOP, OTHER = "merchants/m/sites/shop", "merchants/m/sites/other"
PIECE = 256 * 1024
AT = Position("hits.1", 0, 7)
ORIGIN = Origin("b", 0, "k", 8, True, False, b"context", NOON, 0, True)


def a_mark(site: str = SHOP, digest: str = "d1", until: int = 10, created_at: int = 100) -> ErasureMark:
    return ErasureMark(site, digest, until, created_at, "r1")


class TestErasures:
    def test_marks_come_back_by_site_and_by_time(self, opener: Opener) -> None:
        marks = [a_mark(), a_mark(digest="d2", created_at=50), a_mark(OTHER, created_at=200)]
        opener().erasures.put(marks)
        opener().erasures.put(marks[:1])
        assert list(opener().erasures.of(SHOP)) == marks[:2]
        assert list(opener().erasures.since(100)) == [marks[2], marks[0]]
        assert list(opener().erasures.since(201)) == []
        assert list(opener().erasures.of("merchants/n/sites/shop")) == []

    def test_the_later_time_of_a_visitor_stays(self, stores: Stores) -> None:
        for until in (10, 30, 20):
            stores.erasures.put([a_mark(until=until, created_at=100 + until)])
        assert [mark.until for mark in stores.erasures.of(SHOP)] == [30]

    def test_a_mark_with_a_later_time_comes_back_by_the_time_when_it_was_stored(self, stores: Stores) -> None:
        later = a_mark(until=30, created_at=900)
        stores.erasures.put([a_mark(until=10, created_at=100)])
        stores.erasures.put([later])
        assert list(stores.erasures.since(500)) == [later]

    def test_a_process_keeps_the_later_time_when_an_earlier_plan_is_carried_out_later(self, stores: Stores) -> None:
        known = KnownErasures(stores.erasures, stores.directory, ManualClock(NOON), refresh_ms=0)
        digest = timeline_digest(stores.directory.mesh_secret(), 6)
        for until, created_at in ((30, 0), (20, DAY_MS), (20, DAY_MS)):
            stores.erasures.put([a_mark(digest=digest, until=until, created_at=created_at)])
            known.refresh()
        assert known.visitors.until(SHOP, np.array([6], np.uint64)).tolist() == [30]


class TestRemoval:
    @pytest.mark.parametrize(("before", "after"), [(1, 2), (3 * PIECE, PIECE + 1), (PIECE, 2 * PIECE), (PIECE + 1, 0)])
    def test_a_raw_record_gets_another_value_and_keeps_the_rest(self, opener: Opener, before: int, after: int) -> None:
        record = RawRecord(AT, 77, 500, -5, 50, b"b" * before, 2, frozenset({SiteDay(SHOP, 10)}))
        opener().raw.put([record])
        changed = replace(record, value=b"a" * after, min_event_time=-7, max_event_time=7, rows=0, log_time=0)
        assert not opener().raw.replace(changed, b"another value was seen")
        assert opener().raw.replace(changed, record.value)
        assert not opener().raw.replace(replace(changed, position=Position("hits.1", 0, 8)))
        (found,) = opener().raw.scan(SHOP, 10, 11)
        assert found == opener().raw.get(AT)
        assert found == replace(record, value=b"a" * after, min_event_time=-7, max_event_time=7)
        assert opener().raw.get(Position("hits.1", 0, 8)) is None

    def test_a_shorter_value_leaves_nothing_of_a_longer_value(self, stores: Stores) -> None:
        record = RawRecord(AT, 77, 500, -5, 50, b"b" * 3 * PIECE, 2, frozenset({SiteDay(SHOP, 10)}))
        shorter = replace(record, value=b"a" * (PIECE + 1))
        stores.raw.put([record])
        stores.raw.restore([shorter])
        assert stores.raw.get(AT) == shorter
        stores.raw.replace(shorter)
        stores.raw.restore([replace(record, value=b"c" * PIECE)])
        assert list(stores.raw.scan(SHOP, 10, 11)) == [replace(record, value=b"c" * PIECE)]

    def test_removed_claims_are_gone_and_holders_stay(self, stores: Stores) -> None:
        first, second = a_claim("o", 1), a_claim("o", 2)
        refund = replace(a_claim("o", 3), kind=ClaimKind.REFUND)
        stores.claims.claim([first, second, refund])
        assert list(stores.claims.first([first])) == [True]
        for _ in range(2):
            stores.claims.remove([first])
        assert list(stores.claims.of(SHOP, ["o"])) == [second]
        assert len(stores.claims.of(SHOP, ["o"], ClaimKind.REFUND)) == 1
        assert list(stores.claims.first([second])) == [False]
        stores.claims.set_duplicates(SHOP, {(first.position, first.row): True})
        assert list(stores.claims.of(SHOP, ["o"])) == [second]

    def test_wanted_refusals_lose_their_texts_and_still_count(self, stores: Stores) -> None:
        hits = [
            RejectedHit(
                Position("rejected.1", 0, at), 0, site, NOON, "DECODE", "f", "m", f"h{at}", 1, b"original", ORIGIN
            )
            for at, site in enumerate((SHOP, SHOP, OTHER))
        ]
        stores.rejected.put(hits)
        seen: list[str] = []

        def wanted(hit: RejectedHit) -> bool:
            seen.append(hit.hit_id)
            return hit.hit_id == "h0"

        assert sum(stores.rejected.erase_texts(SHOP, wanted)) == 1
        assert sorted(seen) == ["h0", "h1"]
        assert sum(stores.rejected.erase_texts(SHOP, lambda hit: hit.hit_id != "h1")) == 0
        kept = {hit.position.offset: hit for hit in stores.rejected.recent(SHOP, 9)}
        assert kept == {0: replace(hits[0], original=b"", message="", hit_id="", origin=None), 1: hits[1]}
        assert sum(stores.rejected.counts(SHOP, NOON // 86_400_000).values()) == 2
        assert stores.rejected.recent(OTHER, 9) == [hits[2]]

    def test_a_retired_generation_is_due_at_once_and_cannot_be_restored(self, stores: Stores) -> None:
        day, ledger = SiteDay(SHOP, 20), LedgerEntry(3, 1, 0, 0, 5, 6, erased=2)
        numbers = [stores.generations.begin(day), stores.generations.begin(day)]
        for at, number in enumerate(numbers):
            stores.generations.publish(
                day,
                number,
                logic_version=2,
                read_through={},
                seen_sequence=at,
                ledger=ledger,
                carry=b"carry",
                now=NOON,
                keep_until=NOON + 10**9,
            )
        assert stores.generations.ledger(SHOP, 20, 21) == {20: ledger}
        assert list(stores.generations.superseded(NOON + 1)) == []
        for now in (NOON, NOON + 500):
            assert list(stores.generations.retire(day, now)) == numbers[:1]
            assert list(stores.generations.superseded(NOON + 1)) == [(day, numbers[0])]
        assert list(stores.generations.retire(SiteDay(SHOP, 21), NOON)) == []
        with pytest.raises(StaleGeneration):
            stores.generations.restore(
                day,
                GenerationVersion(numbers[0], 2, {}, ledger, b"carry"),
                seen_sequence=2,
                now=NOON + 1,
                keep_until=NOON + 2,
            )
        stores.generations.forget(day, numbers[0])
        assert list(stores.generations.retire(day, NOON)) == []
