"""Read the mesh's secret from Cassandra; create the secret on first use (rule D0)."""

from __future__ import annotations

import secrets

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.directory_rules import MESH_SECRET_BYTES

_SECRET = "SELECT secret FROM mesh_secrets WHERE zero = 0"


def stored_mesh_secret(session: CassandraSession) -> bytes:
    """Return the mesh's secret. If several processes create the secret at the same time, all get the same secret."""
    rows = session.run(_SECRET, (), serial=True)
    if not rows:
        session.apply(
            "INSERT INTO mesh_secrets (zero, secret) VALUES (0, ?) IF NOT EXISTS",
            (secrets.token_bytes(MESH_SECRET_BYTES),),
        )
        rows = session.run(_SECRET, (), serial=True)
    return bytes(rows[0].secret)
