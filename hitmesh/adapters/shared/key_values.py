"""Convert keys to columns, in the same form for every store with tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitmesh.model.sites import IngestKey, Role

KEY_COLUMNS: Final = (
    "merchant, key_id, kind, site, unbounded_history, created_at, revoked_at, roles, expires_at, display_name, prefix, "
    "updated_at, rotated_from, version"
)


def key_values(key: IngestKey) -> tuple[str | int | None, ...]:
    """Return a key as KEY_COLUMNS."""
    return (
        key.merchant,
        key.key_id,
        key.kind.value,
        key.site,
        key.unbounded_history,
        key.created_at,
        key.revoked_at,
        roles_value(key.roles),
        key.expires_at,
        key.display_name,
        key.prefix,
        key.updated_at,
        key.rotated_from,
        key.version,
    )


def roles_value(roles: Iterable[Role]) -> str:
    """Return roles as a text such as `read,send`; an empty text for no roles."""
    return ",".join(sorted(roles))


def roles_of(value: str | None) -> frozenset[Role]:
    """Return the roles in a column. A key of a version before roles were stored has no roles."""
    return frozenset(map(Role, value.split(","))) if value else frozenset()
