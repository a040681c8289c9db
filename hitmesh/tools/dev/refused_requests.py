"""Messages for REST requests that Envoy itself refuses, by the cause that Envoy gives (its response code details)."""

from __future__ import annotations

from typing import Final, NamedTuple

from hitmesh.model.reasons import ErrorReason
from hitmesh.tools.dev.door_limits import DoorLimits

_INVALID: Final = 3
_TOO_LARGE: Final = 8
_UNIMPLEMENTED: Final = 12
_NOT_FOUND: Final = 5
PATHS: Final = "the path must not contain %2F, %5C or %00"


class RefusedRequest(NamedTuple):
    """A request that Envoy refuses.

    Attributes:
        http: Envoy's HTTP status.
        answered: the HTTP status that the client gets.
        code: the gRPC code in the body.
        reason: the reason in the body.
        message: the message. Envoy's own text may be part of the message as `%LOCAL_REPLY_BODY%`.
        limit: the number that the request exceeds; None if the cause is not a limit.
    """

    http: int
    answered: int
    code: int
    reason: ErrorReason
    message: str
    limit: int | None = None


def refused_requests(limits: DoorLimits) -> dict[str, RefusedRequest]:
    """Return the refused requests, keyed by Envoy's response code details."""
    max_headers, max_headers_kb = limits.max_headers, limits.max_headers_kb
    malformed = {
        "path_normalization_failed": f"the path is not allowed: {PATHS}",
        "missing_host_header": "the request has no Host header: send the header with the name of the mesh",
        "http1.codec_error": "the request is not valid HTTP/1.1: check the method, each header line, that the request "
        "has only one Content-Length, and the sizes of chunks",
        "http1.content_length_and_chunked_not_allowed": "the request has Content-Length and Transfer-Encoding: send "
        "only one of the two headers",
        "http1.unexpected_underscore": "the name of a header has an underscore: use hyphens",
    }
    too_large = {
        "http1.too_many_headers": (f"the request has more than {max_headers} headers: send fewer headers", max_headers),
        "http1.headers_too_large": (
            f"the headers of the request have more than {max_headers_kb} KiB: send fewer or shorter headers",
            max_headers_kb << 10,
        ),
    }
    return {
        **{
            cause: RefusedRequest(400, 400, _INVALID, ErrorReason.INVALID_REQUEST, message)
            for cause, message in malformed.items()
        },
        **{
            cause: RefusedRequest(431, 431, _TOO_LARGE, ErrorReason.REQUEST_TOO_LARGE, message, limit)
            for cause, (message, limit) in too_large.items()
        },
        "upgrade_failed": RefusedRequest(
            403,
            400,
            _INVALID,
            ErrorReason.INVALID_REQUEST,
            "the mesh changes no connection to another protocol such as WebSocket: send the request without the header "
            "Upgrade",
        ),
        "http1.invalid_transfer_encoding": RefusedRequest(
            501,
            501,
            _UNIMPLEMENTED,
            ErrorReason.UNIMPLEMENTED,
            "the request has an unknown Transfer-Encoding: send `chunked`, or the header Content-Length",
        ),
        "early_grpc_json_transcode_failure{NOT_FOUND}": RefusedRequest(
            404,
            404,
            _NOT_FOUND,
            ErrorReason.NOT_FOUND,
            "%LOCAL_REPLY_BODY% Check the HTTP method and the path: no call has both; grpcurl list names the services",
        ),
    }


def too_large(limits: DoorLimits) -> str:
    """Return the message for a body that is too large."""
    return (
        f"the request has more than {limits.max_body_bytes:,} bytes: send a smaller request; divide hits into several "
        f"batches, or use StreamHits"
    )


def too_many(limits: DoorLimits) -> str:
    """Return the message for a connection with too many requests."""
    return (
        f"the connection sent more than {limits.requests_per_s:,} requests a second: put more hits into a batch, or "
        f"send the request again after the time in retry-after"
    )
