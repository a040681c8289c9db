"""The only module that maps errors to a gRPC status with google.rpc details.

Every status has an ErrorInfo with the reason, the domain and, as metadata, the variable parts of the message. A
RefusedError with a field adds a BadRequest. A RetryError adds a RetryInfo and the initial metadata `retry-after`, which
Envoy turns into the HTTP header. The reason QUOTA adds a QuotaFailure. A QuotaExceeded adds the initial metadata
`ratelimit-policy` and `ratelimit`, in the form of the IETF draft draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from hitmesh.model.errors import (
    Abandoned,
    AlreadyExists,
    HitmeshError,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    RefusedError,
    RetryError,
    Unauthenticated,
)
from hitmesh.model.reasons import ERROR_DOMAIN, ErrorReason, Reason
from hitmesh.runtime.logs import logger

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_CODES: tuple[tuple[type[HitmeshError], int], ...] = (
    (NotFound, code_pb2.NOT_FOUND),
    (AlreadyExists, code_pb2.ALREADY_EXISTS),
    (Unauthenticated, code_pb2.UNAUTHENTICATED),
    (PermissionDenied, code_pb2.PERMISSION_DENIED),
    (RefusedError, code_pb2.INVALID_ARGUMENT),
    (RetryError, code_pb2.UNAVAILABLE),
    (Abandoned, code_pb2.CANCELLED),
    (HitmeshError, code_pb2.INTERNAL),
)
# Reasons whose gRPC status differs from the status of the error's class.
_CODES_BY_REASON: Mapping[Reason, int] = {
    ErrorReason.QUOTA: code_pb2.RESOURCE_EXHAUSTED,
    ErrorReason.TOO_MANY_STREAMS: code_pb2.RESOURCE_EXHAUSTED,
    ErrorReason.TOO_MANY_CALLS: code_pb2.RESOURCE_EXHAUSTED,
    ErrorReason.DEADLINE_EXCEEDED: code_pb2.DEADLINE_EXCEEDED,
    ErrorReason.ETAG_MISMATCH: code_pb2.ABORTED,
    ErrorReason.DAY_NOT_CLOSED: code_pb2.FAILED_PRECONDITION,
    ErrorReason.WRONG_STATE: code_pb2.FAILED_PRECONDITION,
    ErrorReason.REPROCESSING_CONFLICT: code_pb2.FAILED_PRECONDITION,
    ErrorReason.DATA_VERSION_EXPIRED: code_pb2.FAILED_PRECONDITION,
    ErrorReason.DATA_VERSION_ERASED: code_pb2.FAILED_PRECONDITION,
    ErrorReason.TOO_MANY_RESOURCES: code_pb2.FAILED_PRECONDITION,
}


def status_of(error: HitmeshError) -> status_pb2.Status:
    """Return the error's gRPC status with details.

    A reason outside ErrorReason (a LocalReason) becomes INTERNAL.
    """
    code = _CODES_BY_REASON.get(error.reason) or next(code for kind, code in _CODES if isinstance(error, kind))
    reason = error.reason if isinstance(error.reason, ErrorReason) else ErrorReason.INTERNAL
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN, metadata=error.metadata())
    ]
    if isinstance(error, RefusedError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, RetryError):
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(math.ceil(error.retry_after_s * 1000))
        details.append(info)
    if error.reason is ErrorReason.QUOTA:
        subject = str(error.variables.get("subject") or error.variables.get("site") or "sender")
        failure = error_details_pb2.QuotaFailure.Violation(subject=subject, description=error.message)
        details.append(error_details_pb2.QuotaFailure(violations=[failure]))
    return status_pb2.Status(code=code, message=error.message, details=[_packed(detail) for detail in details])


def abort(context: grpc.ServicerContext, error: HitmeshError, trailers: tuple[tuple[str, str], ...] = ()) -> NoReturn:
    """End a call with the error's status and the given trailing metadata."""
    if isinstance(error, RetryError):
        with contextlib.suppress(ValueError):  # a stream that has sent a response has also sent its initial metadata
            context.send_initial_metadata(_retry_headers(error))
    status = rpc_status.to_status(status_of(error))
    context.set_trailing_metadata((*status.trailing_metadata, *trailers))
    context.abort(status.code, status.details)
    raise AssertionError("abort returned")


def _retry_headers(error: RetryError) -> tuple[tuple[str, str], ...]:
    wait_s = max(1, math.ceil(error.retry_after_s))
    headers: tuple[tuple[str, str], ...] = (("retry-after", str(wait_s)),)
    if isinstance(error, QuotaExceeded):
        headers += (
            ("ratelimit-policy", f'"{error.quota}";q={error.limit};w={error.window_s}'),
            ("ratelimit", f'"{error.quota}";r=0;t={wait_s}'),
        )
    return headers


def translating(
    call: Callable[[RequestT, grpc.ServicerContext], ResponseT],
) -> Callable[[RequestT, grpc.ServicerContext], ResponseT]:
    """Wrap a unary call.

    If the call raises a HitmeshError, the call ends with the error's status. If the call raises another error, the call
    ends with INTERNAL, without the error's text.
    """

    @functools.wraps(call)
    def translated(request: RequestT, context: grpc.ServicerContext) -> ResponseT:
        with _translation(context):
            return call(request, context)
        raise AssertionError("abort returned")

    return translated


def translating_stream(
    call: Callable[[RequestT, grpc.ServicerContext], Iterator[ResponseT]],
) -> Callable[[RequestT, grpc.ServicerContext], Iterator[ResponseT]]:
    """Wrap a call with a response stream.

    Errors are mapped as in `translating`, and end the stream.
    """

    @functools.wraps(call)
    def translated(request: RequestT, context: grpc.ServicerContext) -> Iterator[ResponseT]:
        with _translation(context):
            yield from call(request, context)

    return translated


@contextlib.contextmanager
def _translation(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except HitmeshError as error:
        abort(context, error)
    except GeneratorExit:  # the caller closed the response stream
        raise
    # BaseException includes Rust panics, after which gRPC would leave the call open.
    except BaseException as error:
        if type(error) is Exception:  # raised by context.abort
            raise
        logger().exception("call_failed", error=type(error).__name__)
        abort(context, HitmeshError("the server failed: report this to the operator; the cause is in the server's log"))


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
