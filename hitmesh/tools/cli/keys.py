"""`hitmesh keys`: create and revoke the ingest keys of a merchant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.model.names import MERCHANT_PATTERN, merchant_of, short_site_name
from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import connect, examples, mesh_options, output_option, site_option
from hitmesh.tools.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import admin_pb2

KINDS = ("browser", "server", "edge")
ROLES = ("send", "read", "administer")


@click.group(
    cls=LazyGroup,
    lazy={
        "create": LazyCommand("hitmesh.tools.cli.keys:create", "Create a key and print its secret."),
        "revoke": LazyCommand("hitmesh.tools.cli.keys:revoke", "Revoke a key permanently."),
    },
    name="keys",
    short_help="Create or revoke the keys of a merchant.",
    epilog=examples(
        "hitmesh keys create --site demo/example --kind browser",
        "hitmesh keys create --merchant demo --kind server --role send --role read",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def keys_group() -> None:
    """Create or revoke the ingest keys of a merchant. The commands need a server key with the role administer."""


def _full_merchant(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    name = value if value is None or value.startswith("merchants/") else f"merchants/{value}"
    if name is None or MERCHANT_PATTERN.fullmatch(name):
        return name
    raise click.BadParameter(f"{value!r} is not a merchant: write a name such as demo", param=param)


@click.command(
    short_help="Create a key and print its secret.",
    epilog=examples(
        "hitmesh keys create --site demo/example --kind browser",
        "hitmesh keys create --merchant demo --kind server --role send --role read -o json",
    ),
)
@click.option("--merchant", callback=_full_merchant, metavar="MERCHANT", help="Create a key for all sites of MERCHANT.")
@site_option(required=False)
@click.option("--kind", type=click.Choice(KINDS), required=True, help="Kind of the key.")
@click.option(
    "--role",
    "roles",
    type=click.Choice(ROLES),
    multiple=True,
    help="Role of the key; may be repeated. Default: send. Only server keys may read and administer.",
)
@click.option("--unbounded-history", is_flag=True, help="Accept hits of any age. Only for server keys.")
@output_option("table", "json")
@mesh_options
def create(
    *,
    merchant: str | None,
    site: str | None,
    kind: str,
    roles: tuple[str, ...],
    unbounded_history: bool,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Create a key for --site, or for all sites of --merchant, and print the secret, which is shown only once.

    Without --role, the key can only send hits. The JSON output is a single object.
    """
    if (merchant is None) == (site is None):
        raise click.UsageError("give either --site or --merchant")
    with connect(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.keys import create_key

        owner = merchant or merchant_of(site or "")
        made = create_key(mesh, owner, kind, site, roles, unbounded_history=unbounded_history)
    fields = _fields(made.key) | {"secret": made.secret}
    if output == "json":
        print_json(fields)
        return
    rows = [(fields["id"], fields["kind"], ", ".join(fields["roles"]), fields["site"] or "(all sites)", made.secret)]
    print_table(("id", "kind", "roles", "site", "secret"), rows, right_from=5)


@click.command(
    short_help="Revoke a key permanently.",
    epilog=examples(
        "hitmesh keys revoke --merchant demo server-Zx3_9aQ",
        "hitmesh keys revoke --merchant demo server-Zx3_9aQ -o json",
    ),
)
@click.argument("id_", metavar="ID")
@click.option("--merchant", callback=_full_merchant, metavar="MERCHANT", required=True, help="Merchant of the key.")
@output_option("table", "json")
@mesh_options
def revoke(*, id_: str, merchant: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Revoke the key ID. Within 2 s, the mesh refuses the key. The JSON output is a single object."""
    with connect(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.keys import revoke_key

        revoked = revoke_key(mesh, f"{merchant}/ingestKeys/{id_}")
    if output == "json":
        print_json(_fields(revoked))
    else:
        note(f"key {id_} of {merchant} was revoked at {revoked.revoke_time.ToJsonString()}")


def _fields(key: admin_pb2.IngestKey) -> dict[str, Any]:
    from hitmesh.client.keys import kind_name, role_names

    return {
        "id": key.name.rpartition("/")[2],
        "merchant": key.name.partition("/ingestKeys/")[0],
        "kind": kind_name(key),
        "roles": role_names(key),
        "site": short_site_name(key.site) if key.HasField("site") else None,
        "unbounded_history": key.unbounded_history,
        "create_time": key.create_time.ToJsonString(),
        "revoke_time": key.revoke_time.ToJsonString() if key.HasField("revoke_time") else None,
    }
