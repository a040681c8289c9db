"""`hitmesh sites`: list, show, create, change, delete and restore sites."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import connect, examples, mesh_options, output_option
from hitmesh.tools.cli.output import print_json, print_table
from hitmesh.tools.cli.site_fields import list_fields

_EDITS = "hitmesh.tools.cli.site_edits"


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    lazy={
        "list": LazyCommand("hitmesh.tools.cli.sites:list_command", "List the sites."),
        "show": LazyCommand(f"{_EDITS}:show", "Show a site."),
        "create": LazyCommand(f"{_EDITS}:create", "Create a site."),
        "update": LazyCommand(f"{_EDITS}:update", "Change a site."),
        "delete": LazyCommand(f"{_EDITS}:delete", "Delete a site."),
        "undelete": LazyCommand(f"{_EDITS}:undelete", "Restore a deleted site."),
    },
    name="sites",
    short_help="List, create, change or delete sites.",
    epilog=examples(
        "hitmesh sites",
        "hitmesh sites -o json",
        "hitmesh sites create demo/shop --currency EUR --zone Europe/Berlin",
        "hitmesh sites update demo/shop --own-host shop.example --allowed-origin https://shop.example",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
@output_option("table", "json")
@mesh_options
@click.pass_context
def sites(ctx: click.Context, output: str, endpoint: str | None, home: Path | None) -> None:
    """List, create, change or delete sites. Without a command, the sites are listed as with `hitmesh sites list`."""
    if ctx.invoked_subcommand is None:
        _list(output, endpoint, home, deleted=False)
        return
    given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:  # the command has its own options, so these would be ignored
        raise click.UsageError("options stand after the command: hitmesh sites list -o json")


@click.command(
    "list",
    short_help="List the sites.",
    epilog=examples("hitmesh sites list", "hitmesh sites list --deleted -o json"),
)
@click.option("--deleted", is_flag=True, help="List deleted sites too.")
@output_option("table", "json")
@mesh_options
def list_command(*, deleted: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """List the sites that the caller may read, with or without a key.

    The JSON output is a single list; without sites, the list is empty.
    """
    _list(output, endpoint, home, deleted=deleted)


def _list(output: str, endpoint: str | None, home: Path | None, *, deleted: bool) -> None:
    with connect(endpoint, home) as mesh:
        from hitmesh.client.sites import list_sites

        found = [list_fields(site) for site in list_sites(mesh, show_deleted=deleted)]
    if output == "json":
        print_json(found)
        return
    headers = ["site", "zone", "currency", "created", *(["deleted"] if deleted else [])]
    rows = [
        (
            short_site_name(each["name"]),
            each["time_zone"],
            each["currency"],
            each["create_time"],
            *([each.get("delete_time", "")] if deleted else []),
        )
        for each in found
    ]
    print_table(headers, rows, right_from=len(headers))
