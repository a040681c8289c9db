"""Test the ledger with the real runner and settler: it balances at every stage, and detects lost hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from control.__main__ import bookkeeping_of
from control.ledger import Day, SiteLedger, site_ledger
from control.rpc.operations.get_ledger import get_ledger, read_ledger
from hitmesh.api.control.v1 import operations_pb2
from hitmesh.api.control.v1 import trace_pb2 as pb
from hitmesh.model.generations import STREAM_GENERATION, DirtyMark
from hitmesh.model.sites import SiteDay
from processor.service import InspectStores, inspect_hit
from tests.reference.hits import RefHit
from tests.support.dates import a_date
from tests.support.reporters import control_backend
from tests.support.small_mesh import SmallMesh

SITE = "merchants/demo/sites/shop"
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY_MS = 24 * HOUR
DAY = 20_000
NOON = DAY * DAY_MS + 12 * HOUR


def a_hit(hit_id: str, at: int = NOON, visitor: str = "v1", **fields: object) -> RefHit:
    return replace(RefHit(SITE, visitor, hit_id, at, page_path="/"), **fields)  # type: ignore[arg-type]  # its own fields


def ledger_of(mesh: SmallMesh) -> SiteLedger:
    mesh.runner.flush()
    stores = mesh.stores
    return site_ledger(
        stores.ledger.read(SITE),
        stores.generations.current(SITE, 0, 10**6),
        stores.generations.ledger(SITE, 0, 10**6),
        stores.dirty.marks(SITE),
    )


def day_of(ledger: SiteLedger, day: int = DAY) -> Day:
    return next(entry for entry in ledger.days if entry.day == day)


def classes(day: Day) -> tuple[int, int, int, int]:
    return day.counted, day.duplicate, day.excluded, day.pending.hits


def a_mesh() -> SmallMesh:
    """Return a mesh that has streamed five hits on one day: three counted hits, a copy and a bot's hit.

    One counted hit is late.
    """
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit("h1"), a_hit("h2", NOON + MINUTE), a_hit("bot", excluded=True)])
    mesh.send([a_hit("h1"), a_hit("late", NOON - 2 * HOUR, "v2")], partition=0)
    mesh.heartbeat()
    mesh.stream()
    return mesh


def test_the_ledger_of_a_streamed_day_balances() -> None:
    found = ledger_of(a_mesh())
    assert found.imbalance == 0
    day = day_of(found)
    assert classes(day) == (3, 1, 1, 0)
    assert (day.is_settled, day.accepted.hits, found.totals.received.hits) == (False, 5, 5)


def test_a_settled_day_balances_and_history_waits_until_it_is_settled_too() -> None:
    mesh = a_mesh()
    mesh.settle()
    settled = ledger_of(mesh)
    assert (settled.imbalance, classes(day_of(settled)), day_of(settled).is_settled) == (0, (3, 1, 1, 0), True)
    mesh.send([a_hit("history"), a_hit("h2", NOON + MINUTE)])
    mesh.stream()
    waiting = ledger_of(mesh)
    assert (waiting.imbalance, classes(day_of(waiting))) == (0, (3, 1, 1, 2))
    mesh.settle()
    again = ledger_of(mesh)
    assert (again.imbalance, classes(day_of(again))) == (0, (4, 2, 1, 0))
    assert day_of(again).accepted.hits == 7


def test_a_day_of_which_nothing_came_late_is_confirmed_and_balances() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit("h1"), a_hit("h1"), a_hit("h2", NOON - MINUTE)])
    mesh.settle()
    found = ledger_of(mesh)
    day = day_of(found)
    assert (found.imbalance, classes(day)) == (0, (2, 1, 0, 0))
    assert (day.is_settled, day.generation) == (True, STREAM_GENERATION)
    (drift,) = mesh.stores.generations.drifts(SITE, 0, 10**6).values()
    assert (drift.confirmed, drift.rows_differ, drift.measures) == (True, False, {})


def test_history_of_a_day_that_was_never_streamed_is_pending_then_settled() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit("old", NOON - 40 * DAY_MS), a_hit("new")])
    mesh.stream()
    waiting = ledger_of(mesh)
    assert (waiting.imbalance, classes(day_of(waiting, DAY - 40))) == (0, (0, 0, 0, 1))
    mesh.settle()
    assert classes(day_of(ledger_of(mesh), DAY - 40)) == (1, 0, 0, 0)
    assert ledger_of(mesh).imbalance == 0


def test_hits_that_wait_are_counted_on_days_that_are_not_listed_too() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit("old", NOON - 40 * DAY_MS), a_hit("new")])
    mesh.stream()
    mesh.runner.flush()
    request = operations_pb2.GetLedgerRequest(site=SITE, first_utc_date=a_date("2024-10-04"))
    found = get_ledger(control_backend(mesh.stores, mesh.clock, open_reads=True), None, request)
    assert (len(found.days), found.omitted_days, found.pending_hits, found.imbalance) == (1, 1, 1, 0)


class SettlesMeanwhile:
    """A store of dirty marks.

    Just before each read of the marks, the mesh settles. By then, the caller has already read other stores.
    """

    def __init__(self, mesh: SmallMesh) -> None:
        self._mesh = mesh

    def marks(self, site: str) -> Sequence[DirtyMark]:
        self._mesh.settle()
        return self._mesh.stores.dirty.marks(site)


def test_a_settlement_between_two_reads_of_the_ledger_is_no_loss() -> None:
    mesh = a_mesh()
    mesh.settle()
    mesh.send([a_hit("history"), a_hit("h2", NOON + MINUTE)])
    mesh.stream()
    mesh.runner.flush()
    books = replace(bookkeeping_of(mesh.stores), dirty=SettlesMeanwhile(mesh))  # type: ignore[arg-type]  # reads marks only
    found = read_ledger(books, SITE)
    assert (found.imbalance, classes(day_of(found))) == (0, (4, 2, 1, 0))


def test_a_hit_that_was_lost_behind_the_acknowledgement_is_missed() -> None:
    mesh = a_mesh()
    found = ledger_of(mesh)
    mesh.settle()
    kept = mesh.stores.generations.ledger(SITE, DAY, DAY + 1)[DAY]
    lost = replace(kept, accepted=kept.accepted - 1, counted=kept.counted - 1)
    entries = mesh.stores.generations.current(SITE, 0, 10**6)
    seen = site_ledger(mesh.stores.ledger.read(SITE), entries, {DAY: lost}, [])
    assert found.imbalance == 0
    assert seen.imbalance == 1


def inspection_of(mesh: SmallMesh, hit_id: str, date: str) -> list[tuple[int, int, int | None]]:
    """For each copy of a hit, return the verdict, the number of hits in the visit, and the generation."""
    stores = mesh.stores
    found = inspect_hit(
        InspectStores(
            directory=stores.directory,
            raw=stores.raw,
            rejected=stores.rejected,
            generations=stores.generations,
            claims=stores.claims,
            progress=stores.progress,
            clock=mesh.clock,
            streams=stores.streams,
            open_reads=True,
        ),
        pb.TraceHitRequest(site=SITE, hit_id=hit_id, first_utc_date=a_date(date), last_utc_date=a_date(date)),
    )
    return [
        (copy.verdict, copy.visit.hits, copy.generation if copy.HasField("generation") else None)
        for copy in found.copies
    ]


def test_traces_agree_with_the_ledger_before_and_after_settlement() -> None:
    mesh = a_mesh()
    counted, duplicate, pending = pb.HIT_VERDICT_COUNTED, pb.HIT_VERDICT_DUPLICATE, pb.HIT_VERDICT_PENDING
    date = "2024-10-04"
    assert inspection_of(mesh, "h1", date) == [(counted, 2, None), (duplicate, 0, None)]
    assert inspection_of(mesh, "bot", date) == [(pb.HIT_VERDICT_EXCLUDED, 1, None)]
    assert inspection_of(mesh, "late", date) == [(counted, 0, None)]
    mesh.settle()
    generation = mesh.stores.generations.current(SITE, DAY, DAY + 1)[DAY].generation
    assert inspection_of(mesh, "late", date) == [(counted, 1, generation)]
    mesh.send([a_hit("history")])
    mesh.stream()
    assert SiteDay(SITE, DAY) in {dirty_day.site_day for dirty_day in mesh.stores.dirty.pending(SITE)}
    assert inspection_of(mesh, "history", date) == [(pending, 0, generation)]
