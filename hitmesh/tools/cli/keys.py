"""`hitmesh keys`: list, create, show, update, rotate, revoke and delete the ingest keys of a merchant."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hitmesh.model.names import ingest_key_name, merchant_of
from hitmesh.model.plurals import counted
from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.key_fields import COLUMNS, all_fields, list_row, print_key, print_secret
from hitmesh.tools.cli.key_options import (
    connect_with_any_key,
    duration_s,
    expiry,
    full_merchant,
    key_id_argument,
    merchant_option,
)
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import examples, mesh_options, output_option, site_option
from hitmesh.tools.cli.output import note, print_json, print_table

KINDS: Final = ("browser", "server", "edge")
ROLES: Final = ("send", "read", "administer")
_MODULE: Final = "hitmesh.tools.cli.keys"


@click.group(
    cls=LazyGroup,
    lazy={
        "list": LazyCommand(f"{_MODULE}:list_command", "List the keys of a merchant."),
        "create": LazyCommand(f"{_MODULE}:create", "Create a key and print its secret."),
        "show": LazyCommand(f"{_MODULE}:show", "Show a key."),
        "update": LazyCommand(f"{_MODULE}:update", "Change a key's name, expiry or roles."),
        "rotate": LazyCommand(f"{_MODULE}:rotate", "Replace a key, and print the new secret."),
        "revoke": LazyCommand(f"{_MODULE}:revoke", "Revoke a key permanently."),
        "delete": LazyCommand(f"{_MODULE}:delete", "Delete a key that is revoked or expired."),
    },
    name="keys",
    short_help="Manage the keys of a merchant.",
    epilog=examples(
        "hitmesh keys create --site demo/example --kind browser",
        "hitmesh keys create --merchant demo --kind server --role send --role read",
        "hitmesh keys list --merchant demo",
        "hitmesh keys rotate server-Zx3_9aQ --merchant demo --overlap 2d",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def keys_group() -> None:
    """Manage the ingest keys of a merchant.

    The commands need a server key with the role administer, or an operator's key.
    """


@click.command(
    "list",
    short_help="List the keys of a merchant.",
    epilog=examples(
        "hitmesh keys list --merchant demo",
        "hitmesh keys list --merchant demo --show-revoked -o json",
    ),
)
@merchant_option
@click.option("--show-revoked", is_flag=True, help="List revoked keys too.")
@output_option("table", "json")
@mesh_options
def list_command(*, merchant: str, show_revoked: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """List the keys of a merchant by id, without their secrets. The JSON output is a single list."""
    with connect_with_any_key(endpoint, home) as mesh:
        from hitmesh.client.keys import list_keys

        found = list(list_keys(mesh, merchant, show_revoked=show_revoked or output == "table"))
    if output == "json":
        print_json([all_fields(key) for key in found])
        return
    shown = [key for key in found if show_revoked or not key.HasField("revoke_time")]
    print_table(COLUMNS, [list_row(key) for key in shown], right_from=len(COLUMNS))
    if len(shown) < len(found):
        note(f"{counted(len(found) - len(shown), 'revoked key')} not shown: --show-revoked shows revoked keys too")


@click.command(
    short_help="Create a key and print its secret.",
    epilog=examples(
        "hitmesh keys create --site demo/example --kind browser",
        "hitmesh keys create --merchant demo --kind server --role send --role read -o json",
        "hitmesh keys create --merchant demo --kind server --name 'nightly import' --expires 2027-01-31",
    ),
)
@click.option("--merchant", callback=full_merchant, metavar="MERCHANT", help="Create a key for all sites of MERCHANT.")
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
@click.option("--name", "display_name", default="", metavar="TEXT", help="Name of the key for people.")
@click.option(
    "--expires", callback=expiry, metavar="TIME", help="Refuse the key from this time on, for example 2027-01-31."
)
@output_option("table", "json")
@mesh_options
def create(
    *,
    merchant: str | None,
    site: str | None,
    kind: str,
    roles: tuple[str, ...],
    unbounded_history: bool,
    display_name: str,
    expires: int | str | None,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Create a key for --site, or for all sites of --merchant, and print the secret, which is shown only once.

    Without --role, the key can only send hits. The JSON output is a single object.
    """
    if (merchant is None) == (site is None):
        raise click.UsageError("give either --site or --merchant")
    if kind == "browser" and site is None:
        raise click.UsageError("a browser key is public and valid for one site: give --site instead of --merchant")
    with connect_with_any_key(endpoint, home) as mesh:
        from hitmesh.client.keys import create_key

        made = create_key(
            mesh,
            merchant or merchant_of(site or ""),
            kind,
            site,
            roles,
            unbounded_history=unbounded_history,
            display_name=display_name,
            expires_at=expires if isinstance(expires, int) else None,
        )
    print_secret(made.key, made.secret, output, {})


