"""Creates, reads, changes, replaces, revokes and deletes ingest keys through a mesh's admin service."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.runtime.rpc_values import timestamp

_PAGE_SIZE: Final = 1_000
_KIND: Final = "KEY_KIND_"
_ROLE: Final = "KEY_ROLE_"


def create_key(
    mesh: Mesh,
    merchant: str,
    kind: str,
    site: str | None,
    roles: Sequence[str],
    *,
    unbounded_history: bool = False,
    display_name: str = "",
    expires_at: int | None = None,
) -> admin_pb2.CreateIngestKeyResponse:
    """Create a key, and return the key with its secret. Without roles, the key can only send hits.

    Args:
        mesh: the mesh, with a key that has the role administer.
        merchant: the merchant's full name, `merchants/m`.
        kind: the key's kind, such as `server`.
        site: full name of the key's only site; None if the key is for all the merchant's sites.
        roles: the key's roles, such as `send`.
        unbounded_history: whether hits of any age are accepted.
        display_name: name of the key for people.
        expires_at: time from which on the key is refused, in UTC ms; None for a key that does not expire.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call.
    """
    mesh.require_key()
    key = admin_pb2.IngestKey(
        kind=admin_pb2.KeyKind.Value(f"{_KIND}{kind.upper()}"),
        site=site,
        roles=[role_number(role) for role in roles],
        unbounded_history=unbounded_history,
        display_name=display_name,
        expire_time=None if expires_at is None else timestamp(expires_at),
    )
    request = admin_pb2.CreateIngestKeyRequest(parent=merchant, key=key)
    return mesh.admin.CreateIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def get_key(mesh: Mesh, name: str) -> admin_pb2.IngestKey:
    """Return a key by its full name.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call.
    """
    mesh.require_key()
    request = admin_pb2.GetIngestKeyRequest(name=name)
    return mesh.admin.GetIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).key


def list_keys(mesh: Mesh, merchant: str, *, show_revoked: bool = False) -> Iterator[admin_pb2.IngestKey]:
    """Yield the keys of a merchant (`merchants/m`), ordered by id.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses a call.
    """
    mesh.require_key()
    request = admin_pb2.ListIngestKeysRequest(parent=merchant, page_size=_PAGE_SIZE, show_revoked=show_revoked)
    while True:
        page = mesh.admin.ListIngestKeys(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        yield from page.keys
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return


def update_key(mesh: Mesh, key: admin_pb2.IngestKey, fields: Sequence[str]) -> admin_pb2.IngestKey:
    """Change the named fields of a key, and return the key. If `key.etag` is set, it must be current.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call; ABORTED if the etag is not current.
    """
    mesh.require_key()
    request = admin_pb2.UpdateIngestKeyRequest(key=key, update_mask=FieldMask(paths=fields))
    return mesh.admin.UpdateIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).key


def rotate_key(mesh: Mesh, name: str, overlap_s: int | None = None) -> admin_pb2.RotateIngestKeyResponse:
    """Replace a key, and return the new key with its secret. A new secret is in the response only.

    Args:
        mesh: the mesh, with a key that has the role administer.
        name: full name of the key.
        overlap_s: seconds for which both keys are valid; None for the default of the service.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call.
    """
    mesh.require_key()
    overlap = None if overlap_s is None else Duration(seconds=overlap_s)
    request = admin_pb2.RotateIngestKeyRequest(name=name, overlap=overlap, request_id=str(uuid.uuid4()))
    return mesh.admin.RotateIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def delete_key(mesh: Mesh, name: str) -> None:
    """Delete a key that was revoked or has expired, by its full name.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call; FAILED_PRECONDITION if the key is valid.
    """
    mesh.require_key()
    request = admin_pb2.DeleteIngestKeyRequest(name=name)
    mesh.admin.DeleteIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def revoke_key(mesh: Mesh, name: str) -> admin_pb2.IngestKey:
    """Revoke a key by its full name, and return the key. Idempotent.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call.
    """
    mesh.require_key()
    request = admin_pb2.RevokeIngestKeyRequest(name=name)
    return mesh.admin.RevokeIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).key


def role_number(role: str) -> admin_pb2.KeyRole.ValueType:
    """Return a role's number, for a name such as `send`."""
    return admin_pb2.KeyRole.Value(f"{_ROLE}{role.upper()}")


def kind_name(key: admin_pb2.IngestKey) -> str:
    """Return a key's kind, such as `server`."""
    return admin_pb2.KeyKind.Name(key.kind).removeprefix(_KIND).lower()


def role_names(key: admin_pb2.IngestKey) -> list[str]:
    """Return a key's roles, such as `send`."""
    return [admin_pb2.KeyRole.Name(role).removeprefix(_ROLE).lower() for role in key.roles]
