"""`hitmesh drift`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.dates import date_text, utc_dates
from hitmesh.tools.cli.options import connect, examples, mesh_options, output_option, site_option
from hitmesh.tools.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from google.type.date_pb2 import Date

    from hitmesh.client.mesh import Mesh


@click.command(
    short_help="Show how settlement changed the live numbers.",
    epilog=examples(
        "hitmesh drift",
        "hitmesh drift --site demo/example --since 2026-11-01 -o json",
    ),
)
@site_option(required=False)
@click.option(
    "--since", callback=date_text, metavar="DATE", help="First UTC day. By default, the last 60 settled days are shown."
)
@click.option("--until", callback=date_text, metavar="DATE", help="Last UTC day, inclusive.")
@output_option("table", "json")
@mesh_options
def drift(
    site: str | None, since: str | None, until: str | None, output: str, endpoint: str | None, home: Path | None
) -> None:
    """Show how the settled numbers of days differ from the live numbers, for a site or for every site.

    A day without late hits is confirmed: its settled values are the live values. If a day is not confirmed, the command
    lists the settled value minus the live value for each stored measure. Money is in micros, and durations are in ms.
    If the store lost or doubled rows of the live stream, the command also lists the effect on the live numbers. The
    JSON output is a list of days.
    """
    dates = utc_dates(since, until)
    with connect(endpoint, home) as mesh:
        from hitmesh.client.sites import list_sites

        names = [site] if site is not None else [listed_site.name for listed_site in list_sites(mesh)]
        found = [day for name in names for day in _answer(mesh, name, dates)]
    if output == "json":
        print_json(found)
        return
    rows = [(day["site"], day["utc_date"], _verdict(day), _of_settlement(day)) for day in found]
    print_table(("site", "UTC day", "verdict", "settled minus live"), rows, right_from=4)


def _answer(mesh: Mesh, site: str, dates: tuple[Date | None, Date | None]) -> list[dict[str, Any]]:
    from hitmesh.api.control.v1 import operations_pb2
    from hitmesh.client.mesh import CALL_TIMEOUT_S
    from hitmesh.model.dates import date_text_of

    request = operations_pb2.GetDriftRequest(site=site, first_utc_date=dates[0], last_utc_date=dates[1])
    answer = mesh.operations.GetDrift(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    if answer.omitted_days and not any(dates):
        note(
            f"{short_site_name(site)}: {answer.omitted_days:,} more settled days are not listed: give --since and "
            "--until"
        )
    return [
        {
            "site": short_site_name(site),
            "utc_date": date_text_of(day.utc_date),
            "confirmed": day.confirmed,
            "rows_differ": day.rows_differ,
            "sketch_provisional": day.sketch_provisional,
            "measures": dict(sorted(day.measures.items())),
            "row_measures": dict(sorted(day.row_measures.items())),
            "full_refunds": day.full_refunds,
        }
        for day in answer.days
    ]


def _verdict(day: dict[str, Any]) -> str:
    if day["confirmed"]:
        return "confirmed"
    if day["row_measures"]:
        return f"rows lost or doubled: {_changes(day['row_measures'])}"
    if day["rows_differ"]:
        return "drift"
    return "visitors recounted" if day["sketch_provisional"] else "settled again"


def _of_settlement(day: dict[str, Any]) -> str:
    apart = {"full refunds": day["full_refunds"]} if day["full_refunds"] else {}
    return _changes({**day["measures"], **apart})


def _changes(measures: dict[str, int]) -> str:
    return ", ".join(f"{name} {change:+,}" for name, change in measures.items()) or "–"
