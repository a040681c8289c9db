"""Several settlers with interleaved steps give the same rows as a single settler. The leases may end at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.reprocessings import State, Work
from hitmesh.model.zones import DAY_MS
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.reprocessor import Reprocessor
from processor.settle.lease_keeper import LeaseKeeper, LeasePace
from processor.settle.pace import SettlePace
from processor.settle.settler import Settler
from tests.generate.strategies import MIDNIGHT_MS, ref_hits
from tests.reference.hits import RefHit
from tests.reference.visits import V0
from tests.support.examples import examples
from tests.support.interleaved import Process
from tests.support.reprocessing import SMALL_PORTIONS, imbalance, plan, request, stored
from tests.support.small_mesh import PARTITIONS, SmallMesh, differences, expected_rows, settler_stores

SITES = ("merchants/demo/sites/alpha", "merchants/demo/sites/beta")
LATER = MIDNIGHT_MS + 100 * DAY_MS
PACE = LeasePace(length_ms=1_000, much_site_days=1)
INTENT_MS = 5_000  # no settler of these tests pauses for 5 s between two calls
MAX_ROUNDS = 4_000


class Settling:
    """Several settlers that share the stores of a mesh.

    A settler's local clock stands still between two renewals, so the settler may treat an expired lease as valid. If a
    real process is suspended between a lease check and a write, the process also treats an expired lease as valid.
    """

    def __init__(self, mesh: SmallMesh, dice: Random, count: int, pace: ReprocessPace = SMALL_PORTIONS) -> None:
        self.mesh, self._dice, self._number, self._pace = mesh, dice, 0, pace
        self._keepers: dict[str, LeaseKeeper] = {}
        self._seen: dict[str, int] = {}  # the time that each settler last read from the clock
        self.processes = [self._a_process(f"settler-{number}") for number in range(count)]

    def step(self) -> None:
        """Take a random step: a settler makes calls or renews leases, time passes, or a settler is replaced."""
        process = self._dice.choice(self.processes)
        match self._dice.randrange(20):
            case 0:
                self.mesh.clock.advance(self._dice.choice((1, PACE.turn_ms, PACE.length_ms + 1)))
            case 1 | 2 | 3:
                self._renew(process)
            case 4 if self._dice.randrange(4) == 0:
                process.kill()
                self.processes.remove(process)
                name = process.name if self._dice.randrange(2) else f"again-{self._number}"
                self.processes.append(self._a_process(name))
            case _:
                process.move(self._dice.choice((1, 1, 2, 3, 5, 30)))

    def until(self, is_over: Callable[[], bool]) -> None:
        """Let all settlers work until `is_over` returns true."""
        for _ in range(MAX_ROUNDS):
            if is_over():
                return
            self.mesh.clock.advance(50)
            for process in self.processes:
                if self._dice.randrange(4) == 0:
                    self._renew(process)
                process.move(40)
        raise AssertionError(f"the settlers do not end: {self.mesh.stores.dirty.take(5, 10**6)}, {self.held()}")

    def held(self) -> dict[str, frozenset[int]]:
        """Return the buckets that each running settler leases."""
        return {process.name: self._keepers[process.name].buckets() for process in self.processes}

    def _renew(self, process: Process) -> None:
        self._seen[process.name] = self.mesh.clock.now()
        self._keepers[process.name].turn()

    def _a_process(self, name: str) -> Process:
        self._number += 1
        mesh, marks = self.mesh, 10 * self._number
        stands_still = self._dice.randrange(2) == 0
        keeper = LeaseKeeper(
            mesh.stores.leases, name, PACE, lambda: self._seen.get(name, 0) if stands_still else mesh.clock.now()
        )
        self._keepers[name] = keeper

        def work(process: Process) -> Callable[[], object]:
            stores = process.views(settler_stores(mesh.stores))
            reprocessings = process.view(mesh.stores.reprocessings)
            wave = self._dice.choice((1, 2, 64))
            pace = SettlePace(
                resettle_after_ms=0,
                pass_ms=10**9,
                intent_ms=INTENT_MS,
                wave_site_days=wave,
                keep_superseded_ms=0,
                sort_site_days=self._dice.choice((1, 64)),
                sorted_ms=self._dice.choice((100, 10**9)),
            )
            settler = Settler(stores, mesh.clock, pace, marks=marks, share=keeper)
            reprocessor = Reprocessor(stores, reprocessings, mesh.clock, self._pace, marks=marks + 1, share=keeper)
            return lambda: (settler.run_once(), reprocessor.run_once())

        return Process(name, work)


@contextmanager
def settling(mesh: SmallMesh, dice: Random, count: int, pace: ReprocessPace = SMALL_PORTIONS) -> Iterator[Settling]:
    several = Settling(mesh, dice, count, pace)
    try:
        yield several
    finally:
        for process in several.processes:
            process.kill()


def send_some(mesh: SmallMesh, left: list[RefHit], dice: Random) -> list[RefHit]:
    """Send some of the hits to a random partition, and return the other hits."""
    size = dice.randint(1, 10)
    mesh.send(left[:size], dice.randrange(PARTITIONS), collected_at=LATER - dice.choice((0, 0, DAY_MS)))
    mesh.heartbeat()
    mesh.stream()
    return left[size:]


def is_clean(mesh: SmallMesh) -> bool:
    return not mesh.stores.dirty.take(1, 10**6)


def interleaved(several: Settling, hits: Sequence[RefHit], dice: Random) -> None:
    """Send the hits while the settlers work, and then let the settlers finish."""
    left = list(hits)
    for _ in range(60):
        if left and dice.randrange(4) == 0:
            left = send_some(several.mesh, left, dice)
        several.step()
    while left:
        left = send_some(several.mesh, left, dice)
    several.until(lambda: is_clean(several.mesh))


@pytest.mark.timeout(120)
@examples(12)
@given(ref_hits(), st.integers(2, 3), st.integers(0, 2**16))
def test_interleaved_settlers_publish_the_rows_of_the_reference(hits: list[RefHit], count: int, seed: int) -> None:
    mesh, dice = SmallMesh(LATER, sites=SITES), Random(seed)
    with settling(mesh, dice, count) as several:
        interleaved(several, hits, dice)
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert imbalance(mesh) == 0


@pytest.mark.timeout(120)
@examples(8)
@given(ref_hits(), st.integers(2, 3), st.integers(0, 2**16))
def test_interleaved_settlers_reprocess_to_the_rows_of_the_reference(hits: list[RefHit], count: int, seed: int) -> None:
    mesh, dice = SmallMesh(LATER, sites=SITES), Random(seed)
    site_days = sorted({(hit.site, hit.event_time // DAY_MS) for hit in hits})
    mesh.send([RefHit(site, "base", f"base-{day}", day * DAY_MS + DAY_MS // 2) for site, day in site_days])
    mesh.settle()
    plan(mesh, SITES)
    works = (Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK, Work.PUBLISH)
    with settling(mesh, dice, count) as several:
        for work, part in zip(works, (hits[::4], hits[1::4], hits[2::4], hits[3::4]), strict=True):
            request(mesh, work)
            interleaved(several, part, dice)
            several.until(lambda: stored(mesh).state is not State.RUNNING and is_clean(mesh))
            assert stored(mesh).state is not State.FAILED, stored(mesh).error
    by_day = dict.fromkeys(site_days, V0)
    assert differences(mesh.rows(), expected_rows(mesh.sent, by_day=by_day)) == []
    assert imbalance(mesh) == 0
