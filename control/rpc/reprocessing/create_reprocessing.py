"""CreateReprocessing: store the plan of a reprocessing. The call changes no number in a report.

Limits: a request has at most 1,000 site names, which stand for at most 20,000 sites and 20,000 settled site-days. Every
day of a plan must be closed. If an erasure is only validated, the search for the visitor ends after about 2,000,000 raw
hits or 10 s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from control.backend import Backend
from control.rpc.reprocessing.damage import note_damage
from control.rpc.reprocessing.erasure import erased_site, erasure_scope, search_message, visitor_digests, visitor_keys
from control.rpc.reprocessing.messages import planned_message, reprocessing_message
from control.rpc.reprocessing.names import new_id
from control.rpc.reprocessing.scope import Scope, days_of, scope_of
from control.rpc.reprocessing.site_rules import with_site_rules
from control.rpc.reprocessing.speed import measured_speed
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.days import date_text
from hitmesh.model.errors import AlreadyExists, NotFound, RefusedError, Unavailable
from hitmesh.model.logic import CURRENT, logic_named
from hitmesh.model.plan import Kind
from hitmesh.model.positions import Topic
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import Reprocessing
from hitmesh.ports import Reprocessings

if TYPE_CHECKING:
    from control.history.visitor_search import SearchLimits

_KINDS: Final = {
    pb.REPROCESSING_KIND_LOGIC: Kind.LOGIC,
    pb.REPROCESSING_KIND_REPAIR: Kind.REPAIR,
    pb.REPROCESSING_KIND_RULES: Kind.RULES,
    pb.REPROCESSING_KIND_ERASE: Kind.ERASE,
}
_ATTEMPTS: Final = 5


def create_reprocessing(
    backend: Backend,
    caller: Caller | None,
    request: pb.CreateReprocessingRequest,
    checkpoint: Checkpoint,
    limits: SearchLimits | None = None,
) -> pb.CreateReprocessingResponse:
    """Return the reprocessing with its plan.

    Nothing is stored with `validate_only`, or if the caller has cancelled the call. With `validate_only`, the response
    to a request for an erasure also has the visitor's hits that a bounded search found.

    Raises:
        NotFound: a site does not exist, or a plan to store contains no settled day.
        RefusedError: a value is invalid, a day is not closed (DAY_NOT_CLOSED), or a limit is exceeded.
        StoreCorrupt: a raw record that the search reads is damaged.
        Abandoned: the caller left or the deadline passed. The checkpoint is called between reads, and before the plan
            is stored.
    """
    wanted = request.reprocessing
    kind = _kind_of(wanted)
    planned = _planned_erasure(backend, wanted) if kind is Kind.ERASE else _planned(backend, wanted, kind, checkpoint)
    reprocessings, now = backend.bookkeeping().reprocessings, planned.created_at
    speed = measured_speed(reprocessings.all(note_damage))
    if request.validate_only:
        return pb.CreateReprocessingResponse(
            reprocessing=planned_message(planned, speed),
            visitor_search=_searched(backend, planned, wanted, checkpoint, limits) if kind is Kind.ERASE else None,
        )
    if kind is not Kind.ERASE:
        _refuse_nothing(planned)
    checkpoint()
    stored = _stored(reprocessings, planned, backend)
    return pb.CreateReprocessingResponse(reprocessing=reprocessing_message(stored, now, speed))


def _planned(backend: Backend, wanted: pb.Reprocessing, kind: Kind, checkpoint: Checkpoint) -> Reprocessing:
    """Return the reprocessing of the requested sites and days, without an id."""
    if wanted.HasField("visitor"):
        raise RefusedError(
            "visitor is set, but only an erasure has a visitor: leave visitor out, or send REPROCESSING_KIND_ERASE",
            field="reprocessing.visitor",
        )
    logic = _logic_of(wanted, kind)
    books, now = backend.bookkeeping(), backend.clock.now()
    first_day, end_day = days_of(wanted, books.progress.progress(Topic.HITS))
    scope = scope_of(wanted.sites, first_day, end_day, backend.directory, books.generations, backend.limits, checkpoint)
    planned = _of_scope(kind, logic, scope, first_day, end_day, now)
    if kind is Kind.RULES:
        return with_site_rules(planned, backend.directory, books.generations, checkpoint)
    return planned


def _of_scope(kind: Kind, logic: str, scope: Scope, first_day: int, end_day: int, now: int) -> Reprocessing:
    return Reprocessing(
        id="",
        kind=kind,
        logic=logic,
        sites=scope.sites,
        first_day=first_day,
        end_day=end_day,
        created_at=now,
        updated_at=now,
        site_days=scope.site_days,
        hits=scope.hits,
    )


def _planned_erasure(backend: Backend, wanted: pb.Reprocessing) -> Reprocessing:
    """Return a reprocessing without an id that erases the visitor's hits up to the current time."""
    books, now = backend.bookkeeping(), backend.clock.now()
    site = erased_site(wanted, backend.directory)
    digests = visitor_digests(visitor_keys(wanted.visitor, site), site, backend.directory.mesh_secret())
    scope, first_day, end_day = erasure_scope(
        site.name, books.generations, books.progress.progress(Topic.HITS), backend.limits.site_days
    )
    return replace(_of_scope(Kind.ERASE, CURRENT.name, scope, first_day, end_day, now), visitors=digests)


