"""HTTP to Druid: connections that stay open, a deadline and a size for everything, and what errors mean.

Decides by what the caller should do: a server that does not answer, has no room or dies while it answers is asked again
later; a question that is too large has to be made smaller; one that Druid does not understand is a bug of ours. Refuses
to know what is asked.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Final

import orjson
import urllib3
from urllib3.exceptions import HTTPError

from hitmesh.adapters.servers import Servers
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import FatalError, HitmeshError, RefusedError, Unavailable

QUERY_S: Final = 30.0
ADMIN_S: Final = 30.0
_CONNECT_S: Final = 2.0
_POOL: Final = 32
MAX_BYTES: Final = 256 << 20
_PIECE: Final = 1 << 20
# Of rows that wait in the broker for each query: a data server pauses instead of filling its memory.
_QUEUED_BYTES: Final = 32 << 20
_SAID: Final = 500
_RETRY_S: Final = 2.0
# A coordinator that is not the leader names the one that is. Nothing is sent twice otherwise.
_FOLLOW: Final = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=2)
_TOO_LARGE: Final = "Resource limit exceeded"
# What Druid's parser of questions throws arrives as an error of the server.
_NOT_UNDERSTOOD: Final = "com.fasterxml.jackson."


class DruidClient:
    """A client of the broker and the coordinator of a mesh. Thread-safe.

    Args:
        servers: where they are.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._pool = urllib3.PoolManager(num_pools=4, maxsize=_POOL, block=False, retries=_FOLLOW)

    def query(self, query: dict[str, Any], checkpoint: Checkpoint = unwatched) -> list[Any]:
        """Returns the rows of a native query, as arrays.

        Raises:
            Abandoned: the checkpoint said so; it is looked at before each MiB of the answer.
            Unavailable: the broker does not answer, or not in time.
            RefusedError: the answer, or what it takes to find it, is too large.
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
        url, asked = f"{self._servers.broker}/druid/v2", {**query, "context": context}
        rows: list[Any] = self._ask("POST", url, asked, QUERY_S, checkpoint=checkpoint)
        return rows

    def coordinator(self, method: str, path: str, body: Any = None, *, missing: Any = None) -> Any:
        """Returns what the coordinator answers; `missing` where it says that there is no such thing.

        Raises:
            Unavailable: it does not answer.
            FatalError: it refuses.
        """
        return self._ask(method, f"{self._servers.coordinator}{path}", body, ADMIN_S, missing=missing)

    def close(self) -> None:
        """Closes connections. A second call changes nothing."""
        self._pool.clear()

    def _ask(
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
            # The status was sent before the rows: a server that died since can only stop in the middle.
            raise Unavailable(
                f"Druid's answer on {url} stops in the middle; ask again", retry_after_s=_RETRY_S
            ) from error

    def _exchange(
        self, method: str, url: str, body: bytes, timeout_s: float, checkpoint: Checkpoint
    ) -> tuple[int, bytes]:
        """Returns status and body of an answer that is whole, small enough and in time."""
        deadline = time.monotonic() + timeout_s + _CONNECT_S
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        timeout = urllib3.Timeout(connect=_CONNECT_S, read=timeout_s)
        try:
            answer = self._pool.request(
                method, url, body=body or None, headers=headers, timeout=timeout, preload_content=False
            )
            try:
                data = _body(answer, url, deadline, checkpoint)
            except BaseException:
                answer.close()  # what is still to come must not be taken for the next answer
                raise
            answer.release_conn()
        except HTTPError as error:
            raise Unavailable(
                f"Druid does not answer on {url}: {type(error).__name__}; is it up?", retry_after_s=_RETRY_S
            ) from error
        return answer.status, data


def refusal(status: int, data: bytes) -> HitmeshError:
    """Returns what an answer means that is an error."""
    message = f"Druid answers {status}: {data[:_SAID].decode(errors='replace')}"
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        said = {}
    error, thrown = (str(said.get(name, "")) if isinstance(said, dict) else "" for name in ("error", "errorClass"))
    if error == _TOO_LARGE:
        return RefusedError(
            f"the question takes more than Druid gives it: ask for fewer dimensions or a shorter range; {message}",
            field="dimensions",
            reason="TOO_MANY_ROWS",
        )
    is_later = (status >= 500 or status in (408, 429)) and not thrown.startswith(_NOT_UNDERSTOOD)
    return Unavailable(message, retry_after_s=_RETRY_S) if is_later else FatalError(message)


def _body(answer: urllib3.BaseHTTPResponse, url: str, deadline: float, checkpoint: Checkpoint) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in answer.stream(_PIECE):
        checkpoint()
        size += len(piece)
        if size > MAX_BYTES:
            raise RefusedError(
                f"the answer has more than {MAX_BYTES} bytes: ask for fewer dimensions or a shorter range",
                field="dimensions",
                reason="TOO_MANY_ROWS",
            )
        if time.monotonic() > deadline:
            raise Unavailable(f"Druid's answer on {url} does not end; ask for less", retry_after_s=_RETRY_S)
        pieces.append(piece)
    return b"".join(pieces)
