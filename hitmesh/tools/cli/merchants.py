"""`hitmesh merchants`: list, create, change and delete merchants, with an operator's key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.model.plurals import counted
from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.key_options import full_merchant
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import (
    connect_as_operator,
    connect_as_operator_or_merchant,
    examples,
    operator_options,
    output_option,
)
from hitmesh.tools.cli.output import echo, print_json, print_table

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import merchants_pb2

_MODULE = "hitmesh.tools.cli.merchants"


@click.group(
    cls=LazyGroup,
    lazy={
        "list": LazyCommand(f"{_MODULE}:list_command", "List the merchants."),
        "show": LazyCommand(f"{_MODULE}:show", "Show a merchant."),
        "create": LazyCommand(f"{_MODULE}:create", "Create a merchant."),
        "update": LazyCommand(f"{_MODULE}:update", "Change a merchant."),
        "delete": LazyCommand(f"{_MODULE}:delete", "Delete a merchant."),
    },
    name="merchants",
    short_help="List, create, change or delete merchants.",
    epilog=examples(
        "hitmesh merchants create acme --display-name 'Acme Ltd'",
        "hitmesh keys create --merchant acme --kind server --role administer --role read --role send",
        "hitmesh merchants delete acme --force",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def merchants_group() -> None:
    """List, create, change or delete merchants. The commands need an operator's key.

    A new merchant has no key. The operator creates the first key with `hitmesh keys create --merchant`.
    """


_merchant_argument = click.argument("merchant", metavar="MERCHANT", callback=full_merchant)
_etag_option = click.option(
    "--etag", default="", metavar="ETAG", help="Fail if the merchant changed since this etag was shown."
)


@click.command(
    "list",
    short_help="List the merchants.",
    epilog=examples("hitmesh merchants list", "hitmesh merchants list -o json"),
)
@output_option("table", "json")
@operator_options
def list_command(output: str, endpoint: str | None, home: Path | None) -> None:
    """List all merchants by name.

    The JSON output is a single list; without merchants, the list is empty.
    """
    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.merchants import list_merchants

        found = [_fields(merchant) for merchant in list_merchants(mesh)]
    if output == "json":
        print_json(found)
        return
    rows = [(each["merchant"], each["display_name"], each["create_time"]) for each in found]
    print_table(("merchant", "display name", "created"), rows, right_from=3)


@click.command(
    short_help="Show a merchant.",
    epilog=examples("hitmesh merchants show acme", "hitmesh merchants show acme -o json"),
)
@_merchant_argument
@output_option("table", "json")
@operator_options
def show(merchant: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Show MERCHANT with its etag. A server key of the merchant is enough.

    JSON is one object.
    """
    with connect_as_operator_or_merchant(endpoint, home) as mesh:
        from hitmesh.client.merchants import get_merchant

        found = get_merchant(mesh, merchant)
    _print(found, output)


@click.command(
    short_help="Create a merchant.",
    epilog=examples("hitmesh merchants create acme --display-name 'Acme Ltd'", "hitmesh merchants create acme -o json"),
)
@_merchant_argument
@click.option("--display-name", default="", metavar="TEXT", help="Name for people, at most 200 characters.")
@output_option("table", "json")
@operator_options
def create(merchant: str, display_name: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Create MERCHANT, 1 to 64 characters of a-z, 0-9 and -. Repeating the command changes nothing.

    If the merchant exists with another display name, or was deleted, the exit code is 70. JSON is one object.
    """
    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.merchants import create_merchant

        created = create_merchant(mesh, merchant, display_name)
    _print(created, output)


@click.command(
    short_help="Change a merchant.",
    epilog=examples(
        "hitmesh merchants update acme --display-name 'Acme GmbH'",
        "hitmesh merchants update acme --display-name '' --etag r1 -o json",
    ),
)
@_merchant_argument
@click.option("--display-name", required=True, metavar="TEXT", help="Name for people; an empty text removes the name.")
@_etag_option
@output_option("table", "json")
@operator_options
def update(merchant: str, display_name: str, etag: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Change the display name of MERCHANT. With another etag than --etag, the exit code is 74.

    JSON is one object.
    """
    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.merchants import update_merchant

        changed = update_merchant(mesh, merchant, display_name, etag)
    _print(changed, output)


@click.command(
    short_help="Delete a merchant.",
    epilog=examples("hitmesh merchants delete acme", "hitmesh merchants delete acme --force"),
)
@_merchant_argument
@click.option("--force", is_flag=True, help="Also delete the merchant's sites, and revoke the merchant's keys.")
@_etag_option
@output_option("table", "json")
@operator_options
def delete(*, merchant: str, force: bool, etag: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Delete MERCHANT. The name cannot be used again.

    A merchant with sites or valid keys is deleted only with --force; without --force, the exit code is 73. The data of
    deleted sites is kept as long as the data of other sites. If the command is interrupted, the same command completes
    the deletion. JSON is one object.
    """
    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.merchants import delete_merchant

        done = delete_merchant(mesh, merchant, etag, force=force)
    if output == "json":
        print_json({"name": merchant, "deleted_sites": done.deleted_sites, "revoked_keys": done.revoked_keys})
        return
    echo(
        f"deleted {merchant} with {counted(done.deleted_sites, 'site')}, "
        f"and revoked {counted(done.revoked_keys, 'key')}"
    )


def _print(merchant: merchants_pb2.Merchant, output: str) -> None:
    fields = _fields(merchant)
    if output == "json":
        print_json(fields)
        return
    print_table(("field", "value"), list(fields.items()), right_from=2)


def _fields(merchant: merchants_pb2.Merchant) -> dict[str, str]:
    return {
        "merchant": merchant.name.removeprefix("merchants/"),
        "name": merchant.name,
        "display_name": merchant.display_name,
        "create_time": merchant.create_time.ToJsonString(),
        "update_time": merchant.update_time.ToJsonString(),
        "etag": merchant.etag,
    }
