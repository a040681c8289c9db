"""Calls of the RPCs for keys, by default with the key of the merchant `demo`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from control.service import SERVICES, build_server
from hitmesh.api.control.v1 import admin_pb2
from tests.support.reporters import OWNER, Mesh, bearer, control_backend, served

SEND, READ, ADMINISTER = admin_pb2.KEY_ROLE_SEND, admin_pb2.KEY_ROLE_READ, admin_pb2.KEY_ROLE_ADMINISTER
INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
DEMO = "merchants/demo"


@contextmanager
def with_two_keys(mesh: Mesh) -> Iterator[Mesh]:
    """Provide a mesh whose merchants may have two valid keys."""
    server = build_server(replace(control_backend(mesh.stores, mesh.clock, open_reads=False), max_keys=2))
    with grpc.insecure_channel(f"127.0.0.1:{served(server, SERVICES)}") as channel:
        yield replace(mesh, control_channel=channel)
    server.stop(None).wait()


def create(mesh: Mesh, secret: str = OWNER, **fields: Any) -> admin_pb2.CreateIngestKeyResponse:
    key = admin_pb2.IngestKey(**{"kind": admin_pb2.KEY_KIND_SERVER} | fields)
    request = admin_pb2.CreateIngestKeyRequest(parent=DEMO, key=key)
    return mesh.admin.CreateIngestKey(request, metadata=bearer(secret))


def get(mesh: Mesh, name: str, secret: str = OWNER) -> admin_pb2.IngestKey:
    return mesh.admin.GetIngestKey(admin_pb2.GetIngestKeyRequest(name=name), metadata=bearer(secret)).key


def update(mesh: Mesh, *mask: str, secret: str = OWNER, **fields: Any) -> admin_pb2.IngestKey:
    request = admin_pb2.UpdateIngestKeyRequest(key=admin_pb2.IngestKey(**fields), update_mask=FieldMask(paths=mask))
    return mesh.admin.UpdateIngestKey(request, metadata=bearer(secret)).key


def delete(mesh: Mesh, name: str, etag: str = "", secret: str = OWNER) -> None:
    mesh.admin.DeleteIngestKey(admin_pb2.DeleteIngestKeyRequest(name=name, etag=etag), metadata=bearer(secret))


def revoke(mesh: Mesh, name: str, secret: str = OWNER) -> admin_pb2.IngestKey:
    return mesh.admin.RevokeIngestKey(admin_pb2.RevokeIngestKeyRequest(name=name), metadata=bearer(secret)).key


def rotate(mesh: Mesh, name: str, secret: str = OWNER, **fields: Any) -> admin_pb2.RotateIngestKeyResponse:
    return mesh.admin.RotateIngestKey(admin_pb2.RotateIngestKeyRequest(name=name, **fields), metadata=bearer(secret))


def listed(mesh: Mesh, secret: str = OWNER, **fields: Any) -> admin_pb2.ListIngestKeysResponse:
    return mesh.admin.ListIngestKeys(admin_pb2.ListIngestKeysRequest(parent=DEMO, **fields), metadata=bearer(secret))
