"""Erasures on a small mesh. Tests plan an erasure as the control service does. The reprocessor runs the erasure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hitmesh.model.erasures import Receipt, visitor_digest
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Reprocessing, State, Work
from hitmesh.model.zones import DAY_MS
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.reprocessor import Reprocessor
from processor.settle.pace import SettlePace
from processor.settle.settler import Settler
from tests.reference.hits import RefHit, hash64
from tests.support.reprocessing import done, request, stored
from tests.support.small_mesh import SmallMesh, settler_stores

PACE = ReprocessPace(marks_known_ms=0, proof_wait_ms=0, blanked_records=1)
MAX_TURNS = 200


def key_of(visitor: str) -> tuple[int, int]:
    """Return the visitor key that a small mesh stores for a visitor's hits."""
    return hash64("high", visitor), hash64("low", visitor)


def plan_erasure(
    mesh: SmallMesh, site: str, visitor: str, id_: str = "e", digests: Sequence[str] | None = None
) -> None:
    """Store a plan to erase a visitor's hits up to the current time.

    If `digests` are given, they replace the visitor's digest.
    """
    now = mesh.clock.now()
    digest = visitor_digest(mesh.stores.directory.mesh_secret(), site, key_of(visitor))
    planned = Reprocessing(
        id_, Kind.ERASE, "v1", (site,), 0, now // DAY_MS, now, now, visitors=tuple(digests or (digest,))
    )
    mesh.stores.reprocessings.create(planned)


def a_settler(mesh: SmallMesh) -> Settler:
    """Return a settler that removes rows as soon as they are replaced."""
    pace = SettlePace(resettle_after_ms=0, pass_ms=10**9, intent_ms=10, keep_superseded_ms=0)
    return Settler(settler_stores(mesh.stores), mesh.clock, pace, marks=5)


def turns(mesh: SmallMesh, reprocessor: Reprocessor, id_: str = "e", *, is_streaming: bool = True) -> Receipt:
    """Let stream, settler and reprocessor work in turns until the erasure is complete, and return its receipt."""
    settler = a_settler(mesh)
    for _ in range(MAX_TURNS):
        mesh.clock.advance(1_000)
        if is_streaming:
            mesh.runner.step(0.0)
        settler.run_once()
        reprocessor.run_once()
        if stored(mesh, id_).state is not State.RUNNING:
            break
    found = stored(mesh, id_)
    assert found.state is State.ERASED, found
    return Receipt.from_text(found.receipt)


def erase(mesh: SmallMesh, site: str, visitor: str, id_: str = "e") -> Receipt:
    """Plan, recompute and publish an erasure, wait until it is complete, and return its receipt."""
    plan_erasure(mesh, site, visitor, id_)
    done(mesh, Work.RECOMPUTE, id_)
    request(mesh, Work.PUBLISH, id_)
    return turns(mesh, erasing_reprocessor(mesh), id_)


def erasing_reprocessor(mesh: SmallMesh, pace: ReprocessPace = PACE) -> Reprocessor:
    """Return a new reprocessor, as after a restart of the process."""
    return Reprocessor(settler_stores(mesh.stores), mesh.stores.reprocessings, mesh.clock, pace, marks=7)


def without(hits: Iterable[RefHit], visitor: str, until: int = 1 << 60) -> Sequence[RefHit]:
    """Return the hits, except the visitor's hits before `until`."""
    return [hit for hit in hits if hit.visitor != visitor or hit.event_time >= until]


def small_portions(pace: ReprocessPace = PACE) -> ReprocessPace:
    """Return a pace with which each portion, page and wave contains a single site-day."""
    return replace(pace, portion_ms=-1, page_site_days=1, wave_site_days=1, unavailable_ms=0)
