"""Test an erasure while a stream is suspended, an erasure in portions, and the erasure of refusals without a site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.erasures import Receipt, visitor_digest
from hitmesh.model.keys import visitor_key
from hitmesh.model.names import OPERATORS
from hitmesh.model.positions import Position, Topic
from hitmesh.model.reasons import HitReason
from hitmesh.model.records import Origin, Record, RecordKind, RejectedHit
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.rows.columns import HITS_COLUMNS, REJECTED_COLUMNS, pack_record, unpack_record
from hitmesh.model.sites import IngestKey, KeyKind
from tests.reference.visits import V1
from tests.support.erasing import (
    MAX_TURNS,
    PACE,
    a_settler,
    erasing_reprocessor,
    key_of,
    plan_erasure,
    small_portions,
    turns,
    without,
)
from tests.support.reprocessing import done, imbalance, request, stored
from tests.support.small_mesh import SmallMesh, differences, expected_rows, runner_over
from tests.unit.settling import DAY, NOON, SITE, a_hit, an_order

AT = Position("rejected.1", 0, 1)
ORIGIN = Origin("b", 0, "", 1, True, False, b"context", NOON, 0, True)


class Suspended:
    """A port of a process that is suspended just before its first `put`.

    During the suspension, other processes work.
    """

    def __init__(self, port: Any, meanwhile: Callable[[], None]) -> None:
        self._port = port
        self._meanwhile: Callable[[], None] | None = meanwhile

    def put(self, values: Any) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        self._port.put(values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def begin(mesh: SmallMesh, digests: list[str] | None = None) -> None:
    """Plan and recompute an erasure of visitor v, then request the publication of the erasure."""
    plan_erasure(mesh, SITE, "v", digests=digests)
    done(mesh, Work.RECOMPUTE, "e")
    request(mesh, Work.PUBLISH, "e")


def test_a_stream_that_slept_through_an_erasure_takes_its_window_back() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4), a_hit(5, "w")])
    mesh.settle()
    live = [replace(a_hit(0, who, f"live-{who}"), event_time=mesh.clock.now() - 1_000) for who in ("v", "w")]
    collision = replace(live[0], page_path="/other")
    mesh.send([*live, a_hit(9, hit_id="history"), an_order(30, "o"), collision])
    begin(mesh)
    receipts: list[Receipt] = []

    def erase_meanwhile() -> None:
        receipts.append(turns(mesh, erasing_reprocessor(mesh), is_streaming=False))

    suspended: Any = Suspended(mesh.stores.raw, erase_meanwhile)
    mesh.runner.close()
    home = mesh._home  # the new runner uses the directory of the old runner
    mesh.runner = runner_over(replace(mesh.stores, raw=suspended), home, mesh.clock)
    mesh.stream()
    assert [receipt.hits for receipt in receipts] == [1]
    rows = [unpack_record(each.value, HITS_COLUMNS) for each in mesh.stores.raw.scan(SITE, DAY - 1, DAY + 9)]
    assert key_of("v") not in {key for each in rows for key in each.select("visitor_hi", "visitor_lo").iter_rows()}
    assert list(mesh.stores.claims.of(SITE, ["o"])) == []
    assert [(each.reason, each.hit_id, each.message) for each in mesh.stores.rejected.recent(SITE, 9)] == [
        (HitReason.ID_COLLISION, "", "")
    ]
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == []
    assert imbalance(mesh) == 0


def test_a_rewritten_record_keeps_no_exact_event_time() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4), a_hit(600, "w"), a_hit(1_300)])
    mesh.settle()
    begin(mesh)
    turns(mesh, erasing_reprocessor(mesh))
    (raw,) = mesh.stores.raw.scan(SITE, DAY, DAY + 1)
    logged = mesh.stores.log_eraser.record(raw.position)
    assert logged is not None
    times = (DAY * 86_400_000, DAY * 86_400_000 + 600 * 60_000)
    assert (raw.min_event_time, raw.max_event_time) == times
    assert (logged.record.min_event_time, logged.record.max_event_time) == times


def a_refusal(row: int, site: str, origin: Origin | None) -> RejectedHit:
    original = hit_pb2.Hit(visitor_id="v-id").SerializeToString()
    return RejectedHit(AT, row, site, NOON, "UNKNOWN_KEY", "", "why", "id", 1, original, origin)


def digests_of(mesh: SmallMesh) -> list[str]:
    """Return the digests of the visitor whose id is v-id."""
    site = mesh.stores.directory.site(SITE)
    assert site is not None
    return [visitor_digest(mesh.stores.directory.mesh_secret(), SITE, visitor_key(site.secret, "visitor", "v-id"))]


def test_a_refusal_without_a_site_keeps_its_bytes_if_the_key_is_another_merchants() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    for key_id, merchant in (("k1", "merchants/m"), ("k2", "merchants/n"), ("k3", OPERATORS)):
        kind = KeyKind.OPERATOR if merchant == OPERATORS else KeyKind.SERVER
        mesh.stores.directory.create_key(IngestKey(key_id, merchant, kind), f"secret of {key_id}")
    key_ids = ["", "k1", "k2", "k3"]
    origins = [None, *(replace(ORIGIN, key_id=key_id) for key_id in key_ids)]
    mesh.stores.rejected.put([a_refusal(row, "", origin) for row, origin in enumerate(origins)])
    mesh.clock.advance(1)
    begin(mesh, digests_of(mesh))
    assert turns(mesh, erasing_reprocessor(mesh)).refusals == 4
    kept = [hit.origin.key_id for hit in mesh.stores.rejected.recent("", 9) if hit.origin is not None and hit.original]
    assert kept == ["k2"]


def test_carries_and_refusals_are_cleaned_in_portions() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4), a_hit(1_436), a_hit(1_444)])
    mesh.settle()
    mesh.stores.rejected.put([a_refusal(0, SITE, ORIGIN), a_refusal(1, "", ORIGIN)])
    begin(mesh, [*digests_of(mesh), visitor_digest(mesh.stores.directory.mesh_secret(), SITE, key_of("v"))])
    reprocessor, settler = erasing_reprocessor(mesh, small_portions()), a_settler(mesh)
    seen = []
    for _ in range(MAX_TURNS):
        if stored(mesh, "e").state is State.ERASED:
            break
        mesh.clock.advance(1_000)
        settler.run_once()
        reprocessor.run_once()
        receipt = Receipt.from_text(stored(mesh, "e").receipt)
        seen.append((receipt.carries, receipt.refusals))
    assert list(dict.fromkeys(seen)) == [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]


def log_refusal(mesh: SmallMesh) -> None:
    """Append to the log a record with a refused hit of the visitor whose id is v-id."""
    refused = a_refusal(0, SITE, None)
    values = {"site": SITE, "collect_time": NOON, "reason": "INVALID_FIELD", "original": refused.original, "hits": 1}
    rows = pl.DataFrame([values], schema={name: REJECTED_COLUMNS[name] for name in values})
    mesh.stores.log.append(Topic.REJECTED, 0, Record(RecordKind.REJECTED, pack_record(rows), 1)).result()


def test_refusals_that_no_stream_has_stored_are_awaited_and_cleaned() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    log_refusal(mesh)
    mesh.clock.advance(1)
    begin(mesh, digests_of(mesh))
    reprocessor = erasing_reprocessor(mesh)
    for _ in range(20):
        mesh.clock.advance(1_000)
        reprocessor.run_once()
    assert stored(mesh, "e").state is State.RUNNING
    receipt = turns(mesh, reprocessor)
    assert (receipt.refusals, receipt.log_records) == (1, 1)
    assert [hit.original for hit in mesh.stores.rejected.recent(SITE, 9)] == [b""]


def test_refusals_that_a_collector_logs_shortly_after_the_marks_are_awaited_and_cleaned() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.stream()
    mesh.clock.advance(1)
    begin(mesh, digests_of(mesh))
    reprocessor = erasing_reprocessor(mesh, replace(PACE, marks_known_ms=60_000))
    reprocessor.run_once()
    mesh.clock.advance(30_000)
    log_refusal(mesh)
    for _ in range(20):
        mesh.clock.advance(10_000)
        reprocessor.run_once()
    assert stored(mesh, "e").state is State.RUNNING
    assert turns(mesh, reprocessor).refusals == 1
    assert [hit.original for hit in mesh.stores.rejected.recent(SITE, 9)] == [b""]


def test_an_id_collision_of_the_visitor_loses_its_texts() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4, who, f"{who}-twice") for who in ("v", "w")])
    mesh.send([replace(a_hit(4, who, f"{who}-twice"), page_path="/other") for who in ("v", "w")])
    mesh.settle()
    begin(mesh)
    assert turns(mesh, erasing_reprocessor(mesh)).refusals == 1
    kept = sorted((hit.hit_id, bool(hit.message)) for hit in mesh.stores.rejected.recent(SITE, 9))
    assert kept == [("", False), ("w-twice", True)]
