"""The methods of AdminService for merchants."""

from __future__ import annotations

import grpc

from control.rpc.admin.create_merchant import create_merchant
from control.rpc.admin.delete_merchant import delete_merchant
from control.rpc.admin.get_merchant import get_merchant
from control.rpc.admin.list_merchants import list_merchants
from control.rpc.admin.update_merchant import update_merchant
from control.service_shell import Shell
from hitmesh.api.control.v1 import merchants_pb2


class MerchantMethods(Shell):
    """Manages merchants."""

    def CreateMerchant(
        self, request: merchants_pb2.CreateMerchantRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.CreateMerchantResponse:
        """Create a merchant."""
        return self._run(create_merchant, request, context)

    def GetMerchant(
        self, request: merchants_pb2.GetMerchantRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.GetMerchantResponse:
        """Return a merchant."""
        return self._run(get_merchant, request, context)

    def ListMerchants(
        self, request: merchants_pb2.ListMerchantsRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.ListMerchantsResponse:
        """List merchants."""
        return self._run(list_merchants, request, context)

    def UpdateMerchant(
        self, request: merchants_pb2.UpdateMerchantRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.UpdateMerchantResponse:
        """Change a merchant."""
        return self._run(update_merchant, request, context)

    def DeleteMerchant(
        self, request: merchants_pb2.DeleteMerchantRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.DeleteMerchantResponse:
        """Delete a merchant."""
        return self._run_watched(delete_merchant, request, context)
