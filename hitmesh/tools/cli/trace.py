"""`hitmesh trace`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.access_log import logged_requests
from hitmesh.tools.cli.dates import date_text, utc_dates
from hitmesh.tools.cli.options import (
    connect,
    examples,
    find_endpoint,
    find_home,
    mesh_options,
    output_option,
    site_option,
)
from hitmesh.tools.cli.output import echo, note, print_json, visible

if TYPE_CHECKING:
    from google.type.date_pb2 import Date

    from hitmesh.api.control.v1 import trace_pb2
    from hitmesh.client.mesh import Mesh
    from hitmesh.tools.cli.exits import CommandFailed


HIT, ORDER, REQUEST = KINDS = ("hit", "order", "request")
TRACE_S: Final = 20.0
"""A trace reads for at most 10 s, and may wait 5 s for another trace."""
PATIENCE_S: Final = 3.0
"""If there is no answer after this time, the command finds out whether all parts answer."""

MAX_VISITORS: Final = 20
"""A trace shows the hits of at most 20 visitors, for example for the id of a batch."""

Dates = tuple["Date | None", "Date | None"]


@dataclass(frozen=True, slots=True)
class Traced:
    """The kind of id that found something, the requests in Envoy's access log, and the answer of the processor."""

    kind: str
    requests: list[dict[str, Any]]
    answer: trace_pb2.TraceHitResponse


