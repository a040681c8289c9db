"""Test reports, ledger and stores after the erasure of a visitor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hitmesh.adapters.factory import open_stores
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.erasures import visitor_digest
from hitmesh.model.keys import visitor_key
from hitmesh.model.logic import CURRENT
from hitmesh.model.plan import Kind
from hitmesh.model.positions import Position, Topic
from hitmesh.model.records import Origin, RejectedHit
from hitmesh.model.refusals import JSON_MARK
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from hitmesh.model.rows.erased_rows import is_erased
from hitmesh.model.sites import Site
from hitmesh.model.zones import DAY_MS
from processor.stream.live.snapshot import joined, unpacked
from tests.reference.visits import V1
from tests.support.erasing import PACE, erase, erasing_reprocessor, key_of, plan_erasure, turns, without
from tests.support.reprocessing import done, imbalance, plan, rebuilt, request, stored
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.settling import DAY, MINUTE, NOON, OTHER, SITE, a_hit, an_order


def a_mesh() -> SmallMesh:
    """Return a settled mesh.

    Visitor v has hits on two days, a visit over midnight, and an order. Visitor w later sends an order with the same
    id.
    """
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4), a_hit(20), a_hit(5, "w"), an_order(30, "o"), a_hit(1_436), a_hit(1_444)])
    mesh.send([an_order(3_000, "o", "w"), a_hit(40, "u")], partition=1)
    mesh.settle()
    return mesh


def test_reports_after_an_erasure_are_the_reports_of_the_traffic_without_the_visitor() -> None:
    mesh = a_mesh()
    receipt = erase(mesh, SITE, "v")
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == []
    assert imbalance(mesh) == 0
    assert (receipt.hits, receipt.raw_records, receipt.claims, receipt.site_days) == (5, 1, 1, 2)
    assert receipt.proven_at > 0
    assert (receipt.pending, receipt.log_until) == ((), 0)


def test_the_difference_shows_the_days_of_the_visitor_and_keeps_accepted_hits() -> None:
    mesh = a_mesh()
    plan_erasure(mesh, SITE, "v")
    assert done(mesh, Work.RECOMPUTE, "e").state is State.DIFF_READY
    found = rebuilt(mesh, "e")
    assert [each.site_day.day for each in found] == [DAY, DAY + 1]
    assert [(each.before.ledger.accepted, each.after.ledger.accepted) for each in found] == [(6, 6), (1, 1)]
    assert [each.after.ledger.erased for each in found] == [4, 1]
    assert found[0].changes["hits"].new == found[0].changes["hits"].old - 4
    assert differences(mesh.rows(), expected_rows(mesh.sent, V1)) == []


def test_an_order_that_the_visitor_won_goes_to_the_next_claim() -> None:
    mesh = a_mesh()
    erase(mesh, SITE, "v")
    mesh.settle()
    (claim,) = mesh.stores.claims.of(SITE, ["o"])
    assert (claim.visitor_hi, claim.visitor_lo) == key_of("w")
    assert sum(row.get("orders", 0) for row in mesh.rows().values() if "orders" in row) > 0


def test_no_store_holds_the_key_or_the_hits_afterwards() -> None:
    mesh = a_mesh()
    mesh.runner.snapshot()
    erase(mesh, SITE, "v")
    for record in mesh.stores.raw.scan(SITE, DAY - 1, DAY + 9):
        rows = unpack_record(record.value, HITS_COLUMNS)
        logged = mesh.stores.log_eraser.record(record.position)
        assert logged is not None
        assert rows.equals(unpack_record(logged.record.value, HITS_COLUMNS))
        assert key_of("v") not in set(rows.select("visitor_hi", "visitor_lo").iter_rows())
        blank = rows.filter(is_erased())
        kept = {name for name in rows.columns if not set(blank[name].to_list()) <= {None, 0, ""}}
        assert kept <= {"site", "hit_hash", "event_time", "collect_time", "flags"}
    assert all(not each.changes for each in rebuilt(mesh, "e"))
    (mark,) = mesh.stores.erasures.of(SITE)
    assert f"{key_of('v')[0]:x}" not in mark.digest


def test_later_hits_of_the_visitor_are_accepted_and_earlier_hits_are_refused() -> None:
    mesh = a_mesh()
    erase(mesh, SITE, "v")
    until = stored(mesh, "e").created_at
    mesh.clock.advance(1_000)
    mesh.send([a_hit(7, hit_id="import"), a_hit(8, "w", hit_id="other")])  # hits of earlier days are imported
    later = replace(a_hit(0, hit_id="later"), event_time=mesh.clock.now())
    mesh.send([later])
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v", until), V1)) == []
    assert imbalance(mesh) == 0


def test_hits_on_a_day_that_is_not_closed_disappear_when_the_day_is_settled() -> None:
    mesh = a_mesh()
    now = mesh.clock.now()
    live = [replace(a_hit(0, who, hit_id=f"live-{who}"), event_time=now - 1_000) for who in ("v", "w")]
    mesh.send(live)
    mesh.stream()
    mesh.runner.snapshot()
    receipt = erase(mesh, SITE, "v")
    assert receipt.open_days == (now // DAY_MS,)
    assert imbalance(mesh) == 0
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == []
    assert imbalance(mesh) == 0


def test_a_replay_of_the_whole_log_brings_no_erased_hit_back() -> None:
    mesh = a_mesh()
    erase(mesh, SITE, "v")
    # The new store of snapshots is empty.
    mesh.stores = replace(mesh.stores, states=open_stores("memory:", mesh.clock).states)
    mesh.restart()
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == []
    assert imbalance(mesh) == 0


def test_a_repair_and_a_rollback_of_other_days_bring_no_erased_hit_back() -> None:
    mesh = a_mesh()
    plan(mesh, [SITE], id_="before")
    for work in (Work.RECOMPUTE, Work.PUBLISH):
        done(mesh, work, "before")
    erase(mesh, SITE, "v")
    done(mesh, Work.ROLL_BACK, "before")
    mesh.settle()
    plan(mesh, [SITE], kind=Kind.REPAIR, id_="after")
    for work in (Work.RECOMPUTE, Work.PUBLISH):
        done(mesh, work, "after")
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == []
    assert imbalance(mesh) == 0


def test_an_erasure_is_not_proven_while_late_writes_bring_the_hits_back() -> None:
    mesh = a_mesh()
    whole = list(mesh.stores.raw.scan(SITE, DAY - 1, DAY + 9))
    plan_erasure(mesh, SITE, "v")
    done(mesh, Work.RECOMPUTE, "e")
    request(mesh, Work.PUBLISH, "e")
    reprocessor = erasing_reprocessor(mesh, replace(PACE, marks_known_ms=5_000))
    for waits_ms in (1, 5_000, 1):
        mesh.clock.advance(waits_ms)
        reprocessor.run_once()
        mesh.stores.raw.restore(whole)  # a delayed write of the raw records arrives
    turns(mesh, reprocessor)
    rows = [unpack_record(each.value, HITS_COLUMNS) for each in mesh.stores.raw.scan(SITE, DAY - 1, DAY + 9)]
    assert key_of("v") not in {key for each in rows for key in each.select("visitor_hi", "visitor_lo").iter_rows()}


def test_an_erasure_of_another_site_changes_nothing() -> None:
    mesh = a_mesh()
    mesh.stores.directory.create_site(Site(OTHER, "UTC", "USD", b"another secret.."))
    receipt = erase(mesh, OTHER, "v")
    assert (receipt.hits, receipt.claims, receipt.site_days) == (0, 0, 0)
    assert differences(mesh.rows(), expected_rows(mesh.sent, V1)) == []


def test_refusals_of_the_visitor_lose_their_bytes_and_refusals_of_others_keep_them() -> None:
    mesh = a_mesh()
    site = mesh.stores.directory.site(SITE)
    assert site is not None
    originals = [
        hit_pb2.Hit(visitor_id="v-id").SerializeToString(),
        hit_pb2.HitBatch(hits=[hit_pb2.Hit(user_id="v-id")]).SerializeToString(),
        hit_pb2.Hit(visitor_id="other").SerializeToString(),
        b"\xff garbage",
        JSON_MARK + b'{"visitorId":"other","user_id":"\\ud800"}',
        JSON_MARK + b'{"hits":[{"visitorId":"other"},{"user_id":"v-id"}]}',
        JSON_MARK + b'{"visitorId":"v-id","page":{}}',
        JSON_MARK + b'{"visitorId":"oth',
    ]
    origin = Origin("b", 0, "k", 1, True, False, b"context", NOON, 0, True)
    others = (2, 4)
    mesh.stores.rejected.put(
        [
            RejectedHit(
                Position("rejected.1", 0, 1), row, SITE, NOON, "INVALID_FIELD", "", "why", "id", 1, original, origin
            )
            for row, original in enumerate(originals)
        ]
    )
    digests = [
        visitor_digest(mesh.stores.directory.mesh_secret(), SITE, visitor_key(site.secret, kind, "v-id"))
        for kind in ("visitor", "user")
    ]
    plan_erasure(mesh, SITE, "v", digests=digests)
    done(mesh, Work.RECOMPUTE, "e")
    request(mesh, Work.PUBLISH, "e")
    assert turns(mesh, erasing_reprocessor(mesh)).refusals == 6
    refusals = mesh.stores.rejected.recent(SITE, 9)
    kept = {hit.row: (hit.original, hit.message, hit.hit_id, hit.origin) for hit in refusals}
    assert kept == {
        row: (original, "why", "id", origin) if row in others else (b"", "", "", None)
        for row, original in enumerate(originals)
    }
    assert sum(mesh.stores.rejected.counts(SITE, NOON // DAY_MS).values()) == 8


def visitors_in_raw(mesh: SmallMesh) -> set[tuple[int, int]]:
    """Return the visitor keys that the raw records of the site contain."""
    records = mesh.stores.raw.scan(SITE, DAY - 1, DAY + 9)
    rows = [unpack_record(record.value, HITS_COLUMNS) for record in records]
    return {key for each in rows for key in each.select("visitor_hi", "visitor_lo").iter_rows()}


def test_a_running_stream_learns_an_erasure_that_was_planned_long_before_a_published_erasure() -> None:
    mesh = a_mesh()
    plan_erasure(mesh, SITE, "v", "early")
    mesh.clock.advance(3_600_000)
    erase(mesh, SITE, "u", "late")
    done(mesh, Work.RECOMPUTE, "early")
    request(mesh, Work.PUBLISH, "early")
    turns(mesh, erasing_reprocessor(mesh), "early")
    mesh.clock.advance(60_000)
    mesh.send([a_hit(7, hit_id="import"), a_hit(8, "w", hit_id="other")])
    mesh.stream()
    assert visitors_in_raw(mesh) == {(0, 0), key_of("w")}


def pinned_hits(mesh: SmallMesh) -> int:
    """Return the number of hits that snapshots keep for long visits without a page view."""
    partitions = mesh.stores.progress.progress(Topic.HITS)
    found = [stored for each in partitions if (stored := mesh.stores.states.load(each, CURRENT.number)) is not None]
    return sum(unpacked(joined(chunks))["pinned"].height for _, chunks in found)


def test_hits_of_a_long_visit_without_a_view_leave_the_snapshots() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    for number in range(9):
        mesh.clock.advance(20 * MINUTE)
        beat = replace(a_hit(0, hit_id=f"beat-{number}"), type="EVENT", event_name="beat", page_path=None)
        mesh.send([replace(beat, event_time=mesh.clock.now())])
        mesh.stream()
    mesh.runner.snapshot()
    assert pinned_hits(mesh) > 0
    erase(mesh, SITE, "v")
    mesh.runner.snapshot()
    assert pinned_hits(mesh) == 0


def test_a_damaged_carry_in_a_reprocessing_is_emptied_because_the_visitor_may_be_in_the_carry() -> None:
    mesh = a_mesh()
    plan(mesh, [SITE])
    for work in (Work.RECOMPUTE, Work.PUBLISH):
        done(mesh, work)
    first, *others = rebuilt(mesh)
    damaged = replace(first, after=replace(first.after, carry=b"HMC damaged"))
    mesh.stores.reprocessings.put("r", [damaged, *others])
    erase(mesh, SITE, "v")
    assert rebuilt(mesh)[0].after.carry == b""


class KeptLog:
    """A log eraser for a log that cannot change records and keeps each record for a day."""

    def __init__(self, eraser: Any) -> None:
        self._eraser = eraser

    def record(self, position: Position) -> None:
        return None

    def kept_until(self, log_time: int) -> int:
        return log_time + DAY_MS

    def __getattr__(self, name: str) -> Any:
        return getattr(self._eraser, name)


def test_the_receipt_states_until_when_a_log_that_cannot_change_records_keeps_the_hits() -> None:
    mesh = a_mesh()
    newest = max(hit.position[0] for hit in mesh.sent if hit.visitor == "v")
    kept: Any = KeptLog(mesh.stores.log_eraser)
    mesh.stores = replace(mesh.stores, log_eraser=kept)
    assert erase(mesh, SITE, "v").log_until == newest + DAY_MS