@click.command(
    short_help="Show a key.",
    epilog=examples(
        "hitmesh keys show server-Zx3_9aQ --merchant demo",
        "hitmesh keys show server-Zx3_9aQ --merchant demo -o json",
    ),
)
@key_id_argument
@output_option("table", "json")
@mesh_options
def show(*, id_: str, merchant: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Show the key ID, without its secret. The JSON output is a single object."""
    with connect_with_any_key(endpoint, home) as mesh:
        from hitmesh.client.keys import get_key

        key = get_key(mesh, ingest_key_name(merchant, id_))
    print_key(key, output)


@click.command(
    short_help="Change a key's name, expiry or roles.",
    epilog=examples(
        "hitmesh keys update server-Zx3_9aQ --merchant demo --expires 2027-01-31",
        "hitmesh keys update server-Zx3_9aQ --merchant demo --role send --role read -o json",
    ),
)
@key_id_argument
@click.option("--name", "display_name", metavar="TEXT", help="New name of the key for people.")
@click.option("--expires", callback=expiry, metavar="TIME", help="Refuse the key from this time on, or never.")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, help="New role of the key; may be repeated.")
@click.option("--etag", default="", metavar="ETAG", help="Change the key only if this is its etag (`keys show`).")
@output_option("table", "json")
@mesh_options
def update(
    *,
    id_: str,
    merchant: str,
    display_name: str | None,
    expires: int | str | None,
    roles: tuple[str, ...],
    etag: str,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Change the key ID. Within 2 s, the mesh applies the change. The JSON output is a single object.

    The given roles replace all roles of the key.
    """
    given = {"display_name": display_name is not None, "expire_time": expires is not None, "roles": bool(roles)}
    fields = [name for name, is_given in given.items() if is_given]
    if not fields:
        raise click.UsageError("give at least one of --name, --expires and --role")
    with connect_with_any_key(endpoint, home) as mesh:
        from hitmesh.api.control.v1 import admin_pb2
        from hitmesh.client.keys import role_number, update_key
        from hitmesh.runtime.rpc_values import timestamp

        key = admin_pb2.IngestKey(
            name=ingest_key_name(merchant, id_),
            display_name=display_name or "",
            expire_time=timestamp(expires) if isinstance(expires, int) else None,
            roles=[role_number(role) for role in roles],
            etag=etag,
        )
        changed = update_key(mesh, key, fields)
    print_key(changed, output)


@click.command(
    short_help="Replace a key, and print the new secret.",
    epilog=examples(
        "hitmesh keys rotate server-Zx3_9aQ --merchant demo",
        "hitmesh keys rotate server-Zx3_9aQ --merchant demo --overlap 0s -o json",
    ),
)
@key_id_argument
@click.option(
    "--overlap", callback=duration_s, metavar="DURATION", help="Time for which both keys are valid. Default: 7d."
)
@output_option("table", "json")
@mesh_options
def rotate(
    *, id_: str, merchant: str, overlap: int | None, output: str, endpoint: str | None, home: Path | None
) -> None:
    """Create a key that replaces the key ID, and print the new secret, which is shown only once.

    The key ID expires after the overlap, or earlier if it would expire earlier. The JSON output is a single object.
    """
    with connect_with_any_key(endpoint, home) as mesh:
        from hitmesh.client.keys import rotate_key

        made = rotate_key(mesh, ingest_key_name(merchant, id_), overlap)
    print_secret(made.key, made.secret, output, {"replaced_key": all_fields(made.replaced_key)})
    if output != "json":
        note(f"key {id_} of {merchant} expires at {made.replaced_key.expire_time.ToJsonString()}")


@click.command(
    short_help="Revoke a key permanently.",
    epilog=examples(
        "hitmesh keys revoke --merchant demo server-Zx3_9aQ",
        "hitmesh keys revoke --merchant demo server-Zx3_9aQ -o json",
    ),
)
@key_id_argument
@output_option("table", "json")
@mesh_options
def revoke(*, id_: str, merchant: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Revoke the key ID. Within 2 s, the mesh refuses the key. The JSON output is a single object."""
    with connect_with_any_key(endpoint, home) as mesh:
        from hitmesh.client.keys import revoke_key

        revoked = revoke_key(mesh, ingest_key_name(merchant, id_))
    if output == "json":
        print_json(all_fields(revoked))
    else:
        note(f"key {id_} of {merchant} was revoked at {revoked.revoke_time.ToJsonString()}")


@click.command(
    short_help="Delete a key that is revoked or expired.",
    epilog=examples(
        "hitmesh keys delete --merchant demo server-Zx3_9aQ",
        "hitmesh keys delete --merchant demo server-Zx3_9aQ -o json",
    ),
)
@key_id_argument
@output_option("table", "json")
@mesh_options
def delete(*, id_: str, merchant: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Delete the key ID, which must be revoked or expired. The JSON output is a single object."""
    with connect_with_any_key(endpoint, home) as mesh:
        from hitmesh.client.keys import delete_key

        delete_key(mesh, ingest_key_name(merchant, id_))
    if output == "json":
        print_json({"id": id_, "merchant": merchant, "deleted": True})
    else:
        note(f"key {id_} of {merchant} was deleted")
