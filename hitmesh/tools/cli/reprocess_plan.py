"""`hitmesh reprocess plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.model.errors import RefusedError
from hitmesh.model.names import MERCHANT_PATTERN, site_name
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.dates import date_text, utc_dates
from hitmesh.tools.cli.exits import NOTHING_FOUND, CommandFailed
from hitmesh.tools.cli.options import connect_as_operator, examples, operator_options, output_option
from hitmesh.tools.cli.output import note

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import reprocessing_pb2

_ALL = "merchants/-/sites/-"


def full_names_of_sites(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sites' full names.

    The user may write a name as `m/s` or in full.
    """
    try:
        return tuple(map(site_name, values))
    except RefusedError as error:
        raise click.BadParameter(error.message, param=param) from error


def sites_of_merchants(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return, for each merchant, the name that stands for all sites of the merchant: `merchants/{m}/sites/-`."""
    names = tuple(value if value.startswith("merchants/") else f"merchants/{value}" for value in values)
    for name, value in zip(names, values, strict=True):
        if not MERCHANT_PATTERN.fullmatch(name):
            raise click.BadParameter(f"{value!r} is not a merchant: write a name of a-z, 0-9 and -", param=param)
    return tuple(f"{name}/sites/-" for name in names)


@click.command(
    short_help="Store the plan of a reprocessing.",
    epilog=examples(
        "hitmesh reprocess plan --site demo/example --since 2026-11-01 --until 2026-11-07",
        "hitmesh reprocess plan --site demo/example --since 2026-11-01 --until 2026-11-01 --kind repair",
        "hitmesh reprocess plan --site demo/example --since 2026-11-01 --until 2026-11-07 --kind rules",
        "hitmesh reprocess plan --merchant demo --since 2026-11-01 --until 2026-11-07 --dry-run -o json",
    ),
)
@click.option(
    "--site",
    "sites",
    multiple=True,
    callback=full_names_of_sites,
    metavar="MERCHANT/SITE",
    help="Site, for example demo/example. Can be given several times.",
)
@click.option(
    "--merchant",
    "merchants",
    multiple=True,
    callback=sites_of_merchants,
    metavar="MERCHANT",
    help="All sites of a merchant, for example demo. Can be given several times.",
)
@click.option("--all-sites", is_flag=True, help="All sites of the mesh.")
@click.option("--since", callback=date_text, required=True, metavar="DAY", help="First UTC day.")
@click.option(
    "--until", callback=date_text, required=True, metavar="DAY", help="Last UTC day, inclusive; must be closed."
)
@click.option(
    "--kind",
    type=click.Choice(("logic", "repair", "rules")),
    default="logic",
    show_default=True,
    help="Reason for the plan: the logic changed (logic), a store lost or damaged values (repair), or exclusion rules "
    "changed (rules).",
)
@click.option(
    "--logic", metavar="VERSION", help="Version of the logic. Default: the newest version. Only for --kind logic."
)
@click.option("--dry-run", is_flag=True, help="Show the plan; do not store the plan.")
@output_option("table", "json")
@operator_options
def plan(
    *,
    sites: tuple[str, ...],
    merchants: tuple[str, ...],
    all_sites: bool,
    since: str,
    until: str,
    kind: str,
    logic: str | None,
    dry_run: bool,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Store the plan to recompute settled UTC days of sites.

    A plan expires after 7 days. No number in a report changes. The JSON output is a single object; with --dry-run, the
    object has no id.
    """
    names = [*sites, *merchants, *([_ALL] if all_sites else [])]
    if not names:
        raise click.UsageError("no site is named: give --site, --merchant or --all-sites")
    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.reprocessing import create_reprocessing, short_id
        from hitmesh.tools.cli.reprocess_output import print_reprocessing

        planned = create_reprocessing(mesh, _wanted(names, since, until, kind, logic), validate_only=dry_run)
    print_reprocessing(planned, output)
    if not planned.site_days:
        raise CommandFailed(
            NOTHING_FOUND,
            f"no UTC day of these sites from {since} to {until} is settled, so the plan would be refused: choose days "
            "that have hits and ended at least 26 hours ago",
            reason=LocalReason.NOTHING_FOUND,
        )
    if planned.name and output != "json":
        note(f"no report changes; next: hitmesh reprocess run {short_id(planned.name)} --wait")


def _wanted(names: list[str], since: str, until: str, kind: str, logic: str | None) -> reprocessing_pb2.Reprocessing:
    from hitmesh.api.control.v1 import reprocessing_pb2 as pb

    first, last = utc_dates(since, until)
    return pb.Reprocessing(
        sites=names,
        first_utc_date=first,
        last_utc_date=last,
        kind=pb.ReprocessingKind.Value(f"REPROCESSING_KIND_{kind.upper()}"),
        logic=logic,
    )
