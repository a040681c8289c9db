"""Several settlers erase visitors of two sites from shared raw records. The settlers' leases may end at any time."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.erasures import Receipt
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from hitmesh.model.zones import DAY_MS
from tests.generate.strategies import MIDNIGHT_MS, ref_hits
from tests.property.test_settlers_in_parallel import LATER, SITES, is_clean, settling
from tests.reference.hits import RefHit
from tests.support.erasing import key_of, plan_erasure, small_portions
from tests.support.examples import examples
from tests.support.reprocessing import done, imbalance, request, stored
from tests.support.small_mesh import SmallMesh, differences, expected_rows

STEPS = 80
ERASED = {site: f"erased-{number}" for number, site in enumerate(SITES)}


@pytest.mark.timeout(120)
@examples(8)
@given(ref_hits(), st.integers(2, 3), st.integers(0, 2**16))
def test_interleaved_settlers_erase_every_hit_and_count_each_hit_once(
    hits: list[RefHit], count: int, seed: int
) -> None:
    mesh, dice = SmallMesh(LATER, sites=SITES), Random(seed)
    of_erased = [
        RefHit(site, visitor, f"{visitor}-{day}", MIDNIGHT_MS + day * DAY_MS + 40_000)
        for site, visitor in ERASED.items()
        for day in range(2)
    ]
    mesh.send(of_erased)  # one record contains hits of both sites
    mesh.send(hits)
    mesh.settle()
    for site, visitor in ERASED.items():
        plan_erasure(mesh, site, visitor, id_of(site))
        done(mesh, Work.RECOMPUTE, id_of(site))
        request(mesh, Work.PUBLISH, id_of(site))
    with settling(mesh, dice, count, small_portions()) as several:
        for _ in range(STEPS):
            several.step()
            if dice.randrange(8) == 0:
                mesh.runner.step(0.0)
        several.until(lambda: are_erased(mesh))
    for site in SITES:
        receipt = Receipt.from_text(stored(mesh, id_of(site)).receipt)
        assert (receipt.hits, receipt.raw_records, receipt.pending) == (2, 1, ())
    assert keys_in_raw(mesh).isdisjoint(map(key_of, ERASED.values()))
    left = [hit for hit in mesh.sent if hit.visitor not in ERASED.values()]
    assert differences(mesh.rows(), expected_rows(left)) == []
    assert imbalance(mesh) == 0


def id_of(site: str) -> str:
    return site[-4:]


def are_erased(mesh: SmallMesh) -> bool:
    """Let the stream erase the visitors. Return whether both erasures are complete and no dirty day is left."""
    mesh.clock.advance(50)
    mesh.runner.step(0.0)
    both = [stored(mesh, id_of(site)) for site in SITES]
    assert {each.state for each in both} <= {State.RUNNING, State.ERASED}, [each.error for each in both]
    return is_clean(mesh) and all(each.state is State.ERASED for each in both)


def keys_in_raw(mesh: SmallMesh) -> set[tuple[int, int]]:
    return {
        key
        for site in SITES
        for record in mesh.stores.raw.scan(site, 0, 10**6)
        for key in unpack_record(record.value, HITS_COLUMNS).select("visitor_hi", "visitor_lo").iter_rows()
    }
