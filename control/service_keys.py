"""The methods of AdminService for keys."""

from __future__ import annotations

import grpc

from control.rpc.admin.create_ingest_key import create_ingest_key
from control.rpc.admin.delete_ingest_key import delete_ingest_key
from control.rpc.admin.get_ingest_key import get_ingest_key
from control.rpc.admin.list_ingest_keys import list_ingest_keys
from control.rpc.admin.revoke_ingest_key import revoke_ingest_key
from control.rpc.admin.rotate_ingest_key import rotate_ingest_key
from control.rpc.admin.update_ingest_key import update_ingest_key
from control.service_shell import Shell
from hitmesh.api.control.v1 import admin_pb2


class KeyMethods(Shell):
    """Manages keys. A base class of AdminService."""

    def CreateIngestKey(
        self, request: admin_pb2.CreateIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.CreateIngestKeyResponse:
        """Create a key."""
        return self._run(create_ingest_key, request, context)

    def GetIngestKey(
        self, request: admin_pb2.GetIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.GetIngestKeyResponse:
        """Return a key."""
        return self._run(get_ingest_key, request, context)

    def ListIngestKeys(
        self, request: admin_pb2.ListIngestKeysRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ListIngestKeysResponse:
        """List a merchant's keys."""
        return self._run(list_ingest_keys, request, context)

    def UpdateIngestKey(
        self, request: admin_pb2.UpdateIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.UpdateIngestKeyResponse:
        """Change a key's display name, expiry or roles."""
        return self._run(update_ingest_key, request, context)

    def DeleteIngestKey(
        self, request: admin_pb2.DeleteIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.DeleteIngestKeyResponse:
        """Delete a key that is not valid."""
        return self._run(delete_ingest_key, request, context)

    def RotateIngestKey(
        self, request: admin_pb2.RotateIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.RotateIngestKeyResponse:
        """Replace a key."""
        return self._run(rotate_ingest_key, request, context)

    def RevokeIngestKey(
        self, request: admin_pb2.RevokeIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.RevokeIngestKeyResponse:
        """Revoke a key."""
        return self._run(revoke_ingest_key, request, context)
