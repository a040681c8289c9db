"""REST through Envoy with plain http.client, as with curl."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.mesh import Mesh
from tests.support.patience import patient

Headers = dict[str, str]


@dataclass(frozen=True)
class Rest:
    """A caller; `headers` go with every request."""

    mesh: Mesh
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, body: bytes | None = None, **more: str) -> tuple[int, Headers, bytes]:
        """Return status, headers by lower-case name, and body."""
        connection = http.client.HTTPConnection(self.mesh.address, timeout=patient(20))
        try:
            sent = {**({"content-type": "application/json"} if body is not None else {}), **self.headers, **more}
            # A server may answer and close before the whole body is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, Headers, Any]:
        """Return the answer to a GET, with its body parsed from JSON."""
        return _parsed(self.request("GET", path))

    def post(self, path: str, value: object) -> tuple[int, Headers, Any]:
        """Return the answer to a POST with a JSON body, with its body parsed from JSON."""
        return _parsed(self.request("POST", path, json.dumps(value).encode()))


def _parsed(answer: tuple[int, Headers, bytes]) -> tuple[int, Headers, Any]:
    status, headers, body = answer
    assert headers["content-type"].startswith("application/json"), (status, body)
    return status, headers, json.loads(body)


def reason_of(error: Any) -> str:
    """Return the reason in an error; the error must have the common shape with all fields."""
    assert set(error) == {"code", "message", "details"}, error
    assert isinstance(error["code"], int)
    assert error["message"]
    info = _info_of(error)
    assert info["domain"] == "hitmesh.dev"
    return str(info["reason"])


def metadata_of(error: Any) -> dict[str, str]:
    """Return the variable parts of an error's message."""
    metadata: dict[str, str] = _info_of(error).get("metadata", {})
    return metadata


def _info_of(error: Any) -> dict[str, Any]:
    infos = [detail for detail in error["details"] if detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"]
    info: dict[str, Any]
    (info,) = infos
    return info
