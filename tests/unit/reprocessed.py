"""Shared code of the tests of reprocessings: settled days, late hits, and work in small portions."""

from __future__ import annotations

from hitmesh.model.generations import GenerationEntry
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.sites import SiteDay
from tests.reference.hits import RefHit
from tests.support.reprocessing import SMALL_PORTIONS, reprocessor_of, request, stored
from tests.support.small_mesh import SmallMesh
from tests.unit.settling import DAY, SITE, TODAY, TOMORROW, a_hit, a_mesh

# Under v1, each day has one visit with both of its hits. Under v0, a visit ends after 3 minutes, so each day has two
# visits.
HITS = [a_hit(10), a_hit(20), a_hit(1_500), a_hit(1_510), a_hit(3_000), a_hit(3_010)]
DAYS = [TODAY, TOMORROW, SiteDay(SITE, DAY + 2)]


def a_settled_mesh(*more: RefHit) -> SmallMesh:
    """Return a mesh whose days are settled under v1."""
    mesh = a_mesh(*HITS, *more)
    mesh.settle()
    return mesh


def entries(mesh: SmallMesh) -> dict[int, GenerationEntry]:
    """Return the current generation entries by day."""
    return dict(mesh.stores.generations.current(SITE, 0, 10**6))


def logics(mesh: SmallMesh) -> list[int]:
    """Return the logic number that each current entry stores, in the order of days."""
    return [entry.logic_version for entry in entries(mesh).values()]


def arrive(mesh: SmallMesh, *hits: RefHit) -> None:
    """Send late hits and let the stream process them, without a pass of the settler."""
    mesh.send(hits)
    mesh.heartbeat()
    mesh.stream()


def in_small_portions(mesh: SmallMesh, work: Work) -> None:
    """Run the work with a new reprocessor for each site-day, as if the reprocessor's process had been restarted."""
    request(mesh, work)
    while stored(mesh).state is State.RUNNING:
        reprocessor_of(mesh, SMALL_PORTIONS).run_once()


def flags_of(mesh: SmallMesh, order_id: str) -> list[bool]:
    """Return the flag `duplicate` of each claim on an order, in log order."""
    return [claim.duplicate for claim in mesh.stores.claims.of(SITE, [order_id])]
