"""`hitmesh trace`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.dates import date_text, utc_dates
from hitmesh.tools.cli.options import connect, examples, mesh_options, output_option, site_option
from hitmesh.tools.cli.output import echo, note, print_json, visible

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import trace_pb2


@click.command(
    short_help="Show where a hit is in the log, and its outcome.",
    epilog=examples(
        "hitmesh trace 0197f3a2-demo-hit --site demo/example",
        "hitmesh trace 0197f3a2-demo-hit --site demo/example --since 2026-11-01 --until 2026-11-07 -o json",
    ),
)
@click.argument("hit_id")
@site_option()
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
    hit_id: str, site: str, since: str | None, until: str | None, output: str, endpoint: str | None, home: Path | None
) -> None:
    """Show the positions of the hit HIT_ID in the log and the outcome of each copy.

    Days are the UTC days of the event time. A refused hit is shown with the reason. The JSON output is a single object.
    """
    first, last = utc_dates(since, until)
    with connect(endpoint, home) as mesh:
        from hitmesh.api.control.v1 import trace_pb2
        from hitmesh.client.mesh import CALL_TIMEOUT_S

        request = trace_pb2.TraceHitRequest(site=site, hit_id=hit_id, first_utc_date=first, last_utc_date=last)
        found = mesh.traces.TraceHit(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    if found.truncated:
        note(
            "the search begins with the newest days and stopped at a limit, so copies on older days may be missing: "
            "give fewer days with --since and --until"
        )
    if output == "json":
        print_json(_fields(found))
        return
    for copy in found.copies:
        _print(f"{_place(copy.position)}  {_verdict(copy)}", _copy_fields(copy))
    for refusal in found.refusals:
        _print(f"{_place(refusal.position)}  REFUSED", _refusal_fields(refusal))


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
        "hit_id": found.hit_id,
        "copies": [_copy_fields(copy) for copy in found.copies],
        "refusals": [_refusal_fields(refusal) for refusal in found.refusals],
        "first_utc_date": date_text_of(found.first_utc_date),
        "last_utc_date": date_text_of(found.last_utc_date),
        "records_read": found.records_read,
        "truncated": found.truncated,
    }


def _copy_fields(copy: trace_pb2.TracedCopy) -> dict[str, Any]:
    from hitmesh.api.control.v1 import trace_pb2

    visit = copy.visit
    return {
        "position": _place(copy.position),
        "verdict": _verdict(copy),
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
