"""Compare reprocessings with the reference while hits of the same days arrive (P10, P11 and P12 in rules.md §10)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.reprocessings import State, Work
from hitmesh.model.zones import DAY_MS
from tests.generate.strategies import MIDNIGHT_MS, ref_hits
from tests.reference.hits import RefHit
from tests.reference.visits import V0
from tests.support.examples import examples
from tests.support.reprocessing import (
    SMALL_PORTIONS,
    done,
    imbalance,
    plan,
    rebuilt,
    reprocessor_of,
    request,
    stored,
)
from tests.support.small_mesh import PARTITIONS, SmallMesh, differences, expected_rows

SITES = ("merchants/demo/sites/alpha", "merchants/demo/sites/beta")
LATER = MIDNIGHT_MS + 100 * DAY_MS
"""A log time at which the days of all hits are closed. Each hit therefore arrives after its day has closed."""


def a_mesh(hits: Sequence[RefHit]) -> SmallMesh:
    """Return a mesh in which each site-day of the given hits has one other hit and is settled."""
    mesh = SmallMesh(LATER, sites=SITES)
    site_days = sorted({(hit.site, hit.event_time // DAY_MS) for hit in hits})
    mesh.send([RefHit(site, "base", f"base-{day}", day * DAY_MS + DAY_MS // 2) for site, day in site_days])
    mesh.settle()
    return mesh


def send(mesh: SmallMesh, hits: Sequence[RefHit], dice: Random) -> None:
    """Send hits in records of random size to random partitions, and let the stream process the hits."""
    while hits:
        size = dice.randint(1, 20)
        mesh.send(hits[:size], dice.randrange(PARTITIONS), collected_at=LATER - dice.choice((0, 0, DAY_MS)))
        hits = hits[size:]
    mesh.heartbeat()
    mesh.stream()


def some_days(hits: Sequence[RefHit], dice: Random) -> tuple[int, int]:
    """Return a random range that begins and ends on days of the hits, or the range of all these days."""
    days = sorted({hit.event_time // DAY_MS for hit in hits} or {0})
    first, last = sorted(dice.choices(days, k=2)) if dice.randrange(2) else (days[0], days[-1])
    return first, last + 1


@pytest.mark.timeout(120)
@examples(6)
@given(ref_hits(), st.integers(0, 2**16))
def test_works_lead_to_the_rows_of_the_reference_while_hits_arrive(hits: list[RefHit], seed: int) -> None:
    mesh, dice = a_mesh(hits), Random(seed)
    days = some_days(hits, dice)
    plan(mesh, SITES, days)
    under_v0 = {(site, day): V0 for site in SITES for day in range(*days)}
    left = list(hits)
    for work in (Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK, Work.PUBLISH):
        request(mesh, work)
        reprocessor = reprocessor_of(mesh, SMALL_PORTIONS)
        while stored(mesh).state is State.RUNNING:
            mesh.clock.advance(1)
            match dice.randrange(8):
                case 0:
                    size = dice.randint(1, 10)
                    send(mesh, left[:size], dice)
                    left = left[size:]
                case 1:
                    mesh.settler.run_once()
                case 2:
                    reprocessor = reprocessor_of(mesh, SMALL_PORTIONS)
                case _:
                    reprocessor.run_once()
            assert imbalance(mesh) == 0
        if dice.randrange(2):
            mesh.settle()
            by_day = under_v0 if work is Work.PUBLISH else {}
            assert differences(mesh.rows(), expected_rows(mesh.sent, by_day=by_day)) == []
    send(mesh, left, dice)
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent, by_day=under_v0)) == []
    assert imbalance(mesh) == 0


@pytest.mark.timeout(120)
@examples(6)
@given(ref_hits(), st.integers(0, 2**16))
def test_unchanged_logic_changes_nothing_and_a_rollback_gives_the_same_answers(hits: list[RefHit], seed: int) -> None:
    mesh = a_mesh(hits)
    send(mesh, hits, Random(seed))
    mesh.settle()
    rows, ledgers = mesh.rows(), mesh.ledgers()
    plan(mesh, SITES, logic="v1")
    done(mesh, Work.RECOMPUTE)
    assert all(change.old == change.new for each in rebuilt(mesh) for change in each.changes.values())
    for work in (Work.PUBLISH, Work.ROLL_BACK, Work.PUBLISH):
        done(mesh, work)
        assert (mesh.rows(), mesh.ledgers()) == (rows, ledgers)
    assert not mesh.stores.dirty.take(1, 10**6)
