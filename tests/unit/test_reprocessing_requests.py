"""Test requests for work on a reprocessing: states, races, conflicts, and the speed that plans assume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from control.rpc.reprocessing.requests import request_work
from control.rpc.reprocessing.scope import days_of
from control.rpc.reprocessing.speed import Speed, measured_speed, plan_for
from control.rpc.reprocessing.transitions import is_requested_or_done, requested, state_at
from hitmesh.adapters.factory import open_stores
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.errors import NotFound, RefusedError, Unavailable
from hitmesh.model.plan import HIT_US, SITE_DAY_MS, Kind
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import NEXT_STATE, REQUESTABLE, OnDamage, Reprocessing, State, Work
from hitmesh.ports import Reprocessings
from tests.support.clock import ManualClock
from tests.support.dates import a_date
from tests.support.rebuilt_days import UTC_DAY, a_reprocessing
from tests.support.settled_rows import DAY, SITE

BLOG = "merchants/demo/sites/blog"


@pytest.fixture
def stored() -> Reprocessings:
    return open_stores("memory:", ManualClock(0)).reprocessings


def ask(stored: Reprocessings, work: Work, id_: str = "r1", now: int = 5) -> Reprocessing:
    return request_work(stored, id_, work, lambda: now)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("work", Work)
def test_a_work_can_be_requested_in_its_states_and_in_no_other(state: State, work: Work) -> None:
    in_hand = {State.FAILED: work, State.RUNNING: Work.RECOMPUTE}.get(state)
    before = a_reprocessing(state=state, work=in_hand, done=3, error="why", version=7)
    if state not in REQUESTABLE[work]:
        with pytest.raises(RefusedError) as caught:
            requested(before, work, 5)
        assert caught.value.reason is ErrorReason.WRONG_STATE
        assert caught.value.variables["state"] == state.name
        assert caught.value.variables["states"] == ", ".join(each.name for each in State if each in REQUESTABLE[work])
        return
    after = requested(before, work, 5)
    assert (after.version, after.updated_at, after.error) == (8, 5, "")
    if (state, work) == (State.PLANNED, Work.CANCEL):
        assert (after.state, after.work) == (State.CANCELLED, None)
    else:
        assert (after.state, after.work) == (State.RUNNING, work)
        assert after.done == (3 if state is State.FAILED else 0)


COMMANDS = {Work.RECOMPUTE: "run", Work.PUBLISH: "publish", Work.ROLL_BACK: "rollback", Work.CANCEL: "cancel"}


@pytest.mark.parametrize(
    ("failed", "possible"),
    [
        (Work.RECOMPUTE, {Work.RECOMPUTE, Work.CANCEL}),
        (Work.PUBLISH, {Work.PUBLISH, Work.ROLL_BACK}),
        (Work.ROLL_BACK, {Work.ROLL_BACK, Work.PUBLISH}),
        (Work.CANCEL, {Work.CANCEL}),
    ],
)
def test_after_a_failure_the_same_work_goes_on_or_is_undone(failed: Work, possible: set[Work]) -> None:
    before = a_reprocessing(state=State.FAILED, work=failed, done=3)
    for work in Work:
        if work in possible:
            after = requested(before, work, 5)
            assert (after.state, after.work, after.done) == (State.RUNNING, work, 3 if work is failed else 0)
        else:
            with pytest.raises(RefusedError, match=f"after the failure only .*reprocess {COMMANDS[failed]}"):
                requested(before, work, 5)


@pytest.mark.parametrize("kind", [Kind.LOGIC, Kind.ERASE])
def test_a_failure_without_a_recorded_work_can_only_be_cancelled(kind: Kind) -> None:
    before = a_reprocessing(state=State.FAILED, work=None, kind=kind)
    for work in (Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK):
        with pytest.raises(RefusedError) as caught:
            requested(before, work, 5)
        assert caught.value.message == (
            "reprocessings/r1 is FAILED: the failed work is not recorded, so the reprocessing cannot go on; only "
            "`hitmesh reprocess cancel r1` is possible, and then another plan (`hitmesh reprocess plan`)"
        )
    assert (requested(before, Work.CANCEL, 5).state, requested(before, Work.CANCEL, 5).work) == (
        State.RUNNING,
        Work.CANCEL,
    )


@pytest.mark.parametrize("running", Work)
def test_only_a_recomputation_is_cancelled_while_it_runs(stored: Reprocessings, running: Work) -> None:
    stored.create(before := a_reprocessing(state=State.RUNNING, work=running, done=3, version=1))
    for work in Work:
        if work is running:
            continue
        if (running, work) == (Work.RECOMPUTE, Work.CANCEL):
            found = ask(stored, work)
            assert (found.state, found.work, found.done, found.version) == (State.RUNNING, Work.CANCEL, 0, 2)
            return
        with pytest.raises(RefusedError, match=f"the command {COMMANDS[running]} is still at work") as caught:
            ask(stored, work)
        assert caught.value.reason is ErrorReason.WRONG_STATE
        assert stored.get("r1") == before


@pytest.mark.parametrize("work", [Work.CANCEL, Work.ROLL_BACK])
def test_an_erasure_that_runs_its_publication_ends_as_erased(stored: Reprocessings, work: Work) -> None:
    erasing = a_reprocessing(kind=Kind.ERASE, state=State.RUNNING, work=Work.PUBLISH, done=3, version=1)
    stored.create(erasing)
    with pytest.raises(RefusedError, match="a published erasure can only end as ERASED; wait for this state") as caught:
        ask(stored, work)
    assert caught.value.reason is ErrorReason.WRONG_STATE
    assert stored.get("r1") == erasing


def test_the_settler_loses_its_next_replacement_once_its_work_is_cancelled(stored: Reprocessings) -> None:
    stored.create(running := a_reprocessing(state=State.RUNNING, work=Work.RECOMPUTE, version=1))
    cancelled = ask(stored, Work.CANCEL)
    assert not stored.replace(replace(running, done=1, version=2))
    assert stored.get("r1") == cancelled


@pytest.mark.parametrize("work", Work)
def test_a_work_that_is_requested_or_done_is_not_requested_again(stored: Reprocessings, work: Work) -> None:
    for at, value in enumerate(
        (a_reprocessing(state=State.RUNNING, work=work), a_reprocessing(state=NEXT_STATE[work]))
    ):
        assert is_requested_or_done(value, work)
        named = replace(value, id=f"r{at}")
        stored.create(named)
        assert ask(stored, work, named.id) == named
        assert stored.get(named.id) == named


def test_a_plan_expires_after_seven_days(stored: Reprocessings) -> None:
    plan = a_reprocessing(created_at=1_000)
    assert state_at(plan, 1_000 + 7 * DAY - 1) is State.PLANNED
    assert state_at(plan, 1_000 + 7 * DAY) is State.EXPIRED
    assert state_at(replace(plan, state=State.DIFF_READY), 1_000 + 7 * DAY) is State.DIFF_READY
    stored.create(plan)
    with pytest.raises(RefusedError, match="r1 is EXPIRED: run is possible in PLANNED, FAILED; make another plan"):
        ask(stored, Work.RECOMPUTE, now=1_000 + 7 * DAY)


def test_a_reprocessing_that_does_not_exist_is_not_found(stored: Reprocessings) -> None:
    with pytest.raises(NotFound, match="reprocessings/r9"):
        ask(stored, Work.RECOMPUTE, "r9")


@pytest.mark.parametrize(
    ("state", "sites", "days", "conflicts"),
    [
        (State.RUNNING, (SITE,), (UTC_DAY, UTC_DAY + 1), True),
        (State.DIFF_READY, (BLOG, SITE), (UTC_DAY - 3, UTC_DAY + 1), True),
        (State.FAILED, (SITE,), (UTC_DAY, UTC_DAY + 9), True),
        (State.PLANNED, (SITE,), (UTC_DAY, UTC_DAY + 1), False),
        (State.PUBLISHED, (SITE,), (UTC_DAY, UTC_DAY + 1), False),
        (State.DIFF_READY, (BLOG,), (UTC_DAY, UTC_DAY + 1), False),
        (State.DIFF_READY, (SITE,), (UTC_DAY + 1, UTC_DAY + 2), True),
        (State.DIFF_READY, (SITE,), (UTC_DAY + 2, UTC_DAY + 3), False),
    ],
)
@pytest.mark.parametrize(
    ("before", "work"),
    [(State.PLANNED, Work.RECOMPUTE), (State.PUBLISHED, Work.ROLL_BACK), (State.ROLLED_BACK, Work.PUBLISH)],
)
def test_an_open_reprocessing_excludes_others_of_its_site_days_and_is_named(
    stored: Reprocessings,
    state: State,
    sites: tuple[str, ...],
    days: tuple[int, int],
    conflicts: bool,
    before: State,
    work: Work,
) -> None:
    stored.create(a_reprocessing("first", state=state, sites=sites, days=days))
    stored.create(a_reprocessing("r1", state=before))
    if not conflicts:
        assert ask(stored, work).state is State.RUNNING
        return
    with pytest.raises(RefusedError) as caught:
        ask(stored, work)
    assert caught.value.reason is ErrorReason.REPROCESSING_CONFLICT
    assert caught.value.variables["reprocessing"] == "reprocessings/first"
    assert f"which is {state.name}: finish or cancel reprocessings/first first" in caught.value.message
    found = stored.get("r1")
    assert found is not None
    assert found.state is before


def test_an_open_reprocessing_is_published_while_others_of_its_site_days_are_planned(stored: Reprocessings) -> None:
    stored.create(a_reprocessing("r1", state=State.DIFF_READY))
    stored.create(a_reprocessing("r2"))
    assert ask(stored, Work.PUBLISH).state is State.RUNNING


@dataclass
class Racing:
    """A store of reprocessings. Just before each of the first `acts` replacements, a rival changes the stored value."""

    stored: Reprocessings
    rival: Reprocessing
    acts: int = 1

    def __getattr__(self, name: str) -> object:
        return getattr(self.stored, name)

    def replace(self, reprocessing: Reprocessing) -> bool:
        """Replace a value, after the rival has stored the next version."""
        if self.acts:
            self.acts -= 1
            self.rival = replace(self.rival, version=self.rival.version + 1)
            assert self.stored.replace(self.rival)
        return self.stored.replace(reprocessing)

    def all(self, on_damage: OnDamage | None = None) -> Sequence[Reprocessing]:
        """Return all reprocessings."""
        return self.stored.all(on_damage)


def racing(stored: Reprocessings, rival: Reprocessing, acts: int = 1) -> Reprocessings:
    return Racing(stored, rival, acts)  # type: ignore[return-value]  # the other methods come from `stored`


def test_a_lost_race_is_repeated_from_the_changed_value(stored: Reprocessings) -> None:
    stored.create(plan := a_reprocessing())
    found = ask(racing(stored, replace(plan, hits=9)), Work.RECOMPUTE)
    assert (found.state, found.hits, found.version) == (State.RUNNING, 9, 3)
    assert stored.get("r1") == found


def test_a_race_that_is_lost_to_the_same_request_is_no_error(stored: Reprocessings) -> None:
    stored.create(plan := a_reprocessing())
    twin = replace(plan, state=State.RUNNING, work=Work.RECOMPUTE)
    assert ask(racing(stored, twin), Work.RECOMPUTE) == replace(twin, version=2)


def test_a_race_that_is_lost_every_time_ends(stored: Reprocessings) -> None:
    stored.create(plan := a_reprocessing())
    with pytest.raises(Unavailable, match="call again"):
        ask(racing(stored, plan, acts=99), Work.RECOMPUTE)


def test_of_two_that_are_opened_at_the_same_moment_the_later_is_taken_back(stored: Reprocessings) -> None:
    stored.create(plan := a_reprocessing("r1"))
    stored.create(rival := a_reprocessing("r2"))
    opened = replace(rival, state=State.RUNNING, work=Work.RECOMPUTE)
    with pytest.raises(RefusedError, match="reprocessings/r2"):
        ask(racing(stored, opened), Work.RECOMPUTE)
    found, other = stored.get("r1"), stored.get("r2")
    assert found == replace(plan, version=3)
    assert other is not None
    assert other.state is State.RUNNING


def test_a_plan_is_estimated_with_the_speed_of_the_newest_measured_reprocessing() -> None:
    assert measured_speed([]) == Speed(HIT_US, SITE_DAY_MS)
    slow = a_reprocessing(hits=1_000_000, site_days=2, recompute_ms=8_120)  # estimated 4,060 ms
    short = a_reprocessing(hits=1_000_000, site_days=2, recompute_ms=900)
    unknown = a_reprocessing(hits=1_000_000, site_days=2)
    speed = measured_speed([unknown, short, slow, a_reprocessing(hits=1, site_days=1, recompute_ms=5_000)])
    assert speed == pytest.approx((2 * HIT_US, 2 * SITE_DAY_MS))
    assert plan_for(unknown, speed).seconds == pytest.approx(8.12)


@pytest.mark.parametrize("log_times", [(), (0,), (30 * DAY, 0)])
def test_no_day_is_closed_while_a_partition_has_no_log_time(log_times: tuple[int, ...]) -> None:
    progress = {PartitionId("hits", at): PartitionProgress(0, log_time) for at, log_time in enumerate(log_times)}
    wanted = pb.Reprocessing(first_utc_date=a_date("1970-01-01"), last_utc_date=a_date("1970-01-01"))
    with pytest.raises(RefusedError, match=r"1970-01-01 is not closed, .*: no day is closed yet") as caught:
        days_of(wanted, progress)
    assert caught.value.metadata() == {"field": "reprocessing.last_utc_date", "value": "1970-01-01"}