@click.command(
    short_help="Show where a hit is in the log, and its outcome.",
    epilog=examples(
        "hitmesh trace 0197f3a2-demo-hit --site demo/example",
        "hitmesh trace 0197f3a2-demo-hit --site demo/example --since 2026-11-01 --until 2026-11-07 -o json",
        "hitmesh trace order-1001 --site demo/example --by order",
    ),
)
@click.argument("id_", metavar="ID")
@site_option()
@click.option(
    "--by",
    type=click.Choice(KINDS),
    help="The kind of ID: the id of a hit, of an order or refund, or of a request (its x-request-id or batch id). "
    "Default: the first kind that finds something, in this order.",
)
@click.option(
    "--since", callback=date_text, metavar="DATE", help="First UTC day to search. Default: 2 days before the last day."
)
@click.option(
    "--until",
    callback=date_text,
    metavar="DATE",
    help="Last UTC day to search, inclusive. Default: today. A search covers at most 31 days.",
)
@output_option("table", "json")
@mesh_options
def trace(
    *,
    id_: str,
    site: str,
    by: str | None,
    since: str | None,
    until: str | None,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Show the positions of the hits with ID in the log, and the outcome of each copy.

    ID is the id of a hit, of an order or refund, or of a request. Days are the UTC days of the event time. A refused
    hit is shown with the reason. For a request, the command also shows the entry in Envoy's access log, if the mesh
    runs in the home. If a part of the mesh does not answer, the command names the part and ends within seconds. The
    JSON output is a single object.
    """
    dates = utc_dates(since, until)
    place = find_home(home)
    address = find_endpoint(endpoint, place)
    with connect(endpoint, home) as mesh:
        traced = _traced(mesh, address, place, site, id_, KINDS if by is None else (by,), dates)
    found = traced.answer
    if found.truncated:
        note(_why_truncated(found))
    if output == "json":
        print_json({**_fields(found), "found_by": traced.kind, "requests": traced.requests})
        return
    for request in traced.requests:
        _print(f"request {visible(str(request.get('request_id')))}", request)
    for copy in found.copies:
        _print(f"{_place(copy.position)}  {_verdict(copy)}", _copy_fields(copy))
    for refusal in found.refusals:
        _print(f"{_place(refusal.position)}  REFUSED", _refusal_fields(refusal))


def _why_truncated(found: trace_pb2.TraceHitResponse) -> str:
    if len({copy.visitor_key for copy in found.copies}) >= MAX_VISITORS:
        return f"the id stands for hits of more visitors: only the hits of {MAX_VISITORS} visitors are shown"
    return (
        "the search begins with the newest days and stopped at a limit, so copies on older days may be missing: "
        "give fewer days with --since and --until"
    )


def _traced(mesh: Mesh, address: str, home: Path, site: str, id_: str, kinds: Sequence[str], dates: Dates) -> Traced:
    """Return what is found with the id as the first of the kinds that finds something.

    Raises:
        CommandFailed: a part of the mesh does not answer.
        grpc.RpcError: NOT_FOUND, about the first kind, if no kind finds something.
    """
    import grpc

    from hitmesh.api.control.v1 import trace_pb2

    unknown: grpc.RpcError | None = None
    for kind in kinds:
        requests = logged_requests(home, id_) if kind == REQUEST else []
        ids = {{HIT: "hit_id", ORDER: "order_id", REQUEST: "batch_id"}[kind]: id_}
        request = trace_pb2.TraceHitRequest(site=site, first_utc_date=dates[0], last_utc_date=dates[1], **ids)
        try:
            return Traced(kind, requests, _answer(mesh, address, request))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            unknown = unknown or error
        if requests:
            return Traced(kind, requests, trace_pb2.TraceHitResponse(site=site))
    assert unknown is not None
    raise unknown


def _answer(mesh: Mesh, address: str, request: trace_pb2.TraceHitRequest) -> trace_pb2.TraceHitResponse:
    """Return the answer of the processor. If there is none within seconds, find out which part does not answer.

    Raises:
        CommandFailed: Envoy or the processor does not answer.
        grpc.RpcError: the processor refuses the call, or a store does not answer.
    """
    import grpc

    call = mesh.traces.TraceHit.future(request, timeout=TRACE_S, metadata=mesh.credentials)
    try:
        return call.result(timeout=PATIENCE_S)
    except grpc.FutureTimeoutError:
        failure = _silent_part(address)
        if failure is not None:
            call.cancel()
            raise failure from None
        return call.result()
    except grpc.RpcError as error:
        is_silent = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        failure = _silent_part(address) if is_silent else None
        if failure is not None:
            raise failure from error
        raise


def _silent_part(address: str) -> CommandFailed | None:
    from hitmesh.api.control.v1 import trace_pb2
    from hitmesh.tools.cli.silent_part import silent_part

    return silent_part(address, trace_pb2.DESCRIPTOR.services_by_name["TraceService"].full_name, "processor")


def _print(title: str, fields: dict[str, Any]) -> None:
    echo(title)
    for name, value in fields.items():
        if name in ("position", "verdict") or value in (None, "", False):
            continue
        if isinstance(value, dict):
            value = "  ".join(f"{key} {part}" for key, part in value.items() if part is not None)
        echo(f"  {name.replace('_', ' '):<13} {visible(str(value))}")


def _fields(found: trace_pb2.TraceHitResponse) -> dict[str, Any]:
    from hitmesh.model.dates import date_text_of

    return {
        "site": short_site_name(found.site),
        "hit_id": found.hit_id or None,
        "copies": [_copy_fields(copy) for copy in found.copies],
        "refusals": [_refusal_fields(refusal) for refusal in found.refusals],
        "first_utc_date": date_text_of(found.first_utc_date) if found.HasField("first_utc_date") else None,
        "last_utc_date": date_text_of(found.last_utc_date) if found.HasField("last_utc_date") else None,
        "records_read": found.records_read,
        "truncated": found.truncated,
    }


def _copy_fields(copy: trace_pb2.TracedCopy) -> dict[str, Any]:
    from hitmesh.api.control.v1 import trace_pb2

    visit = copy.visit
    return {
        "position": _place(copy.position),
        "verdict": _verdict(copy),
        "hit_id": copy.hit_id or None,
        "batch_id": copy.batch_id or None,
        "excluded_by": ", ".join(copy.exclusion_reasons) or None,
        "duplicate_of": _place(copy.original) if copy.HasField("original") else None,
        "id_collision": copy.id_collision,
        "timeliness": trace_pb2.HitTimeliness.Name(copy.timeliness).removeprefix("HIT_TIMELINESS_"),
        "type": copy.hit_type,
        "event_time": copy.event_time.ToJsonString(),
        "collect_time": copy.collect_time.ToJsonString(),
        "log_time": copy.log_time.ToJsonString(),
        "cell": copy.cell.ToJsonString(),
        "settled": copy.settled,
        "generation": copy.generation if copy.HasField("generation") else None,
        "order_id": copy.order_id or None,
        "order": trace_pb2.OrderOutcome.Name(copy.order).removeprefix("ORDER_OUTCOME_") if copy.order else None,
        "visitor": copy.visitor_key,
        "visit": {
            "id": visit.visit_id,
            "start": visit.start.ToJsonString(),
            "last": visit.last.ToJsonString(),
            "hits": visit.hits,
            "landing_page": visit.landing_page or None,
        }
        if copy.HasField("visit")
        else None,
    }


def _refusal_fields(refusal: trace_pb2.TracedRefusal) -> dict[str, Any]:
    return {
        "position": _place(refusal.position),
        "collect_time": refusal.collect_time.ToJsonString(),
        "reason": refusal.reason,
        "field": refusal.field or None,
        "message": refusal.message,
    }


def _verdict(copy: trace_pb2.TracedCopy) -> str:
    from hitmesh.api.control.v1 import trace_pb2

    return trace_pb2.HitVerdict.Name(copy.verdict).removeprefix("HIT_VERDICT_")


def _place(position: trace_pb2.HitPosition) -> str:
    return f"{position.log}/{position.partition}@{position.offset}:{position.row}"
