"""Request a change of a reprocessing's state, such as its publication.

While a request runs, the settler and other callers may change the same reprocessing.

A request replaces the stored reprocessing in a conditional write. If the stored value has changed since the request
read it, the request starts again. A request is refused if some of its site-days belong to another open reprocessing. A
rollback or a repeated publication is also refused if a later publication changed the same site-days. If two callers
open overlapping reprocessings at the same moment, each call finds the other reprocessing, and at least one call
withdraws its request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from control.backend import Backend
from control.rpc.reprocessing.damage import note_damage
from control.rpc.reprocessing.messages import reprocessing_message
from control.rpc.reprocessing.names import id_of, not_found
from control.rpc.reprocessing.speed import measured_speed
from control.rpc.reprocessing.transitions import is_requested_or_done, refuse_conflict, requested
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.errors import RefusedError, Unavailable
from hitmesh.model.reprocessings import OPEN_STATES, Reprocessing, Work
from hitmesh.ports import Reprocessings

_ATTEMPTS: Final = 5


def answer_request(backend: Backend, caller: Caller | None, name: str, work: Work) -> pb.Reprocessing:
    """Request work on a reprocessing for the caller, and return the reprocessing as a message.

    Raises:
        NotFound: the reprocessing does not exist.
        RefusedError: the name is invalid, the state does not allow the work (WRONG_STATE), or the work conflicts with
            another reprocessing of the same site-days (REPROCESSING_CONFLICT).
        Unavailable: other callers or the settler changed the value at every attempt.
    """
    id_ = id_of(name)
    stored = backend.bookkeeping().reprocessings
    found = request_work(stored, id_, work, backend.clock.now)
    return reprocessing_message(found, backend.clock.now(), measured_speed(stored.all(note_damage)))


def request_work(stored: Reprocessings, id_: str, work: Work, now: Callable[[], int]) -> Reprocessing:
    """Return the reprocessing with the requested work.

    If the work is already requested or done, the reprocessing is unchanged.
    """
    for _ in range(_ATTEMPTS):
        found = stored.get(id_)
        if found is None:
            raise not_found(f"reprocessings/{id_}")
        if is_requested_or_done(found, work):
            return found
        following = requested(found, work, now())
        is_opened = found.state not in OPEN_STATES and following.state in OPEN_STATES
        if is_opened:
            refuse_conflict(found, work, stored.all(note_damage))
        if stored.replace(following):
            return _kept(stored, found, following, work) if is_opened else following
    raise Unavailable("at every attempt, another caller or the settler changed the reprocessing first: call again")


def _kept(stored: Reprocessings, before: Reprocessing, following: Reprocessing, work: Work) -> Reprocessing:
    """Return the opened reprocessing, or raise if a conflicting reprocessing was opened or published in the meantime.

    Before the error is raised, the request is withdrawn. If the settler has already begun the work, the request
    remains, and no error is raised. A request that remains does no harm: the settler works on reprocessings in
    sequence, and withdraws work that would undo a later publication. The settler also recomputes site-days that another
    publication changed.
    """
    try:
        refuse_conflict(before, work, stored.all(note_damage))
    except RefusedError:
        if stored.replace(replace(before, version=following.version + 1)):
            raise
    return following
