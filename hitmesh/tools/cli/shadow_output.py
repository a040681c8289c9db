"""Shows the shadow stream as text or as JSON."""

from __future__ import annotations

from typing import Any, Final

from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.dates import date_text_of
from hitmesh.tools.cli.output import echo, note, print_json
from hitmesh.tools.cli.reprocess_output import count_of
from hitmesh.tools.cli.reprocess_tables import metric_fields, print_sums

_PREFIX: Final = "SHADOW_STREAM_STATE_"
_READ: Final = {
    pb.SHADOW_STREAM_STATE_RUNNING: "reports read the live stream",
    pb.SHADOW_STREAM_STATE_PUBLISHED: "reports read the shadow stream",
    pb.SHADOW_STREAM_STATE_ADOPTING: "the shadow stream becomes the live stream",
}


def print_shadow(found: pb.ShadowStream, output: str, removed_streams: int = 0) -> None:
    """Print the shadow stream; `output` is table or json."""
    if output == "json":
        print_json(_fields(found) | {"removed_streams": removed_streams})
        return
    if found.state == pb.SHADOW_STREAM_STATE_UNSPECIFIED:
        echo("no shadow stream: a single stream runs")
    else:
        _print_title(found)
        echo(f"  days      from {date_text_of(found.first_utc_date)} on, except settled days")
        echo(f"  started   {found.start_time.ToJsonString()}")
        behind = f"{_span(found.lag.ToMilliseconds())} behind the live stream"
        echo(f"  progress  {behind}, {'caught up' if found.caught_up else 'catching up'}")
    if removed_streams:
        note("the values of an earlier stream are being removed")


def _span(ms: int) -> str:
    """Return a time span in a unit that suits its size: seconds, minutes, hours or days."""
    for unit_ms, unit in ((86_400_000, "days"), (3_600_000, "h"), (60_000, "min")):
        if ms >= 2 * unit_ms:
            return f"{ms / unit_ms:,.1f} {unit}"
    return f"{ms / 1_000:,.1f} s"


def print_shadow_diff(found: pb.GetShadowStreamDiffResponse, output: str) -> None:
    """Print the difference; `output` is table or json."""
    if output == "json":
        print_json(
            {
                "shadow": _fields(found.shadow_stream),
                "site_days": found.site_days,
                "changed_site_days": found.changed_site_days,
                "totals": metric_fields(found.metrics),
                "days": [
                    {
                        "utc_date": date_text_of(day.utc_date),
                        "changed_site_days": day.changed_site_days,
                        "metrics": metric_fields(day.metrics),
                    }
                    for day in found.days
                ],
                "settled_site_days": found.settled_site_days,
                "truncated": found.truncated,
            }
        )
        return
    _print_title(found.shadow_stream)
    echo(f"{found.changed_site_days:,} of {count_of(found.site_days)} changed\n")
    if found.metrics:
        print_sums(("metric",), [((), found.metrics)])
    if found.days:
        rows = [((date_text_of(day.utc_date), f"{day.changed_site_days:,}"), day.metrics) for day in found.days]
        print_sums(("UTC day", "changed site-days", "metric"), rows)
    if found.shadow_stream.logic == found.shadow_stream.live_logic:
        note(
            f"both streams use {found.shadow_stream.logic}: differences come from hits that were erased since the live "
            "stream counted them, or from lost rows"
        )
    if found.settled_site_days:
        note(f"already settled: {count_of(found.settled_site_days)}; correct these days with hitmesh reprocess plan")
    if found.truncated:
        note("only the first 1,000 sites are compared: name sites with --site")


def _print_title(found: pb.ShadowStream) -> None:
    live = found.live_logic or "the processor's logic"
    state = pb.ShadowStreamState.Name(found.state).removeprefix(_PREFIX)
    echo(f"shadow stream {found.logic} beside {live}: {state}, {_READ.get(found.state, '')}")


def _fields(found: pb.ShadowStream) -> dict[str, Any]:
    if found.state == pb.SHADOW_STREAM_STATE_UNSPECIFIED:
        return {"state": None}
    return {
        "state": pb.ShadowStreamState.Name(found.state).removeprefix(_PREFIX),
        "logic": found.logic,
        "live_logic": found.live_logic or None,
        "first_utc_date": date_text_of(found.first_utc_date),
        "start_time": found.start_time.ToJsonString(),
        "state_time": found.state_time.ToJsonString(),
        "lag_ms": found.lag.ToMilliseconds(),
        "caught_up": found.caught_up,
    }