def _searched(
    backend: Backend,
    planned: Reprocessing,
    wanted: pb.Reprocessing,
    checkpoint: Checkpoint,
    limits: SearchLimits | None,
) -> pb.VisitorSearch:
    """Return the visitor's raw hits that the planned erasure would remove, as far as the limits allow."""
    from control.history.visitor_search import SearchLimits, search_visitor  # loads Polars

    site = erased_site(wanted, backend.directory)
    found = search_visitor(
        backend.bookkeeping().raw,
        backend.clock,
        site.name,
        visitor_keys(wanted.visitor, site),
        planned.created_at,
        checkpoint,
        limits or SearchLimits(),
    )
    return search_message(found)


def _stored(reprocessings: Reprocessings, planned: Reprocessing, backend: Backend) -> Reprocessing:
    """Store the plan under a new id, and return the plan with the id."""
    for _ in range(_ATTEMPTS):
        named = replace(planned, id=new_id(planned.created_at, backend.new_token()))
        try:
            reprocessings.create(named)
        except AlreadyExists:
            continue
        return named
    raise Unavailable("every generated id of a reprocessing was in use: call again")


def _refuse_nothing(planned: Reprocessing) -> None:
    """Raise if no day of the plan is settled, because nothing would be recomputed."""
    if planned.site_days:
        return
    first, last = date_text(planned.first_day), date_text(planned.end_day - 1)
    raise NotFound(
        f"no UTC day of these sites from {first} to {last} is settled, so there is nothing to recompute: choose days "
        "that have hits and ended at least 26 hours ago",
        field="reprocessing.first_utc_date",
        first=first,
        last=last,
    )


def _kind_of(wanted: pb.Reprocessing) -> Kind:
    if wanted.kind not in _KINDS:
        raise RefusedError(
            "kind is missing: send REPROCESSING_KIND_LOGIC, _REPAIR, _RULES or _ERASE",
            field="reprocessing.kind",
            reason=ErrorReason.MISSING_FIELD,
        )
    return _KINDS[wanted.kind]


def _logic_of(wanted: pb.Reprocessing, kind: Kind) -> str:
    """Return the name of the requested version.

    If the request names no version, return the current version's name.
    """
    if not wanted.HasField("logic"):
        return CURRENT.name
    if kind is not Kind.LOGIC:
        raise RefusedError(
            f"logic {wanted.logic[:40]!r} is set, but only kind LOGIC changes the version: leave logic out",
            field="reprocessing.logic",
            value=wanted.logic,
        )
    try:
        return logic_named(wanted.logic).name
    except RefusedError as error:
        error.field = "reprocessing.logic"
        raise
