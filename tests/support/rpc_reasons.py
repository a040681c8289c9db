"""Classification of call errors by code and reason."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def reason_of(error: grpc.RpcError) -> str:
    """Return code and reason, and whether the error says when to retry."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the error of a call is that call
    code: str = error.code().name
    if status is None:
        return code
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reasons = [info.reason for detail in status.details if detail.Unpack(info)]
    retries = [detail for detail in status.details if detail.Unpack(retry)]
    return " ".join([code, *reasons, *(["with retry time"] if retries else [])])
