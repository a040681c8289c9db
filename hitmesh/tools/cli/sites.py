"""`hitmesh sites`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.options import connect, examples, mesh_options, output_option
from hitmesh.tools.cli.output import print_json, print_table

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import admin_pb2


@click.command(
    short_help="List the sites.",
    epilog=examples(
        "hitmesh sites",
        "hitmesh sites -o json",
    ),
)
@output_option("table", "json")
@mesh_options
def sites(output: str, endpoint: str | None, home: Path | None) -> None:
    """List the sites that the caller may read, with or without a key.

    The JSON output is a single list; without sites, the list is empty.
    """
    with connect(endpoint, home) as mesh:
        from hitmesh.client.sites import list_sites

        found = list(list_sites(mesh))
    if output == "json":
        print_json([_fields(site) for site in found])
        return
    rows = [(short_site_name(site.name), site.time_zone, site.currency, _created(site)) for site in found]
    print_table(("site", "zone", "currency", "created"), rows, right_from=4)


def _fields(site: admin_pb2.Site) -> dict[str, str]:
    return {
        "site": short_site_name(site.name),
        "name": site.name,
        "time_zone": site.time_zone,
        "currency": site.currency,
        "create_time": _created(site),
    }


def _created(site: admin_pb2.Site) -> str:
    return site.create_time.ToJsonString() if site.HasField("create_time") else ""
