"""Read code and reason from the errors of calls."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def reason_of(error: grpc.RpcError) -> str:
    """Return the code and the reason of an error, and whether the error states when to retry."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the error of a call is that call
    code: str = error.code().name
    if status is None:
        return code
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reasons = [info.reason for detail in status.details if detail.Unpack(info)]
    retries = [detail for detail in status.details if detail.Unpack(retry)]
    return " ".join([code, *reasons, *(["with retry time"] if retries else [])])
