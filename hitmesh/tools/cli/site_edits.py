"""`hitmesh sites show|create|update|delete|undelete`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hitmesh.tools.cli.options import (
    connect,
    connect_as_operator_or_merchant,
    currency_option,
    examples,
    full_name_of_site,
    mesh_options,
    operator_options,
    output_option,
)
from hitmesh.tools.cli.output import print_json, print_table
from hitmesh.tools.cli.site_fields import all_fields

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import admin_pb2

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_site_argument = click.argument("site", metavar="MERCHANT/SITE", callback=full_name_of_site)
_etag_option = click.option(
    "--etag", default="", metavar="ETAG", help="Fail if the site changed since this etag was shown."
)
_SWITCH_HELP = {
    "consent_by_default": "Whether hits without a consent state count as hits with consent.",
    "cookieless_counting": "Whether hits without consent are counted without cookies.",
    "identify_by_user_id": "Whether the user id of a hit identifies the visitor.",
    "store_network": "Whether the truncated IP address is stored with each hit.",
}


def _value_options(command: CommandT) -> CommandT:
    """Add the options for the values of a site that may change."""
    for name, text in reversed(_SWITCH_HELP.items()):
        option = name.replace("_", "-")
        command = click.option(f"--{option}/--no-{option}", default=None, help=text)(command)
    command = click.option(
        "--allowed-origin",
        "allowed_origins",
        multiple=True,
        metavar="ORIGIN",
        help="An origin from which browsers may send, such as https://shop.example or https://*.shop.example. Default: "
        "every origin. Repeatable.",
    )(command)
    command = click.option(
        "--own-host", "own_hosts", multiple=True, metavar="NAME", help="A host of the site. Repeatable."
    )(command)
    return click.option("--display-name", metavar="TEXT", help="Name for people, at most 200 characters.")(command)


@click.command(
    short_help="Show a site.",
    epilog=examples("hitmesh sites show demo/shop", "hitmesh sites show demo/shop -o json"),
)
@_site_argument
@output_option("table", "json")
@mesh_options
def show(site: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Show a site with its etag. `hitmesh policy show` shows the visit policies.

    JSON is one object.
    """
    with connect(endpoint, home) as mesh:
        from hitmesh.client.sites import get_site

        found = get_site(mesh, site)
    _print(found, output)


@click.command(
    short_help="Create a site.",
    epilog=examples(
        "hitmesh sites create demo/shop --currency EUR --zone Europe/Berlin --own-host shop.example",
        "hitmesh sites create demo/shop --no-consent-by-default --cookieless-counting -o json",
    ),
)
@_site_argument
@click.option("--zone", "time_zone", metavar="ZONE", help="IANA time zone, cannot be changed later. Default: UTC.")
@currency_option("Currency, cannot be changed later. Default: USD.")
@click.option(
    "--spread",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Number of partitions for the site's visitors, cannot be changed later. Default: 1.",
)
@_value_options
@output_option("table", "json")
@mesh_options
def create(*, site: str, output: str, endpoint: str | None, home: Path | None, **values: Any) -> None:
    """Create a site. Repeating the command changes nothing.

    The command needs a server key with the role administer. If the site exists with other values, or was deleted, the
    exit code is 70. JSON is one object.
    """
    with connect(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.site_edits import create_site

        created = create_site(mesh, site, _given(values))
    _print(created, output)


@click.command(
    short_help="Change a site.",
    epilog=examples(
        "hitmesh sites update demo/shop --allowed-origin https://shop.example --own-host shop.example",
        "hitmesh sites update demo/shop --clear allowed_origins",
        "hitmesh sites update demo/shop --no-consent-by-default",
    ),
)
@_site_argument
@_value_options
@click.option(
    "--clear",
    "cleared",
    type=click.Choice(("display_name", "own_hosts", "allowed_origins")),
    multiple=True,
    help="Remove the values of a field. Repeatable.",
)
@_etag_option
@output_option("table", "json")
@operator_options
def update(
    *,
    site: str,
    cleared: tuple[str, ...],
    etag: str,
    output: str,
    endpoint: str | None,
    home: Path | None,
    **values: Any,
) -> None:
    """Change the given fields of a site. Lists are replaced as a whole.

    Switches apply to hits that arrive later than 2 s after the change; earlier hits never change. With another etag
    than --etag, the exit code is 74. The command needs a server key with the role administer, or an operator's key.
    JSON is one object.
    """
    given = _given(values)
    both = sorted(set(given) & set(cleared))
    if both:
        raise click.UsageError(f"{both[0]} is both given and cleared: leave out --clear {both[0]}, or the value")
    if not (given or cleared):
        raise click.UsageError("give at least one change, such as --display-name Shop")
    with connect_as_operator_or_merchant(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.site_edits import update_site

        changed = update_site(mesh, site, given, (*given, *cleared), etag)
    _print(changed, output)


@click.command(
    short_help="Delete a site.",
    epilog=examples("hitmesh sites delete demo/shop", "hitmesh sites delete demo/shop -o json"),
)
@_site_argument
@_etag_option
@output_option("table", "json")
@operator_options
def delete(site: str, etag: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Delete a site. Within 2 s, hits are refused and reports do not find the site.

    The site's data is kept as long as the data of other sites, and `hitmesh sites undelete` restores the site within 30
    days. The name cannot be used for another site. JSON is one object.
    """
    with connect_as_operator_or_merchant(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.site_edits import delete_site

        deleted = delete_site(mesh, site, etag)
    _print(deleted, output)


@click.command(
    short_help="Restore a deleted site.",
    epilog=examples("hitmesh sites undelete demo/shop", "hitmesh sites undelete demo/shop -o json"),
)
@_site_argument
@output_option("table", "json")
@operator_options
def undelete(site: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Restore a site that was deleted at most 30 days ago. If more time has passed, the exit code is 73.

    JSON is one object.
    """
    with connect_as_operator_or_merchant(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.site_edits import undelete_site

        restored = undelete_site(mesh, site)
    _print(restored, output)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that the command line sets."""
    return {name: value for name, value in values.items() if value not in (None, ())}


def _print(site: admin_pb2.Site, output: str) -> None:
    fields = all_fields(site)
    if output == "json":
        print_json(fields)
        return
    shown = {name: _text(value) for name, value in fields.items()}
    print_table(("field", "value"), list(shown.items()), right_from=2)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
