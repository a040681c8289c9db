"""Encode and decode the columns of rows in the table of keys."""

from __future__ import annotations

from hitmesh.adapters.cassandra.session import Row
from hitmesh.adapters.shared.key_values import roles_of
from hitmesh.model.sites import IngestKey, KeyKind


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
        expires_at=row.expires_at,
        display_name=row.display_name or "",
        prefix=row.prefix or "",
        updated_at=row.updated_at,
        rotated_from=row.rotated_from,
        version=row.version or 0,
    )
