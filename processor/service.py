"""TraceHit reports where a hit is stored, and how the rules of the stream and of settlement count the hit.

The service authenticates the caller, finds the hit, gets the verdict on each copy from `inspect.fate`, and builds the
response. Only one hit is traced at a time. Many requests therefore cannot slow the stream down. A trace covers at most
31 days and the site's last 1,000 refusals. A trace reads the raw store twice, at most 50,000 records each time. A trace
stops after 10 s in total.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import grpc

from hitmesh.access.callers import TokenReader, caller_of
from hitmesh.access.checks import authorise, found_site
from hitmesh.api.control.v1 import trace_pb2 as pb
from hitmesh.api.control.v1 import trace_pb2_grpc
from hitmesh.model.cells import utc_day_of
from hitmesh.model.claims import ClaimKind
from hitmesh.model.days import date_text, day_message, day_of
from hitmesh.model.errors import NotFound, RefusedError, Unavailable
from hitmesh.model.generations import is_streamed
from hitmesh.model.limits import MAX_SKEW_MS
from hitmesh.model.logic import CURRENT, Logic, logic_named
from hitmesh.model.positions import Topic
from hitmesh.model.records import RejectedHit
from hitmesh.model.sites import Site
from hitmesh.ports import (
    Clock,
    Generations,
    OrderClaims,
    ProgressReader,
    RawStore,
    RejectedStore,
    SiteDirectory,
    Streams,
)
from hitmesh.runtime.rpc_errors import translating
from hitmesh.runtime.rpc_values import timestamp
from processor.inspect.fate import HitAt, InspectedCopy, InspectedVisit, Known, Timeliness, Verdict, inspect
from processor.inspect.search import Found, IdKind, search, with_id
from processor.settle.claims_excluded import excluded_claims, rules_of_days, with_exclusion

SERVICE: Final = pb.DESCRIPTOR.services_by_name["TraceService"].full_name
MAX_DAYS: Final = 31
DEFAULT_DAYS: Final = 3
MAX_REFUSALS: Final = 1_000
MAX_HITS: Final = 20
"""Number of hits of an order or batch that a trace shows."""
MAX_ID_CHARS: Final = 256
WAIT_S: Final = 5.0

_VERDICTS: Final = {
    Verdict.COUNTED: pb.HIT_VERDICT_COUNTED,
    Verdict.DUPLICATE: pb.HIT_VERDICT_DUPLICATE,
    Verdict.EXCLUDED: pb.HIT_VERDICT_EXCLUDED,
    Verdict.PENDING: pb.HIT_VERDICT_PENDING,
}
_TIMELINESS: Final = {
    Timeliness.ON_TIME: pb.HIT_TIMELINESS_ON_TIME,
    Timeliness.LATE: pb.HIT_TIMELINESS_LATE,
    Timeliness.HISTORY: pb.HIT_TIMELINESS_HISTORY,
}
_ORDERS: Final = {
    None: pb.ORDER_OUTCOME_UNSPECIFIED,
    True: pb.ORDER_OUTCOME_WON,
    False: pb.ORDER_OUTCOME_REPEAT,
}


@dataclass(frozen=True, slots=True)
class InspectStores:
    """The stores that a trace reads.

    If `open_reads` is true, every client that reaches the listener may read all sites. `tokens` reads the tokens of
    callers, and is None if tokens are refused. `logic` is this process's logic version. On days that are not settled,
    reports may read a stream with another logic version.
    """

    directory: SiteDirectory
    raw: RawStore
    rejected: RejectedStore
    generations: Generations
    claims: OrderClaims
    progress: ProgressReader
    clock: Clock
    streams: Streams
    open_reads: bool = False
    tokens: TokenReader | None = None
    logic: Logic = CURRENT


class TraceService(trace_pb2_grpc.TraceServiceServicer):
    """Serves TraceHit: one hit per call, one call at a time."""

    def __init__(self, stores: InspectStores) -> None:
        self._stores = stores
        self._one_at_a_time = threading.Lock()

    def TraceHit(self, request: pb.TraceHitRequest, context: grpc.ServicerContext) -> pb.TraceHitResponse:
        """Trace the hits for an authenticated caller. While another hit is being traced, wait up to 5 s."""

        def call(request: pb.TraceHitRequest, context: grpc.ServicerContext) -> pb.TraceHitResponse:
            stores = self._stores
            metadata, now = context.invocation_metadata(), stores.clock.now()
            caller = caller_of(stores.directory, metadata, stores.tokens, now=now)
            authorise(caller, request, stores.open_reads)
            if not self._one_at_a_time.acquire(timeout=WAIT_S):
                raise Unavailable("another hit is being traced: call again in a few seconds", retry_after_s=WAIT_S)
            try:
                return inspect_hit(stores, request)
            finally:
                self._one_at_a_time.release()

        return translating(call)(request, context)


def inspect_hit(stores: InspectStores, request: pb.TraceHitRequest) -> pb.TraceHitResponse:
    """Return all stored copies of a hit, or of the hits of an order or batch, and the site's recent refusals.

    Raises:
        NotFound: the id is unknown, or the site is unknown.
        RefusedError: not exactly one id is given, or the id or the range of days is invalid.
    """
    site = found_site(stores.directory, request.site, "site")
    kind, id_ = _id_of(request)
    days = _days(request, stores.clock.now())
    found = search(stores.raw, stores.clock, site.name, id_, days, kind)
    hit_ids = [id_] if kind is IdKind.HIT else found.hits.filter(with_id(kind, id_))["hit_id"].unique().sort().to_list()
    copies = [
        copy
        for hit_id in hit_ids[:MAX_HITS]
        for copy in inspect(found.hits, hit_id, _known(stores, site, found, hit_id))
    ]
    refusals = [hit for hit in stores.rejected.recent(site.name, MAX_REFUSALS) if _is_refusal_of(hit, kind, id_)]
    if not copies and not refusals:
        raise _not_found(kind, id_, days, found)
    return pb.TraceHitResponse(
        site=site.name,
        hit_id=request.hit_id,
        copies=map(_copy_message, copies),
        refusals=map(_refusal_message, refusals),
        records_read=found.records_read,
        first_utc_date=day_message(days.start),
        last_utc_date=day_message(days.stop - 1),
        truncated=found.truncated or len(hit_ids) > MAX_HITS,
    )


def _id_of(request: pb.TraceHitRequest) -> tuple[IdKind, str]:
    """Return the only id of a request.

    Raises:
        RefusedError: not exactly one id is given, or the id is too long.
    """
    ids = {IdKind.HIT: request.hit_id, IdKind.ORDER: request.order_id, IdKind.BATCH: request.batch_id}
    given = [(kind, id_) for kind, id_ in ids.items() if id_]
    if len(given) != 1:
        raise RefusedError(
            f"the request has {len(given)} ids: give exactly one of hit_id, order_id and batch_id",
            field="hit_id",
            count=len(given),
            limit=1,
        )
    kind, id_ = given[0]
    if len(id_) > MAX_ID_CHARS:
        raise RefusedError(
            f"{kind}_id has {len(id_)} characters: give 1 to {MAX_ID_CHARS}",
            field=f"{kind}_id",
            count=len(id_),
            limit=MAX_ID_CHARS,
        )
    return kind, id_


def _is_refusal_of(hit: RejectedHit, kind: IdKind, id_: str) -> bool:
    """Return whether a refused hit has the id. The order id of a refused hit is not stored."""
    match kind:
        case IdKind.HIT:
            return hit.hit_id == id_
        case IdKind.ORDER:
            return False
        case IdKind.BATCH:
            return hit.origin is not None and hit.origin.batch_id == id_


def _days(request: pb.TraceHitRequest, now_ms: int) -> range:
    has_first, has_last = request.HasField("first_utc_date"), request.HasField("last_utc_date")
    last = day_of("last_utc_date", request.last_utc_date) if has_last else utc_day_of(now_ms + MAX_SKEW_MS)
    first = day_of("first_utc_date", request.first_utc_date) if has_first else last - DEFAULT_DAYS + 1
    days = range(first, last + 1)
    if not 0 < len(days) <= MAX_DAYS:
        cure = f"ask for 1 to {MAX_DAYS}" if first <= last else "swap the dates"
        raise RefusedError(
            f"{date_text(first)} to {date_text(last)} is {max(0, last - first + 1)} days: {cure}",
            field="first_utc_date",
            first=date_text(first),
            last=date_text(last),
            days=max(0, last - first + 1),
            limit=MAX_DAYS,
        )
    return days


def _known(stores: InspectStores, site: Site, found: Found, hit_id: str) -> Known:
    """Return the stored facts on the hit's days and orders.

    Committed positions must be read before the generations are read.
    """
    copies = found.hits.filter(found.hits["hit_id"] == hit_id)
    committed = {partition: reached.next_offset for partition, reached in stores.progress.progress(Topic.HITS).items()}
    days = utc_day_of(copies["event_time"].to_numpy())
    entries = stores.generations.current(site.name, int(days.min()) - 1, int(days.max()) + 2) if len(days) else {}
    claims = [
        claim
        for name, kind in (("order_id", ClaimKind.ORDER), ("refund_id", ClaimKind.REFUND))
        if (ids := copies[name].drop_nulls().unique().to_list())
        for claim in stores.claims.of(site.name, ids, kind)
    ]
    rules = rules_of_days(stores.generations, site.name, site.rules, {claim.day for claim in claims})
    (excluded,) = excluded_claims(claims, [rules], stores.raw)
    claims = with_exclusion(claims, excluded)
    logic = logic_named(stores.streams.read().current_logic(stores.logic.name))
    return Known(site, entries, committed, claims, logic)


def _not_found(kind: IdKind, id_: str, days: range, found: Found) -> NotFound:
    where = f"the hits of {date_text(days.start)} to {date_text(days.stop - 1)} ({found.records_read:,} records read"
    stopped = ", stopped at a limit: ask for fewer days)" if found.truncated else ")"
    return NotFound(
        f"{kind} {id_!r} is not among {where}{stopped}, nor among the last {MAX_REFUSALS:,} refusals of the "
        "site: give the UTC days around the event time, or call again in a few seconds if the hit is new",
        field=f"{kind}_id",
        value=id_,
        first=date_text(days.start),
        last=date_text(days.stop - 1),
        records=found.records_read,
        limit=MAX_REFUSALS,
    )


def _copy_message(copy: InspectedCopy) -> pb.TracedCopy:
    return pb.TracedCopy(
        position=_position_message(copy.at),
        log_time=timestamp(copy.log_time),
        collect_time=timestamp(copy.collect_time),
        event_time=timestamp(copy.event_time),
        hit_type=copy.hit_type,
        verdict=_VERDICTS[copy.verdict],
        timeliness=_TIMELINESS[copy.timeliness],
        original=None if copy.original is None else _position_message(copy.original),
        id_collision=copy.collides,
        order=_ORDERS[copy.wins_order],
        order_id=copy.order_id or None,
        visit=None if copy.visit is None else _visit_message(copy.visit),
        cell=timestamp(copy.cell),
        settled=copy.is_settled,
        generation=None if is_streamed(copy.generation) else copy.generation,
        visitor_key=copy.visitor_key,
        exclusion_reasons=copy.exclusion_reasons,
        hit_id=copy.hit_id,
        batch_id=copy.batch_id or None,
    )


def _visit_message(visit: InspectedVisit) -> pb.TracedVisit:
    return pb.TracedVisit(
        visit_id=visit.visit_id,
        start=timestamp(visit.start),
        last=timestamp(visit.last),
        hits=visit.hits,
        landing_page=visit.landing_page or None,
    )


def _refusal_message(hit: RejectedHit) -> pb.TracedRefusal:
    return pb.TracedRefusal(
        position=_position_message((hit.position, hit.row)),
        collect_time=timestamp(hit.collect_time),
        reason=hit.reason,
        field=hit.field or None,
        message=hit.message,
    )


def _position_message(at: HitAt) -> pb.HitPosition:
    (log, partition, offset), row = at
    return pb.HitPosition(log=log, partition=partition, offset=offset, row=row)
