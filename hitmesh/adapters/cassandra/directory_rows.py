"""Encode and decode the columns of rows in the table of keys."""

from __future__ import annotations

from typing import Any, Final

from hitmesh.adapters.cassandra.session import Row
from hitmesh.adapters.shared.key_values import roles_of, roles_value
from hitmesh.model.sites import IngestKey, KeyKind

KEY_COLUMNS: Final = "merchant, key_id, kind, site, unbounded_history, created_at, revoked_at, roles"


def key_values(key: IngestKey) -> tuple[Any, ...]:
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
    )


def key_of(row: Row) -> IngestKey:
    """Return the key in a row of KEY_COLUMNS."""
    return IngestKey(
        key_id=row.key_id,
        merchant=row.merchant,
        kind=KeyKind(row.kind),
        site=row.site,
        unbounded_history=row.unbounded_history,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        roles=roles_of(row.roles),
    )
