"""The fields of a key in the output of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.key_options import NEVER
from hitmesh.tools.cli.output import print_json, print_table

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import admin_pb2

COLUMNS: Final = ("id", "kind", "roles", "site", "name", "expires", "state")


def print_key(key: admin_pb2.IngestKey, output: str) -> None:
    """Print all fields of a key as a table or as JSON."""
    fields = all_fields(key)
    if output == "json":
        print_json(fields)
        return
    print_table(("key", "value"), [(name, _text(value)) for name, value in fields.items()], right_from=2)


def print_secret(key: admin_pb2.IngestKey, secret: str, output: str, further: dict[str, Any]) -> None:
    """Print a new key with its secret. The JSON output also has the `further` fields."""
    fields = all_fields(key)
    if output == "json":
        print_json(fields | {"secret": secret} | further)
        return
    rows = [(fields["id"], fields["kind"], ", ".join(fields["roles"]), fields["site"] or "(all sites)", secret)]
    print_table(("id", "kind", "roles", "site", "secret"), rows, right_from=5)


def list_row(key: admin_pb2.IngestKey) -> tuple[str, ...]:
    """Return the cells of a key in a list, for COLUMNS."""
    fields = all_fields(key)
    state = "revoked" if fields["revoke_time"] else "valid"
    if state == "valid" and fields["expire_time"] and _is_past(key):
        state = "expired"
    return (
        fields["id"],
        fields["kind"],
        ", ".join(fields["roles"]),
        fields["site"] or "(all sites)",
        fields["display_name"],
        fields["expire_time"] or NEVER,
        state,
    )


def _is_past(key: admin_pb2.IngestKey) -> bool:
    from hitmesh.runtime.clock import SystemClock

    return SystemClock().now() >= key.expire_time.ToMilliseconds()


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else str(value)


def all_fields(key: admin_pb2.IngestKey) -> dict[str, Any]:
    """Return all fields of a key except the secret. A field without a value is None."""
    from hitmesh.client.keys import kind_name, role_names

    def time(name: str) -> str | None:
        return getattr(key, name).ToJsonString() if key.HasField(name) else None  # type: ignore[arg-type]  # a field name

    return {
        "id": key.name.rpartition("/")[2],
        "merchant": key.name.partition("/ingestKeys/")[0],
        "kind": kind_name(key),
        "roles": role_names(key),
        "site": short_site_name(key.site) if key.HasField("site") else None,
        "display_name": key.display_name,
        "prefix": key.prefix,
        "unbounded_history": key.unbounded_history,
        "create_time": time("create_time"),
        "update_time": time("update_time"),
        "expire_time": time("expire_time"),
        "revoke_time": time("revoke_time"),
        "rotated_from": key.rotated_from.rpartition("/")[2] or None,
        "etag": key.etag,
    }
