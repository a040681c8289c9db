"""Creates and revokes ingest keys through a mesh's admin service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh

_KIND: Final = "KEY_KIND_"
_ROLE: Final = "KEY_ROLE_"


def create_key(
    mesh: Mesh, merchant: str, kind: str, site: str | None, roles: Sequence[str], *, unbounded_history: bool = False
) -> admin_pb2.CreateIngestKeyResponse:
    """Create a key, and return the key with its secret. Without roles, the key can only send hits.

    Args:
        mesh: the mesh, with a key that has the role administer.
        merchant: the merchant's full name, `merchants/m`.
        kind: the key's kind, such as `server`.
        site: full name of the key's only site; None if the key is for all the merchant's sites.
        roles: the key's roles, such as `send`.
        unbounded_history: whether hits of any age are accepted.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call.
    """
    mesh.require_key()
    key = admin_pb2.IngestKey(
        kind=admin_pb2.KeyKind.Value(f"{_KIND}{kind.upper()}"),
        site=site,
        roles=[admin_pb2.KeyRole.Value(f"{_ROLE}{role.upper()}") for role in roles],
        unbounded_history=unbounded_history,
    )
    request = admin_pb2.CreateIngestKeyRequest(parent=merchant, key=key)
    return mesh.admin.CreateIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def revoke_key(mesh: Mesh, name: str) -> admin_pb2.IngestKey:
    """Revoke a key by its full name, and return the key. Idempotent.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call.
    """
    mesh.require_key()
    request = admin_pb2.RevokeIngestKeyRequest(name=name)
    return mesh.admin.RevokeIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).key


def kind_name(key: admin_pb2.IngestKey) -> str:
    """Return a key's kind, such as `server`."""
    return admin_pb2.KeyKind.Name(key.kind).removeprefix(_KIND).lower()


def role_names(key: admin_pb2.IngestKey) -> list[str]:
    """Return a key's roles, such as `send`."""
    return [admin_pb2.KeyRole.Name(role).removeprefix(_ROLE).lower() for role in key.roles]
