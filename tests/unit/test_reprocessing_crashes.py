"""Test that if the reprocessor crashes at any effect, a restart repeats work but gives the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest

from hitmesh.model.errors import Unavailable
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.sites import SiteDay
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.reprocessor import Reprocessor
from processor.settle.stores import SettlerStores
from tests.reference.visits import V0 as V0_RULES
from tests.reference.visits import V1
from tests.support.reprocessing import (
    SMALL_PORTIONS,
    done,
    imbalance,
    plan,
    rebuilt,
    reprocessor_of,
    request,
    stored,
    work_off,
)
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.unit.settling import DAY, NOON, SITE, TOMORROW, a_hit, an_order
from tests.unit.test_reprocessing_missing_hits import lose_raw_hits

EFFECTS = ("begin", "write", "put_settled", "mark", "publish", "restore", "set_duplicates", "put", "replace", "drop")
MANY = 100
THEN: dict[Work, list[Work]] = {
    Work.RECOMPUTE: [Work.PUBLISH, Work.ROLL_BACK],
    Work.PUBLISH: [Work.ROLL_BACK],
    Work.ROLL_BACK: [Work.PUBLISH],
}
"""For each kind of work, the requests that a test makes after the work is complete.

The later requests show that both generations can still be published.
"""


class Crash(BaseException):
    """The simulated end of the process.

    The class derives from BaseException, so that no `except Exception` catches the error.
    """


def unavailable() -> Unavailable:
    return Unavailable("the store does not answer")


Error = Callable[[], BaseException]


class Failing:
    """A port that raises an error before or after the n-th effect. Effects are counted over all ports."""

    def __init__(self, port: object, countdown: Iterator[int], error: Error, *, after: bool) -> None:
        self._port, self._countdown, self._error, self._after = port, countdown, error, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._effect(found) if name in EFFECTS else found

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._port(*arguments, **named)  # type: ignore[operator]  # called only if the port is a function

    def _effect(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            last = next(self._countdown) == 0
            if last and not self._after:
                raise self._error()
            result = effect(*arguments, **named)
            if last:
                raise self._error()
            return result

        return run


def failing(mesh: SmallMesh, effects: int, error: Error, *, after: bool) -> Reprocessor:
    """Return a reprocessor whose n-th effect fails."""
    countdown = iter(range(effects, -(10**6), -1))
    stores = settler_stores(mesh.stores)
    ports: dict[str, Any] = {
        port.name: Failing(getattr(stores, port.name), countdown, error, after=after) for port in fields(stores)
    }
    reprocessings: Any = Failing(mesh.stores.reprocessings, countdown, error, after=after)
    return Reprocessor(SettlerStores(**ports), reprocessings, mesh.clock, SMALL_PORTIONS, marks=8)


def a_mesh(before: Work) -> SmallMesh:
    """Return a mesh just before the given work.

    Late hits change an order, a duplicate flag, and the open visits of two days.
    """
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(4), a_hit(20), a_hit(1_436), a_hit(1_442), an_order(1_500, "o", "w"), a_hit(2_900)])
    mesh.settle()
    plan(mesh, [SITE])
    for work in (Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK):
        if work is before:
            break
        done(mesh, work)
    mesh.send([an_order(21, "o", hit_id="v-20"), a_hit(1_438), an_order(2_910, "o", "u")])
    mesh.heartbeat()
    mesh.stream()
    return mesh


def work_with_error(mesh: SmallMesh, reprocessor: Reprocessor) -> bool:
    """Run portions until the work is done or an error occurs. Return whether an error occurred."""
    try:
        while stored(mesh).state is State.RUNNING:
            mesh.clock.advance(1)
            reprocessor.run_once()
    except (Crash, Unavailable):
        return True
    return False


@dataclass(frozen=True)
class Variant:
    """A way in which work on a reprocessing fails.

    `after` tells whether the error comes after the effect. If `settles` is true, the settler settles all dirty days
    after the error.
    """

    error: Error
    after: bool
    settles: bool


VARIANTS = tuple(
    Variant(error, after, settles)
    for settles in (True, False)
    for error, after in ((Crash, False), (unavailable, True))
)


def fails_at(work: Work, effects: int, variant: Variant) -> bool:
    """Run the work with an error at the n-th effect, and check all reports. Return whether there was an error."""
    mesh = a_mesh(work)
    request(mesh, work)
    reprocessor = failing(mesh, effects, variant.error, after=variant.after)
    failed = work_with_error(mesh, reprocessor)
    where = f"{work} with an error at effect {effects}"
    assert imbalance(mesh) == 0, where
    if variant.settles:
        mesh.settle()
    if stored(mesh).state is State.RUNNING:
        work_off(mesh, reprocessor if variant.error is unavailable else reprocessor_of(mesh, SMALL_PORTIONS))
    for then in [work, *THEN[work]]:
        if then is not work:
            done(mesh, then)
        assert imbalance(mesh) == 0, where
        mesh.settle()
        policy = V0_RULES if then is Work.PUBLISH else V1
        assert differences(mesh.rows(), expected_rows(mesh.sent, policy)) == [], f"{where}, after {then}"
    assert {(each.before.logic, each.after.logic) for each in rebuilt(mesh)} == {(2, 0)}, where
    return failed


@pytest.mark.parametrize("work", [Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK])
@pytest.mark.timeout(120)
def test_error_at_an_effect_changes_no_report(work: Work) -> None:
    effects = 0
    while fails_at(work, effects, VARIANTS[effects % len(VARIANTS)]):
        effects += 3
        assert effects < MANY, "the work never ends"


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("work", [Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK])
@pytest.mark.timeout(300)
def test_error_at_any_effect_changes_no_report(work: Work, variant: Variant) -> None:
    effects = 0
    while fails_at(work, effects, variant):
        effects += 1
        assert effects < MANY, "the work never ends"


def test_disturbed_days_are_marked_again_after_an_error_between_publication_and_flags() -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send([a_hit(1_436)])
    mesh.send([a_hit(1_444)])
    mesh.settle()
    plan(mesh, [SITE], (DAY, DAY + 1))
    scan = lose_raw_hits(mesh, TOMORROW)  # because hits are lost, the reprocessing leaves the next day to the settler
    done(mesh, Work.RECOMPUTE)
    mesh.stores.raw.scan = scan  # type: ignore[method-assign]  # the records are restored
    request(mesh, Work.PUBLISH)
    # The calls `replace`, `mark` and `publish` take effect. The crash comes before the call `put`.
    reprocessor = failing(mesh, 3, Crash, after=False)
    assert work_with_error(mesh, reprocessor)
    (marked,) = mesh.stores.dirty.take(9, 10**6)
    mesh.stores.dirty.clear(marked)
    work_off(mesh, reprocessor_of(mesh))
    assert [again.site_day for again in mesh.stores.dirty.take(9, 10**6)] == [marked.site_day]


def test_reprocessing_backs_off_while_its_rows_are_not_readable_and_then_goes_on() -> None:
    mesh = a_mesh(Work.RECOMPUTE)
    request(mesh, Work.RECOMPUTE)
    pace = ReprocessPace()
    reprocessor = reprocessor_of(mesh, pace)
    ingested = mesh.stores.sink.ingested

    def never(site_day: SiteDay, generation: int) -> bool:
        mesh.clock.advance(15_500)  # the second look is beyond the deadline
        return False

    mesh.stores.sink.ingested = never  # type: ignore[method-assign]  # a metric store that does not ingest
    for delay_s in (15, 30, 60, 120, 240, 480, 480):
        began = mesh.clock.now()
        with pytest.raises(Unavailable, match="not readable"):
            reprocessor.run_once()
        assert mesh.clock.now() - began <= 1_000 * (pace.ingest_timeout_s + 2)
        mesh.clock.advance(1_000 * delay_s - 1)
        assert reprocessor.run_once() == 0
        mesh.clock.advance(1)
    mesh.stores.sink.ingested = ingested  # type: ignore[method-assign]  # the metric store ingests again
    assert work_off(mesh, reprocessor).state is State.DIFF_READY
