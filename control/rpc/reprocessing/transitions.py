"""Decide whether work can be requested in a state, and return the changed reprocessing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from control.rpc.reprocessing.names import name_of
from hitmesh.model.errors import RefusedError
from hitmesh.model.plan import KEEP_PLAN_DAYS, KEEP_REPLACED_DAYS, Kind
from hitmesh.model.publication_order import must_be_newest, published_after
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import AFTER_FAILURE, OPEN_STATES, REQUESTABLE, Reprocessing, State, Work, next_state
from hitmesh.model.zones import DAY_MS

_COMMANDS: Final = {
    Work.RECOMPUTE: "run",
    Work.PUBLISH: "publish",
    Work.ROLL_BACK: "rollback",
    Work.CANCEL: "cancel",
}
"""For each kind of work, the subcommand of `hitmesh reprocess` that requests the work; used in messages."""
_READABLE: Final = (State.DIFF_READY, State.PUBLISHED, State.ROLLED_BACK)


def expires_at(reprocessing: Reprocessing) -> int:
    """Return the time in UTC ms from which a plan can no longer be run."""
    return reprocessing.created_at + KEEP_PLAN_DAYS * DAY_MS


def state_at(reprocessing: Reprocessing, now: int) -> State:
    """Return the stored state, or EXPIRED for a plan that is too old to run."""
    is_expired = reprocessing.state is State.PLANNED and now >= expires_at(reprocessing)
    return State.EXPIRED if is_expired else reprocessing.state


def is_requested_or_done(reprocessing: Reprocessing, work: Work) -> bool:
    """Return whether the work is already requested or done.

    If the work is already requested or done, a repeated request changes nothing.
    """
    is_requested = reprocessing.state is State.RUNNING and reprocessing.work is work
    return is_requested or reprocessing.state is next_state(reprocessing.kind, work)


def requested(reprocessing: Reprocessing, work: Work, now: int) -> Reprocessing:
    """Return the next version of a reprocessing, in which the work is requested.

    A plan is cancelled at once. A repeated request for failed work continues from the recorded progress.

    Raises:
        RefusedError: the work cannot be requested in this state (WRONG_STATE).
    """
    state = state_at(reprocessing, now)
    if not _is_requestable(reprocessing, state, work):
        raise _wrong_state(reprocessing, state, work)
    following = replace(reprocessing, updated_at=now, error="", version=reprocessing.version + 1)
    if state is State.PLANNED and work is Work.CANCEL:
        return replace(following, state=State.CANCELLED, work=None)
    parts = tuple(part for part in reprocessing.parts if part.work is work and part.is_finished)
    done = reprocessing.done if reprocessing.work is work else 0
    begun_at = reprocessing.begun_at if state is State.FAILED else 0
    return replace(following, state=State.RUNNING, work=work, done=done, parts=parts, begun_at=begun_at)


def conflicting(reprocessing: Reprocessing, stored: Iterable[Reprocessing]) -> Sequence[Reprocessing]:
    """Return the other open reprocessings of the same or adjacent site-days, the oldest first.

    Adjacent days matter: if a changed visit continues into the day after the plan, the settler also recomputes that
    day.
    """
    others = (other for other in stored if other.id != reprocessing.id and other.state in OPEN_STATES)
    return sorted(filter(reprocessing.touches, others), key=lambda other: (other.created_at, other.id))


def conflict(reprocessing: Reprocessing, first: Reprocessing) -> RefusedError:
    """Return the error for a reprocessing whose site-days belong to another open reprocessing."""
    other, state = name_of(first.id), first.state.name
    how = "shares site-days with" if reprocessing.overlaps(first) else "has days adjacent to those of"
    return RefusedError(
        f"{name_of(reprocessing.id)} {how} {other}, which is {state}: finish or cancel {other} first",
        field="name",
        reason=ErrorReason.REPROCESSING_CONFLICT,
        value=name_of(reprocessing.id),
        reprocessing=other,
        state=state,
    )


def newer_conflict(reprocessing: Reprocessing, newer: Reprocessing) -> RefusedError:
    """Return the error for work that would undo a later publication of the same site-days."""
    other = name_of(newer.id)
    return RefusedError(
        f"{name_of(reprocessing.id)} shares site-days with {other}, which was published later: roll {other} back first",
        field="name",
        reason=ErrorReason.REPROCESSING_CONFLICT,
        value=name_of(reprocessing.id),
        reprocessing=other,
        state=newer.state.name,
    )


def refuse_conflict(reprocessing: Reprocessing, work: Work, stored: Sequence[Reprocessing]) -> None:
    """Refuse work that would open a reprocessing in conflict with another reprocessing of the same site-days.

    Raises:
        RefusedError: another reprocessing is open, or was published later and is still PUBLISHED.
    """
    others = conflicting(reprocessing, stored)
    if others:
        raise conflict(reprocessing, others[0])
    newer = published_after(reprocessing, stored) if must_be_newest(reprocessing, work) else None
    if newer is not None:
        raise newer_conflict(reprocessing, newer)


def _is_requestable(reprocessing: Reprocessing, state: State, work: Work) -> bool:
    if state is State.FAILED:
        return work in _after_failure(reprocessing)
    if state is State.RUNNING and reprocessing.work is not Work.RECOMPUTE:
        return False
    return state in REQUESTABLE[work]


def _after_failure(reprocessing: Reprocessing) -> frozenset[Work]:
    """Return the kinds of work that can be requested after a failure.

    If the publication of an erasure failed, only the publication can be requested again. If the stored value names no
    failed work, only CANCEL can be requested: it drops unpublished generations only, and it ends the reprocessing,
    which would otherwise block every other reprocessing of the same site-days.
    """
    works = AFTER_FAILURE[reprocessing.work or Work.CANCEL]
    return works - {Work.ROLL_BACK} if reprocessing.kind is Kind.ERASE else works


def _command(work: Work, reprocessing: Reprocessing) -> str:
    return f"`hitmesh reprocess {_COMMANDS[work]} {reprocessing.id}`"


def _next_command(reprocessing: Reprocessing, state: State) -> str:
    """Return the commands that are possible in a state, as part of a message."""
    possible = [_command(each, reprocessing) for each in Work if state in REQUESTABLE[each]]
    return f"possible now: {' or '.join(possible)}" if possible else "make another plan: `hitmesh reprocess plan`"


def _wrong_state(reprocessing: Reprocessing, state: State, work: Work) -> RefusedError:
    name, wanted = name_of(reprocessing.id), work.name
    states = ", ".join(each.name for each in State if each in REQUESTABLE[work])
    if state is State.FAILED:
        commands = " or ".join(_command(each, reprocessing) for each in Work if each in _after_failure(reprocessing))
        rule = f"after the failure only {commands} is possible"
        if reprocessing.work is None:
            rule = (
                f"the failed work is not recorded, so the reprocessing cannot go on; only {commands} is possible, and "
                "then another plan (`hitmesh reprocess plan`)"
            )
    elif state is State.ERASED:
        rule = "the visitor's hits are removed from all stores, so no further work is possible"
    elif reprocessing.kind is Kind.ERASE and state is State.RUNNING and reprocessing.work is Work.PUBLISH:
        rule = "removed hits cannot be restored, so a published erasure can only end as ERASED; wait for this state"
    elif state is State.RUNNING and reprocessing.work:
        running = _COMMANDS[reprocessing.work]
        rule = (
            f"the command {running} is still at work, and only a recomputation can be cancelled: wait for the end "
            "(`hitmesh reprocess status`)"
        )
    else:
        rule = f"{_COMMANDS[work]} is possible in {states}; {_next_command(reprocessing, state)}"
    return RefusedError(
        f"{name} is {state.name}: {rule}",
        field="name",
        reason=ErrorReason.WRONG_STATE,
        value=name,
        state=state.name,
        states=states,
        work=wanted,
    )


def refuse_unreadable(reprocessing: Reprocessing, now: int) -> None:
    """Raise unless every site-day is recomputed, and all new generations still exist.

    Raises:
        RefusedError: the difference cannot be read in this state (WRONG_STATE).
    """
    state = state_at(reprocessing, now)
    is_moving = state in (State.RUNNING, State.FAILED) and reprocessing.work in (Work.PUBLISH, Work.ROLL_BACK)
    # An erasure's differences would still show the visitor's numbers, so the settler removes these differences.
    is_moving &= reprocessing.kind is not Kind.ERASE
    if is_moving or state in _READABLE:
        return
    name, states = name_of(reprocessing.id), ", ".join(each.name for each in _READABLE)
    raise RefusedError(
        f"{name} is {state.name}: a difference can be read only in {states}",
        field="name",
        reason=ErrorReason.WRONG_STATE,
        value=name,
        state=state.name,
        states=states,
    )


def refuse_without_rows(reprocessing: Reprocessing, published: Iterable[int], now: int, field: str) -> None:
    """Raise if the rows of a replaced generation may have been removed.

    Replaced rows are kept for a limited time.

    If a site-day's current entry is older than the reprocessing, no rows of the site-day were replaced, so the rows of
    both generations are stored.

    Args:
        reprocessing: the reprocessing.
        published: the time in UTC ms at which each compared site-day's current entry was published.
        now: the current time in UTC ms.
        field: the field of the request that needs the rows.

    Raises:
        RefusedError: the time for which replaced rows are kept has passed (WRONG_STATE).
    """
    kept_from = now - KEEP_REPLACED_DAYS * DAY_MS
    count = sum(reprocessing.created_at <= at <= kept_from for at in published)
    if count and reprocessing.state is not State.DIFF_READY:
        name = name_of(reprocessing.id)
        site_days = "1 site-day was" if count == 1 else f"{count:,} site-days were"
        raise RefusedError(
            f"{name} is {reprocessing.state.name}, and {site_days} replaced {KEEP_REPLACED_DAYS} or more days ago, so "
            f"the replaced rows are removed: leave {field} out, or select other days",
            field=field,
            reason=ErrorReason.WRONG_STATE,
            value=name,
            state=reprocessing.state.name,
            days=KEEP_REPLACED_DAYS,
            count=count,
        )
