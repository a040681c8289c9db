"""`hitmesh query`: run a report and print the reporter's answer, unchanged or as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from hitmesh.tools.cli.dates import date_text, resolve_dates
from hitmesh.tools.cli.options import connect, examples, mesh_options, output_option, site_option
from hitmesh.tools.cli.output import note, print_file

if TYPE_CHECKING:
    from hitmesh.api.reporter.v1 import export_pb2
    from hitmesh.client.mesh import Mesh

GRAINS: Final = ("none", "hour", "day", "week", "month")
GAP_FILLS: Final = ("none", "zero", "null")
MAX_ROWS: Final = 100_000
# Maximum number of rows in a table. A longer table is slow to draw, and programs should read the other formats.
TABLE_ROWS: Final = 10_000
WARNING_METADATA: Final = "x-hitmesh-warning"
PARTIAL_METADATA: Final = "x-hitmesh-partial"


class Range(NamedTuple):
    """The time range as the user typed it: dates or words (`since`, `until`), or a length (`last`)."""

    since: str | None
    until: str | None
    last: str | None

    def check(self) -> None:
        """Raise UsageError if the options contradict each other, or if no option gives a range."""
        if self.last and (self.since or self.until):
            raise click.UsageError("--last cannot be combined with --since or --until: give --last or a range")
        if not (self.last or self.since):
            raise click.UsageError("the range is missing: give --since and --until, or --last, for example --last 7d")


def _data_version(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the value of --data-version.

    An empty text is refused, because the mesh would answer with the current numbers.
    """
    if value is not None and not value.strip():
        raise click.BadParameter(
            "the version is empty: give the data_version of an answer, or leave it out", param=param
        )
    return value


