"""`hitmesh rejected`: the command group for rejected hits, and the commands that only show rejected hits."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.tools.cli.dates import date_text
from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import (
    CommandT,
    connect_as_operator_or_merchant,
    examples,
    operator_options,
    output_option,
    site_option,
)

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import rejected_hits_pb2

MAX_LIMIT = 10_000
_SHOW = "hitmesh.tools.cli.rejected"


@click.group(
    cls=LazyGroup,
    lazy={
        "list": LazyCommand(f"{_SHOW}:list_command", "List rejected hits by site, reason and time."),
        "show": LazyCommand(f"{_SHOW}:show", "Show a rejected hit with its kept bytes."),
        "replay": LazyCommand("hitmesh.tools.cli.rejected_replay:replay", "Mend rejected hits and send them again."),
    },
    name="rejected",
    short_help="List, mend and replay rejected hits.",
    epilog=examples(
        "hitmesh rejected list --site demo/example --reason MISSING_FIELD",
        "hitmesh rejected show demo_example_1764442463195_0_42_3_rejected.1",
        "hitmesh rejected replay --site demo/example --reason MISSING_FIELD --rename visitor=visitorId",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def rejected_group() -> None:
    """List the hits that the collector rejected, mend them, and send them again with their ids and times.

    The commands need an operator's key, or for --site a server key with the role administer; `replay` also needs an
    ingest key. The mesh keeps the bytes of a sample of rejected hits: at most 4 KiB of each hit, by default for 30
    days.
    """


def filter_options(command: CommandT) -> CommandT:
    """Add --site, --without-site, --reason, --since and --until."""
    for option in (
        click.option(
            "--until", callback=date_text, metavar="DAY", help="Last UTC day of collection, inclusive. Default: today."
        ),
        click.option(
            "--since", callback=date_text, metavar="DAY", help="First UTC day of collection. Default: no limit."
        ),
        click.option("--reason", default="", metavar="REASON", help="Reason, for example MISSING_FIELD."),
        click.option("--without-site", is_flag=True, help="Only hits that name no existing site."),
        site_option(required=False),
    ):
        command = option(command)
    return command


@click.command(
    "list",
    short_help="List rejected hits by site, reason and time.",
    epilog=examples(
        "hitmesh rejected list --site demo/example",
        "hitmesh rejected list --without-site --reason UNKNOWN_KEY --since 2026-11-01 -o json",
    ),
)
@filter_options
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True, metavar="N", help="Hits to list."
)
@output_option("table", "json")
@operator_options
def list_command(
    *,
    site: str | None,
    without_site: bool,
    reason: str,
    since: str | None,
    until: str | None,
    limit: int,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """List rejected hits, the newest first.

    Without --site, the list has all sites, sorted by quarter of an hour and then by site.

    The JSON output is a single object with the list `rejected`; the field `more` tells whether further hits exist.
    Bytes are base64.
    """
    from hitmesh.tools.cli.rejected_output import print_list

    with connect_as_operator_or_merchant(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.rejected_hits import PAGE_SIZE, pages_of_rejected_hits

        wanted = request_of(site, reason, since, until, without_site=without_site)
        pages = pages_of_rejected_hits(mesh, wanted, min(PAGE_SIZE, limit + 1))
        found = list(islice((hit for page in pages for hit in page), limit + 1))
    print_list(found[:limit], output, more=len(found) > limit)


@click.command(
    short_help="Show a rejected hit with its kept bytes.",
    epilog=examples(
        "hitmesh rejected show demo_example_1764442463195_0_42_3_rejected.1",
        "hitmesh rejected show demo_example_1764442463195_0_42_3_rejected.1 -o json",
    ),
)
@click.argument("id_", metavar="ID")
@output_option("table", "json")
@operator_options
def show(id_: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Show the reason, times and kept bytes of the rejected hit ID.

    The bytes are shown as JSON, or escaped if they do not decode.
    """
    from hitmesh.tools.cli.rejected_output import print_rejected

    with connect_as_operator_or_merchant(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.rejected_hits import full_name, get_rejected_hit

        found = get_rejected_hit(mesh, full_name(id_))
    print_rejected(found, output)


def request_of(
    site: str | None, reason: str, since: str | None, until: str | None, *, without_site: bool
) -> rejected_hits_pb2.ListRejectedHitsRequest:
    """Return the request that the options describe.

    Raises:
        UsageError: the reason is not known, or the options contradict each other.
    """
    from hitmesh.api.collector.v1 import collector_pb2
    from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
    from hitmesh.tools.cli.dates import utc_dates

    if site and without_site:
        raise click.UsageError("--site and --without-site exclude each other: give only one")
    request = pb.ListRejectedHitsRequest(site=site or "", without_site=without_site)
    if reason:
        names = [name.removeprefix("REASON_") for name, number in collector_pb2.Reason.items() if number]
        name = reason.upper().removeprefix("REASON_")
        if name not in names:
            raise click.UsageError(f"--reason {reason[:60]!r} is not known: use one of {', '.join(names)}")
        request.reason = collector_pb2.Reason.Value(f"REASON_{name}")
    first, last = utc_dates(since, until)
    if first is not None:
        request.start_time.FromJsonString(f"{first.year:04}-{first.month:02}-{first.day:02}T00:00:00Z")
    if last is not None:
        request.end_time.FromJsonString(f"{last.year:04}-{last.month:02}-{last.day:02}T00:00:00Z")
        request.end_time.seconds += 86_400
    return request
