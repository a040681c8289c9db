"""Test a hit's trace: verdicts on copies, visits, orders, and limits of reads.

If the day of a copy is settled, the verdict on the copy follows settlement's rules. If the day is not settled, the
verdict follows the live stream's rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import polars as pl
import pytest

from hitmesh.adapters.memory.raw import MemoryRawStore
from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.exclusion import NO_RULES, RuleKind
from hitmesh.model.generations import GenerationEntry
from hitmesh.model.logic import CURRENT, V0, V1, Logic
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord
from hitmesh.model.rule_changes import with_rule, without_rule
from hitmesh.model.sites import Site
from processor.inspect import search as search_module
from processor.inspect.fate import InspectedCopy, Known, Timeliness, Verdict, inspect
from processor.inspect.search import inspected_rows, search
from tests.reference.hits import RefHit
from tests.support.clock import ManualClock
from tests.support.raw_hits import LOG, a_record

SITE = Site("merchants/demo/sites/shop", "UTC", "USD", b"s" * 32)
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY_MS = 24 * HOUR
DAY = 20_000
NOON = DAY * DAY_MS + 12 * HOUR


def a_hit(at: int = NOON, hit_id: str = "h1", visitor: str = "v1", **fields: object) -> RefHit:
    return replace(RefHit(SITE.name, visitor, hit_id, at, page_path="/"), **fields)  # type: ignore[arg-type]  # its own fields


def streamed(committed: int = 100, claims: Sequence[OrderClaim] = ()) -> Known:
    return Known(SITE, {}, {PartitionId(LOG, 0): committed}, claims)


def settled(read_through: int = 100, claims: Sequence[OrderClaim] = (), logic: Logic = CURRENT) -> Known:
    entry = GenerationEntry(7, 1, logic.number, {PartitionId(LOG, 0): read_through}, 0)
    return Known(SITE, {DAY: entry}, {PartitionId(LOG, 0): 0}, claims)


def inspected(records: Iterable[RawRecord], known: Known, hit_id: str = "h1") -> list[InspectedCopy]:
    return inspect(pl.concat([inspected_rows(record) for record in records]), hit_id, known)


def test_a_hit_that_counts_is_in_a_visit_a_cell_and_the_streams_generation() -> None:
    hits = [a_hit(NOON - 10 * MINUTE, "h0", page_path="/start"), a_hit(), a_hit(NOON + MINUTE, "h2")]
    (copy,) = inspected([a_record(hits, NOON + 2 * MINUTE, 4)], streamed())
    assert copy.at == (Position(LOG, 0, 4), 1)
    assert (copy.verdict, copy.timeliness) == (Verdict.COUNTED, Timeliness.ON_TIME)
    assert (copy.cell, copy.is_settled, copy.generation) == (NOON, False, 0)
    assert (copy.hit_type, copy.event_time, copy.log_time) == ("PAGE_VIEW", NOON, NOON + 2 * MINUTE)
    assert copy.visit is not None
    assert (copy.visit.start, copy.visit.last, copy.visit.hits) == (NOON - 10 * MINUTE, NOON + MINUTE, 3)
    assert copy.visit.landing_page == "/start"
    assert len(copy.visit.visit_id) == 16
    assert len(copy.visitor_key) == 32


def test_hits_of_one_visit_name_the_same_visit_and_others_another() -> None:
    hits = [a_hit(NOON, "h1"), a_hit(NOON + MINUTE, "h2"), a_hit(NOON + 2 * HOUR, "h3")]
    ids = []
    for hit_id in ("h1", "h2", "h3"):
        (copy,) = inspected([a_record(hits, NOON + 2 * HOUR, 4)], settled(), hit_id)
        assert copy.visit is not None
        ids.append(copy.visit.visit_id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("of_stream", [V0, V1])
@pytest.mark.parametrize("of_entry", [V0, V1, None])
def test_visit_is_built_under_the_version_that_counts_its_day(of_stream: Logic, of_entry: Logic | None) -> None:
    hits = [a_hit(NOON, "h1"), a_hit(NOON + 10 * MINUTE, "h2")]
    known = streamed() if of_entry is None else settled(logic=of_entry)
    (copy,) = inspected([a_record(hits, NOON + 10 * MINUTE, 4)], replace(known, logic=of_stream))
    assert copy.visit is not None
    assert copy.visit.hits == (1 if (of_entry or of_stream) is V0 else 2)


def test_copies_name_the_first_in_log_order() -> None:
    records = [a_record([a_hit()], NOON + at, offset) for offset, at in enumerate((0, 3_000, 30_000))]
    first, second, third = inspected(reversed(records), streamed())
    assert (first.verdict, first.original) == (Verdict.COUNTED, None)
    assert (second.verdict, second.original) == (Verdict.DUPLICATE, first.at)
    assert (third.verdict, third.original, third.visit) == (Verdict.DUPLICATE, first.at, None)
    assert not second.collides


def test_a_copy_with_another_content_collides() -> None:
    records = [a_record([a_hit()], NOON, 0), a_record([a_hit(page_path="/other")], NOON, 1)]
    _, second = inspected(records, streamed())
    assert (second.verdict, second.collides) == (Verdict.DUPLICATE, True)


@pytest.mark.parametrize(("known", "verdict"), [(streamed(), Verdict.COUNTED), (settled(), Verdict.DUPLICATE)])
def test_a_copy_after_90_minutes_counts_until_its_day_is_settled(known: Known, verdict: Verdict) -> None:
    records = [a_record([a_hit()], NOON, 0), a_record([a_hit()], NOON + 90 * MINUTE + 1, 1)]
    assert inspected(records, known)[1].verdict is verdict
    records = [a_record([a_hit()], NOON, 0), a_record([a_hit()], NOON + 90 * MINUTE, 1)]
    assert inspected(records, known)[1].verdict is Verdict.DUPLICATE


def test_the_same_id_more_than_two_hours_apart_is_two_hits() -> None:
    hits = [a_hit(), a_hit(NOON + 2 * HOUR + 1)]
    first, second = inspected([a_record(hits, NOON + 2 * HOUR, 0)], settled())
    assert (first.verdict, second.verdict) == (Verdict.COUNTED, Verdict.COUNTED)


def test_the_same_id_of_two_visitors_is_two_hits() -> None:
    hits = [a_hit(), a_hit(visitor="v2")]
    first, second = inspected([a_record(hits, NOON, 0)], streamed())
    assert first.verdict is second.verdict is Verdict.COUNTED
    assert first.visitor_key != second.visitor_key


def test_a_bot_is_excluded_but_visits_among_bots() -> None:
    (copy,) = inspected([a_record([a_hit(excluded=True), a_hit(NOON + 1, "h2")], NOON, 0)], streamed())
    assert copy.verdict is Verdict.EXCLUDED
    assert copy.visit is not None
    assert copy.visit.hits == 1


@pytest.mark.parametrize(("after_ms", "is_late"), [(HOUR, False), (HOUR + 1, True)])
def test_a_late_hit_counts_at_once_and_is_in_a_visit_when_its_day_is_settled(after_ms: int, is_late: bool) -> None:
    records = [a_record([a_hit()], NOON + after_ms, 0)]
    (copy,) = inspected(records, streamed())
    assert copy.verdict is Verdict.COUNTED
    assert copy.timeliness is (Timeliness.LATE if is_late else Timeliness.ON_TIME)
    assert (copy.visit is None) is is_late
    assert inspected(records, settled())[0].visit is not None


def test_history_waits_for_the_settlement_of_its_day() -> None:
    closed = (DAY + 1) * DAY_MS + 26 * HOUR
    (late,) = inspected([a_record([a_hit()], closed, 0)], streamed())
    (history,) = inspected([a_record([a_hit()], closed + 1, 0)], streamed())
    assert (late.verdict, late.timeliness) == (Verdict.COUNTED, Timeliness.LATE)
    assert (history.verdict, history.timeliness, history.visit) == (Verdict.PENDING, Timeliness.HISTORY, None)
    (counted,) = inspected([a_record([a_hit()], closed + 1, 9)], settled(read_through=10))
    (waits,) = inspected([a_record([a_hit()], closed + 1, 10)], settled(read_through=10))
    assert (counted.verdict, waits.verdict) == (Verdict.COUNTED, Verdict.PENDING)
    assert (counted.is_settled, counted.generation) == (True, 7)


def test_hits_that_the_stream_has_not_committed_are_pending() -> None:
    assert inspected([a_record([a_hit()], NOON, 5)], streamed(committed=5))[0].verdict is Verdict.PENDING
    assert inspected([a_record([a_hit()], NOON, 5, partition=1)], streamed())[0].verdict is Verdict.PENDING


def a_claim(offset: int, *, excluded: bool = False, duplicate: bool = False, log_time: int = NOON) -> OrderClaim:
    position = Position(LOG, 0, offset)
    return OrderClaim(SITE.name, "o1", log_time, position, 0, 1, 2, "x", DAY, excluded, duplicate)


@pytest.mark.parametrize(
    ("claims", "wins"),
    [
        ([a_claim(4)], True),
        ([a_claim(3), a_claim(4)], False),
        ([a_claim(3, excluded=True), a_claim(4)], True),
        ([a_claim(3, duplicate=True), a_claim(4)], True),
        ([a_claim(3, log_time=NOON + 3 * DAY_MS), a_claim(4)], False),
    ],
)
def test_the_first_claim_on_an_order_wins(claims: list[OrderClaim], wins: bool) -> None:
    order = a_hit(type="ORDER", order_id="o1")
    (copy,) = inspected([a_record([order], NOON, 4)], streamed(claims=claims))
    assert (copy.order_id, copy.wins_order) == ("o1", wins)


@pytest.mark.parametrize(("at", "wins"), [((4,), True), ((3, 4), False)])
def test_the_first_claim_on_a_refund_wins(at: tuple[int, ...], wins: bool) -> None:
    refund = a_hit(type="REFUND", order_id="o1", refund_id="r1")
    orders = [a_claim(offset) for offset in (1, 2)]
    refunds = [replace(a_claim(offset), kind=ClaimKind.REFUND, order_id="r1") for offset in at]
    (copy,) = inspected([a_record([refund], NOON, 4)], streamed(claims=[*orders, *refunds]))
    assert (copy.order_id, copy.wins_order) == ("o1", wins)
    assert inspected([a_record([replace(refund, refund_id=None)], NOON, 4)], streamed())[0].wins_order is None


def test_other_hits_and_copies_claim_nothing() -> None:
    order = a_hit(type="ORDER", order_id="o1")
    records = [a_record([order, a_hit(hit_id="h2")], NOON, 4), a_record([order], NOON, 5)]
    assert inspected(records, streamed(claims=[a_claim(4), a_claim(5)]))[1].wins_order is None
    assert inspected(records, streamed(claims=[a_claim(4)]), "h2")[0].wins_order is None


# ---- how many records a trace reads


def stored(*records: RawRecord) -> MemoryRawStore:
    raw = MemoryRawStore()
    raw.put(records)
    return raw


def test_all_hits_of_the_visitors_with_the_id_are_found_on_the_days_around() -> None:
    raw = stored(
        a_record([a_hit(NOON - DAY_MS, "h0"), a_hit(NOON - DAY_MS, "x", "v2")], NOON, 0),
        a_record([a_hit(), a_hit(hit_id="h2"), a_hit(site="merchants/rival/sites/shop")], NOON, 1),
        a_record([a_hit(NOON + 9 * DAY_MS, "h9")], NOON, 2),
    )
    found = search(raw, ManualClock(NOON), SITE.name, "h1", range(DAY, DAY + 1))
    assert sorted(found.hits["hit_id"].to_list()) == ["h0", "h1", "h2"]
    assert (found.records_read, found.truncated) == (3, False)


def test_every_search_for_an_id_of_many_visitors_finds_the_same_visitors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MAX_VISITORS", 3)
    raw = stored(a_record([a_hit(visitor=f"v{number}") for number in range(40)], NOON, 0))
    key = ["visitor_hi", "visitor_lo"]
    smallest = inspected_rows(next(iter(raw.scan(SITE.name, DAY, DAY + 1)))).select(key).sort(key).head(3)
    found = search(raw, ManualClock(NOON), SITE.name, "h1", range(DAY, DAY + 1))
    assert found.truncated
    assert found.hits.select(key).sort(key).rows() == smallest.rows()


def test_search_for_an_unknown_id_finds_no_hits() -> None:
    found = search(stored(a_record([a_hit()], NOON, 0)), ManualClock(NOON), SITE.name, "no", range(DAY - 2, DAY + 1))
    assert (found.hits.height, found.records_read, found.truncated) == (0, 1, False)


def test_reading_stops_at_a_limit_with_the_newest_days_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MAX_RECORDS", 2)
    raw = stored(*(a_record([a_hit(NOON - back * DAY_MS, f"h{back}")], NOON, 9 - back) for back in range(4)))
    days = range(DAY - 3, DAY + 1)
    newest = search(raw, ManualClock(NOON), SITE.name, "h1", days)
    assert newest.truncated
    assert "h1" in newest.hits["hit_id"].to_list()
    oldest = search(raw, ManualClock(NOON), SITE.name, "h3", days)
    assert (oldest.hits.height, oldest.truncated) == (0, True)


def test_excluded_copy_names_the_kind_of_the_rule_under_which_its_day_is_settled() -> None:
    rules = without_rule(with_rule(NO_RULES, RuleKind.PAGE, "^/$", now=0), "1")
    record = a_record([a_hit()], NOON, 0)
    for version, verdict, reasons in ((1, Verdict.EXCLUDED, ("RULE_PAGE",)), (2, Verdict.COUNTED, ())):
        known = replace(settled(), site=replace(SITE, rules=rules))
        entry = replace(known.entries[DAY], rules_version=version)
        (copy,) = inspected([record], replace(known, entries={DAY: entry}))
        assert (copy.verdict, copy.exclusion_reasons) == (verdict, reasons)