@click.command(
    short_help="Query metrics of a site over a time range.",
    epilog=examples(
        "hitmesh query --site demo/example --metrics visits,gross_revenue --last 7d --grain day --plot",
        "hitmesh query --site demo/weblog --metrics visits,visitors --since 2015-05-17 --until 2015-05-20 \\",
        "    --grain day --tz Asia/Kathmandu -o csv",
        "hitmesh query --site demo/example --metrics visits --last 30d --dimensions channel \\",
        "    --filter 'channel!=direct;page_path=~^/blog'",
        "hitmesh query --site demo/example --metrics pageviews,visits --last 7d --dimensions page_path \\",
        "    --order-by -pageviews,page_path --limit 20",
    ),
)
@site_option()
@click.option("--metrics", required=True, metavar="a,b", help="Metrics, for example visits,gross_revenue.")
@click.option(
    "--since", callback=date_text, metavar="DATE", help="First date in the report's zone, or today or yesterday."
)
@click.option(
    "--until", callback=date_text, metavar="DATE", help="Last date in the report's zone, inclusive. Default: today."
)
@click.option(
    "--last",
    metavar="7d",
    help="Range in the report's zone, instead of --since and --until: 7d, 4w, 12m or 1y up to today; today, yesterday, "
    "this_month or last_month.",
)
@click.option("--grain", type=click.Choice(GRAINS), default="none", show_default=True, help="Width of a time bucket.")
@click.option(
    "--tz", default="", metavar="ZONE", help="IANA zone, for example Asia/Kathmandu. Default: the site's zone."
)
@click.option("--dimensions", default="", metavar="d,e", help="Dimensions to break down by, at most 5.")
@click.option(
    "--filter",
    "filter_text",
    default="",
    metavar="F",
    help="Conditions dim==v, dim!=v, dim=~regexp or dim in(a,b). Use `,` for OR, which binds tighter, "
    "and `;` for AND. A backslash escapes both in values.",
)
@click.option("--include-excluded", is_flag=True, help="Include hits that are excluded by default, such as bots.")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_ROWS),
    metavar="N",
    help="Maximum number of rows. Default: 10,000 in a table, else all rows; an answer has at most 100,000.",
)
@click.option(
    "--order-by",
    default="",
    metavar="a,-b",
    help="Sort by metrics, dimensions or time. A leading - sorts in descending order, for example -visits,channel. "
    "Default: by time, then by the first metric in descending order.",
)
@click.option(
    "--gap-fill",
    type=click.Choice(GAP_FILLS),
    help="Show buckets without a hit as no row (none), 0 (zero) or empty (null). Default: zero.",
)
@click.option(
    "--data-version",
    callback=_data_version,
    metavar="V",
    help="Repeat an earlier answer: give the data_version from the answer's meta (-o json). Only answers about "
    "settled days can be repeated, and only until 30 days after the numbers were replaced.",
)
@click.option(
    "--plot", is_flag=True, help="Draw the first metric below the table; implies -o table unless -o is given."
)
@output_option("table", "csv", "json", "ndjson")
@mesh_options
def query(
    *,
    site: str,
    metrics: str,
    since: str | None,
    until: str | None,
    last: str | None,
    grain: str,
    tz: str,
    dimensions: str,
    filter_text: str,
    include_excluded: bool,
    limit: int | None,
    order_by: str,
    gap_fill: str | None,
    data_version: str | None,
    plot: bool,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Query metrics of a site over a time range.

    For csv, json and ndjson, the command prints the reporter's response unchanged, but escapes control characters on a
    terminal. The range or a clock change may make a bucket shorter than the grain. The rows of a shortened bucket have
    `"partial": true` in json and ndjson, and * in a table. For csv, a note on stderr lists the short buckets. Every
    bucket in the range has a row, unless --limit removes rows. Warnings are in the field `meta` of json, below a table,
    and on stderr for csv and ndjson.
    """
    span = Range(since, until, last)
    span.check()
    if plot and not _is_written("output"):
        output = "table"
    with connect(endpoint, home) as mesh:
        from hitmesh.api.reporter.v1 import export_pb2

        dates = resolve_dates(span.since, span.until, lambda: tz or _zone_of(mesh, site)) if not last else ("", "")
        request = export_pb2.ExportReportRequest(
            site=site,
            metrics=_list(metrics),
            dimensions=_list(dimensions),
            first_date=dates[0],
            last_date=dates[1],
            last=last or "",
            time_grain=grain,
            time_zone=tz,
            filter=filter_text,
            order_by=_list(order_by),
            limit=limit or (TABLE_ROWS if output == "table" else None),
            include_excluded=include_excluded,
            format="json" if output == "table" else output,
            gap_fill=gap_fill or "",
            data_version=data_version or "",
        )
        answer = _answer(mesh, request)
        if output == "table":
            _show(mesh, json.loads(answer), request, plot=plot)
            return
    if plot:
        note("--plot needs a table: use -o table")
    print_file(answer, output)


def _answer(mesh: Mesh, request: export_pb2.ExportReportRequest) -> bytes:
    from hitmesh.client.mesh import CALL_TIMEOUT_S

    call = mesh.exports.ExportReport(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    content = b"".join(piece.data for piece in call)
    metadata = [(name, text) for name, text in call.initial_metadata() or () if isinstance(text, str)]
    if request.format != "json":  # the JSON answer contains the warnings
        for name, text in metadata:
            if name == WARNING_METADATA:
                note(f"warning: {text}")
    cut = [label for name, text in metadata if name == PARTIAL_METADATA for label in text.split(",")]
    if not cut:
        return content
    from hitmesh.tools.cli.report_notes import cut_note, flagged

    if request.format == "csv":
        note(cut_note(cut, request.time_grain))
        return content
    return flagged(content, cut)


def _zone_of(mesh: Mesh, site: str) -> str:
    from hitmesh.client.sites import get_site

    return get_site(mesh, site).time_zone


def _is_written(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is not click.core.ParameterSource.DEFAULT


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _show(mesh: Mesh, answer: dict[str, Any], request: export_pb2.ExportReportRequest, *, plot: bool) -> None:
    from hitmesh.tools.cli.report_notes import unsettled_visits
    from hitmesh.tools.cli.report_table import print_report

    keys = (["time"] if request.time_grain != "none" else []) + list(request.dimensions)
    print_report(answer, keys, list(request.metrics), plot=plot)
    late = unsettled_visits(answer.get("meta", {}), datetime.now(UTC).date())
    if late and _has_visit_metric(mesh, request.metrics):
        note(late)


def _has_visit_metric(mesh: Mesh, metrics: Iterable[str]) -> bool:
    from hitmesh.api.reporter.v1 import reporter_pb2
    from hitmesh.client.mesh import CALL_TIMEOUT_S

    request = reporter_pb2.ListMetricsRequest()
    catalogue = mesh.reporter.ListMetrics(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    of_visits = {metric.id for metric in catalogue.metrics if metric.scope == reporter_pb2.METRIC_SCOPE_VISIT}
    return not of_visits.isdisjoint(metrics)
