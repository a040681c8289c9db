"""Test a day that is settled in ranges of visitors. The tests begin with raw records and end with published rows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.erasures import ErasureMark, visitor_digest
from hitmesh.model.errors import Unavailable
from hitmesh.model.exclusion import ExclusionRule, RuleKind, SiteRules
from hitmesh.model.positions import Topic
from hitmesh.model.reprocessings import Rebuilt, Work
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from processor.erase.visitors import ErasedVisitors
from processor.reprocess.reprocessor import Reprocessor
from processor.rules.day_rules import DayRules
from processor.settle import ranges, settlement
from processor.settle.attempt import Attempt
from processor.settle.deciding import Deciding
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.pace import SettlePace
from processor.settle.readable import ReadableRows
from processor.settle.settler import Settler
from processor.settle.site_window import SpilledWindow, Window, read_window, with_excluded_before
from processor.settle.spill import Spill
from tests.support.erasing import key_of, plan_erasure
from tests.support.reprocessing import plan, rebuilt, request, work_off
from tests.support.site_rules import add_rule, plan_rules, store_networks
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.unit.settling import DAY, NOON, SITE, a_hit, an_order

SMALLEST = SettleMemory(range_hits=2, groups_log2=1)
HITS = [
    *(a_hit(minute, visitor) for visitor in "abc" for minute in (-40, -20, 5, 30, 90, 700, 1_430, 1_450)),
    *(a_hit(minute, "a") for minute in (5, 90)),  # copies
    *(an_order(100, "o1", visitor) for visitor in "ab"),
    an_order(1_460, "o2", "c"),
]


def a_mesh(url: str, memory: SettleMemory) -> SmallMesh:
    mesh = SmallMesh(NOON, sites=[SITE], url=url)
    pace = SettlePace(resettle_after_ms=0, pass_ms=10**9)
    mesh.settler = Settler(settler_stores(mesh.stores), mesh.clock, pace, memory=memory)
    for begin in range(0, len(HITS), 5):
        mesh.send(HITS[begin : begin + 5], begin % 3)
    mesh.settle()
    return mesh


@pytest.mark.parametrize("store", ["memory:", "embedded:"])
def test_large_day_is_published_as_any_other(store: str, tmp_path: Path) -> None:
    url = store if store == "memory:" else f"{store}{tmp_path / 'store'}"
    mesh = a_mesh(url, SettleMemory(range_hits=2, groups_log2=1, scratch=tmp_path / "scratch"))
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert mesh.ledgers() == a_mesh("memory:", SettleMemory()).ledgers()
    assert mesh.ledgers()[SiteDay(SITE, DAY)].duplicate == 2
    assert list((tmp_path / "scratch").iterdir()) == []
    mesh.stores.close()


def collisions(memory: SettleMemory) -> list[tuple[int, int]]:
    """Settle a day on which four visitors reuse their hit ids. Return offset and row of each stored id collision."""
    mesh = SmallMesh(NOON, sites=[SITE])
    pace = SettlePace(resettle_after_ms=0, pass_ms=10**9)
    mesh.settler = Settler(settler_stores(mesh.stores), mesh.clock, pace, memory=memory)
    for number in range(12):
        mesh.send([replace(a_hit(5, visitor, f"{visitor}-twice"), page_path=f"/{number}") for visitor in "abcd"])
    mesh.settle()
    return sorted((hit.position.offset, hit.row) for hit in mesh.stores.rejected.recent(SITE, 99))


def test_the_first_collisions_of_a_day_are_kept_whatever_the_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ranges, settlement):
        monkeypatch.setattr(module, "MAX_COLLISIONS", 10)
    at_once = collisions(SettleMemory())
    assert len(at_once) == 10
    assert collisions(replace(SMALLEST, groups_log2=2)) == at_once


def days_under(version: int) -> DayRules:
    """Return exclusion rules in two versions, which exclude different pages. Only version 2 also excludes a network."""
    rules = [
        ExclusionRule("1", RuleKind.PAGE, "^/5$", since=1, created_at=0, until=2),
        ExclusionRule("2", RuleKind.PAGE, "^/30|/100$", since=2, created_at=0),
        ExclusionRule("3", RuleKind.NETWORK, "203.0.113.0/24", since=2, created_at=0),
    ]
    return DayRules(SiteRules(2, tuple(rules)), {DAY: version})


def test_visitor_beyond_the_limit_may_have_more_carried_in_visits_than_hits() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    pace = SettlePace(resettle_after_ms=0, pass_ms=10**9)
    memory = SettleMemory(range_hits=1, groups_log2=0)
    mesh.settler = Settler(settler_stores(mesh.stores), mesh.clock, pace, memory=memory)
    mesh.send([a_hit(1_435), replace(a_hit(1_436), excluded=True), a_hit(1_445)])
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


@pytest.mark.parametrize("erased", ["", "a"])
@pytest.mark.parametrize("before", [None, days_under(1)])
def test_window_beyond_the_limit_holds_the_same_hits_on_disk(erased: str, before: DayRules | None) -> None:
    mesh = a_mesh("memory:", SMALLEST)
    begin, secret = DAY * DAY_MS, b"secret"
    digest = visitor_digest(secret, SITE, key_of(erased))
    visitors = ErasedVisitors(secret, [ErasureMark(SITE, digest, begin + DAY_MS // 2, 0, "e")] if erased else ())

    deciding = Deciding(days_under(2), before, visitors, DAY)

    def window(memory: SettleMemory) -> Window | SpilledWindow:
        return read_window(mesh.stores.raw.scan(SITE, DAY, DAY + 1), SITE, begin, begin + DAY_MS, memory, deciding)

    whole, spilled = window(SettleMemory()), window(SMALLEST)
    assert isinstance(whole, Window)
    assert isinstance(spilled, SpilledWindow)
    groups = [pl.concat(spilled.spill.read(group)) for group in spilled.spill.groups()]
    assert len(groups) == 2
    assert [len(set(group["visitor_lo"])) for group in groups].count(0) == 0
    assert not set(groups[0]["visitor_lo"]) & set(groups[1]["visitor_lo"])
    assert pl.concat(groups).sort("record", "row").equals(with_excluded_before(whole.rows, whole.excluded_before))
    assert whole.rows["excluded"].any()
    assert (whole.excluded_before is not None) == (before is not None)
    assert spilled.not_applicable == whole.not_applicable > 0
    assert spilled.claiming.equals(whole.claiming)
    assert spilled.erased.equals(whole.erased)
    assert (whole.erased.height > 0) == bool(erased)


def test_rows_on_disk_keep_their_order_within_a_group() -> None:
    spill = Spill(None, buffered_rows=3)
    for begin in range(0, 10, 2):
        rows = pl.DataFrame({"number": range(begin, begin + 2), "text": ["x", None]})
        spill.add(rows, np.array([begin % 3, 1]))
    assert {group: pl.concat(spill.read(group, ["number"]))["number"].to_list() for group in spill.groups()} == {
        0: [0, 6],
        1: [1, 3, 4, 5, 7, 9],
        2: [2, 8],
    }
    assert spill.height(1) == 6
    assert list(spill.read(7)) == []


@pytest.mark.parametrize(("rows_in_time", "expected"), [(1, nullcontext()), (250_000, pytest.raises(Unavailable))])
def test_deadline_for_readable_rows_follows_their_number(
    rows_in_time: int, expected: AbstractContextManager[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh, site_day = a_mesh("memory:", SMALLEST), SiteDay(SITE, DAY)
    reached = mesh.stores.progress.progress(Topic.HITS)
    through = {partition: progress.next_offset for partition, progress in reached.items()}
    attempt = Attempt(settler_stores(mesh.stores), site_day, through, through, memory=SMALLEST)
    settled = attempt.settle()
    assert settled is not None
    looks: list[int] = []

    def after_1500_ms(_: SiteDay, generation: int) -> bool:
        looks.append(generation)
        mesh.clock.advance(1_500)
        return len(looks) > 1

    monkeypatch.setattr(mesh.stores.sink, "ingested", after_1500_ms)
    rows = ReadableRows(mesh.stores.sink, mesh.clock, threading.Event(), 1.0, rows_in_time)
    with expected:
        rows.write([(site_day, attempt.generation, settled)])


def recomputed(memory: SettleMemory, id_: str) -> list[Rebuilt]:
    """Recompute a mesh's days within memory limits.

    The reprocessing `id_` is "r" (changes to logic v0), "e" (erases visitor a) or "rules" (applies exclusion rules).
    """
    mesh = a_mesh("memory:", DEFAULT_MEMORY)
    mesh.send([a_hit(31, "b"), a_hit(2, "d")])
    mesh.heartbeat()
    mesh.stream()
    if id_ == "e":
        plan_erasure(mesh, SITE, "a")
    elif id_ == "rules":
        change_rules(mesh, "^/(5|20|100|1430|2)$")
        plan_rules(mesh, SITE)
    else:
        plan(mesh, [SITE], id_=id_)
    worked_off(mesh, Work.RECOMPUTE, id_, memory)
    return rebuilt(mesh, id_)


def change_rules(mesh: SmallMesh, pages: str) -> None:
    """Add rules that exclude the given pages, and a network that no hit has."""
    if not mesh.stores.directory.site(SITE).rules.version:  # type: ignore[union-attr]  # the site exists
        store_networks(mesh.stores.directory, SITE)
        add_rule(mesh.stores.directory, SITE, RuleKind.NETWORK, "203.0.113.0/24")
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, pages)


def worked_off(mesh: SmallMesh, work: Work, id_: str, memory: SettleMemory) -> None:
    request(mesh, work, id_)
    reprocessor = Reprocessor(
        settler_stores(mesh.stores), mesh.stores.reprocessings, mesh.clock, marks=7, memory=memory
    )
    work_off(mesh, reprocessor, id_)


def numbers_of(rebuilt: Rebuilt) -> Sequence[object]:
    """Return all values of a recomputed day. Positions in the log are left out, because they differ between meshes."""
    sides = (rebuilt.before, rebuilt.after)
    decided = (rebuilt.reasons, rebuilt.not_applicable, sorted(rebuilt.flags.values()), rebuilt.disturbed_days)
    return [rebuilt.site_day, rebuilt.changes, decided, *((side.ledger, side.carry) for side in sides)]


@pytest.mark.parametrize("id_", ["r", "e", "rules"])
def test_large_day_is_recomputed_as_any_other_with_the_same_reasons(id_: str) -> None:
    whole = recomputed(DEFAULT_MEMORY, id_)
    ranged = recomputed(SettleMemory(range_hits=17, groups_log2=2), id_)
    assert [numbers_of(each) for each in ranged] == [numbers_of(each) for each in whole]
    assert any(each.reasons not in (None, ChangeReasons()) for each in whole) or id_ == "e"
    assert any(each.after.ledger.erased for each in whole) == (id_ == "e")
    assert any(each.reasons and each.reasons.newly_excluded_hits for each in whole) == (id_ == "rules")
    assert any(each.not_applicable for each in whole) == (id_ == "rules")


def test_large_days_under_changing_rules_have_the_rows_of_any_other() -> None:
    found = []
    for memory in (DEFAULT_MEMORY, SMALLEST):
        mesh = a_mesh("memory:", memory)
        for id_, pages in (("first", "^/(5|20|100)$"), ("second", "^/(30|1430|1460)$")):
            change_rules(mesh, pages)
            plan_rules(mesh, SITE, id_=id_)
            worked_off(mesh, Work.RECOMPUTE, id_, memory)
            worked_off(mesh, Work.PUBLISH, id_, memory)
            mesh.send([a_hit(100, "d", f"late-{id_}"), an_order(6, "o2", f"b-{id_}")])
            mesh.settle()
            unexplained = [replace(each, reasons=None) for each in rebuilt(mesh, id_)]
            found.append((memory, mesh.rows(), mesh.ledgers(), list(map(numbers_of, unexplained))))
    whole, ranged = ([each[1:] for each in found if each[0] is memory] for memory in (DEFAULT_MEMORY, SMALLEST))
    assert ranged == whole
    assert whole[0] != whole[1]


def test_reasons_are_not_known_if_a_single_visitor_does_not_fit_into_memory() -> None:
    assert {each.reasons for each in recomputed(SMALLEST, "r")} == {None}
