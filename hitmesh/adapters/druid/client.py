"""HTTP client for Druid with persistent connections, deadlines, size limits and translated errors.

The type of an error tells the caller how to react. If a server does not answer, has no capacity or dies while
answering, the caller should retry later. If a query is too large, the caller must send a smaller query. If Druid does
not understand a query, the cause is a bug in this project (FatalError). The client does not interpret queries.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any, Final

import orjson
import urllib3
from urllib3.exceptions import HTTPError

from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.client_tls import client_context
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import FatalError, HitmeshError, RefusedError, Unavailable
from hitmesh.model.reasons import ErrorReason

QUERY_S: Final = 30.0
ADMIN_S: Final = 30.0
PROBE_S: Final = 2.0
_CONNECT_S: Final = 2.0
_POOL: Final = 32
MAX_BYTES: Final = 256 << 20
_PIECE: Final = 1 << 20
# The number of bytes that the broker may queue per query. If the queue is full, a data server pauses, so that the
# broker's memory does not fill up.
_QUEUED_BYTES: Final = 32 << 20
_MAX_SHOWN_BYTES: Final = 500
_RETRY_S: Final = 2.0
# A coordinator that is not the leader redirects each request to the leader. Apart from redirects, no request is sent
# twice.
_FOLLOW: Final = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=2)
_TOO_LARGE: Final = "Resource limit exceeded"
# Druid reports exceptions of its query parser as server errors. The prefix `com.fasterxml.jackson.` identifies an
# exception of the query parser.
_NOT_UNDERSTOOD: Final = "com.fasterxml.jackson."


class DruidClient:
    """A client for the mesh's broker and coordinator. Thread-safe.

    Args:
        servers: addresses of broker and coordinator.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        context = client_context(Path(servers.tls)) if servers.tls else None
        self._pool = urllib3.PoolManager(num_pools=4, maxsize=_POOL, block=False, retries=_FOLLOW, ssl_context=context)

    def query(self, query: dict[str, Any], checkpoint: Checkpoint = unwatched) -> list[Any]:
        """Return the rows of a native query, as arrays.

        Raises:
            Abandoned: raised by the checkpoint, which is called for each MiB of the answer.
            Unavailable: the broker does not answer in time.
            RefusedError: the answer, or the work to compute it, is too large.
            FatalError: Druid does not understand the query.
        """
        context = {
            **query.get("context", {}),
            "queryId": uuid.uuid4().hex,
            "timeout": int(QUERY_S * 1_000),
            "maxQueuedBytes": _QUEUED_BYTES,
            "finalize": False,
            "resultAsArray": True,
        }
        url, full_query = f"{self._servers.broker}/druid/v2", {**query, "context": context}
        rows: list[Any] = self._request("POST", url, full_query, QUERY_S, checkpoint=checkpoint)
        return rows

    def coordinator(self, method: str, path: str, body: Any = None, *, missing: Any = None) -> Any:
        """Return the coordinator's answer. If the answer is HTTP 404 and `missing` is not None, return `missing`.

        Raises:
            Unavailable: the coordinator does not answer.
            FatalError: the coordinator rejects the request.
        """
        return self._request(method, f"{self._servers.coordinator}{path}", body, ADMIN_S, missing=missing)

    def probe(self) -> None:
        """Return when the broker, which answers queries, reports itself healthy.

        Raises:
            Unavailable: the broker does not answer.
        """
        self._request("GET", f"{self._servers.broker}/status/health", None, PROBE_S)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._pool.clear()

    def _request(
        self,
        method: str,
        url: str,
        body: Any,
        timeout_s: float,
        *,
        missing: Any = None,
        checkpoint: Checkpoint = unwatched,
    ) -> Any:
        status, data = self._exchange(method, url, b"" if body is None else orjson.dumps(body), timeout_s, checkpoint)
        if status == 404 and missing is not None:
            return missing
        if status >= 300:
            raise refusal(status, data)
        try:
            return orjson.loads(data) if data.strip() else None
        except orjson.JSONDecodeError as error:
            # Druid sends the HTTP status before the rows. If a server dies later, the status stays 200, and only the
            # cut-off rows show the failure.
            raise Unavailable(
                f"Druid's answer on {url} is cut off; try again", retry_after_s=_RETRY_S, url=url
            ) from error

    def _exchange(
        self, method: str, url: str, body: bytes, timeout_s: float, checkpoint: Checkpoint
    ) -> tuple[int, bytes]:
        """Send a request; return the answer's status and body.

        Raise if the answer is cut off, too large or too late.
        """
        limit_s = timeout_s + _CONNECT_S
        deadline = time.monotonic() + limit_s
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        timeout = urllib3.Timeout(connect=_CONNECT_S, read=timeout_s)
        try:
            answer = self._pool.request(
                method, url, body=body or None, headers=headers, timeout=timeout, preload_content=False
            )
            try:
                data = _body(answer, url, limit_s, deadline, checkpoint)
            except BaseException:
                # If an unread answer were not closed, the next answer on the connection would begin with the unread
                # bytes.
                answer.close()
                raise
            answer.release_conn()
        except HTTPError as error:
            raise Unavailable(
                f"Druid does not answer on {url}: {type(error).__name__}; check that Druid is running",
                retry_after_s=_RETRY_S,
                url=url,
                cause=type(error).__name__,
            ) from error
        return answer.status, data


def refusal(status: int, data: bytes) -> HitmeshError:
    """Return the error of hitmesh.model.errors for an HTTP error answer."""
    message = f"Druid answers with HTTP status {status}: {data[:_MAX_SHOWN_BYTES].decode(errors='replace')}"
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        answer = {}
    error, thrown = (str(answer.get(name, "")) if isinstance(answer, dict) else "" for name in ("error", "errorClass"))
    if error == _TOO_LARGE:
        return RefusedError(
            f"the question exceeds Druid's resource limits: ask for fewer dimensions or a shorter range; {message}",
            field="dimensions",
            reason=ErrorReason.TOO_MANY_ROWS,
            status=status,
            cause=thrown,
        )
    is_later = (status >= 500 or status in (408, 429)) and not thrown.startswith(_NOT_UNDERSTOOD)
    if is_later:
        return Unavailable(message, retry_after_s=_RETRY_S, status=status, cause=thrown)
    return FatalError(message, status=status, cause=thrown)


def _body(answer: urllib3.BaseHTTPResponse, url: str, limit_s: float, deadline: float, checkpoint: Checkpoint) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in answer.stream(_PIECE):
        checkpoint()
        size += len(piece)
        if size > MAX_BYTES:
            raise RefusedError(
                f"the answer has more than {MAX_BYTES:,} bytes: ask for fewer dimensions or a shorter range",
                field="dimensions",
                reason=ErrorReason.TOO_MANY_ROWS,
                limit=MAX_BYTES,
            )
        if time.monotonic() > deadline:
            raise Unavailable(
                f"Druid's answer on {url} did not end within {limit_s:g} s: ask for fewer dimensions or a shorter "
                "range",
                retry_after_s=_RETRY_S,
                url=url,
                timeout_s=limit_s,
            )
        pieces.append(piece)
    return b"".join(pieces)
