"""REST through Envoy as curl speaks it: nothing but http.client."""

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
        """Returns status, headers by lower-case name, and body."""
        connection = http.client.HTTPConnection(self.mesh.address, timeout=patient(20))
        try:
            sent = {**({"content-type": "application/json"} if body is not None else {}), **self.headers, **more}
            # A server that has seen enough answers and closes while the body is still on its way.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, Headers, Any]:
        """Returns the answer to a GET, its body as JSON."""
        return _parsed(self.request("GET", path))

    def post(self, path: str, value: object) -> tuple[int, Headers, Any]:
        """Returns the answer to a POST of JSON, its body as JSON."""
        return _parsed(self.request("POST", path, json.dumps(value).encode()))


def _parsed(answer: tuple[int, Headers, bytes]) -> tuple[int, Headers, Any]:
    status, headers, body = answer
    assert headers["content-type"].startswith("application/json"), (status, body)
    return status, headers, json.loads(body)


def reason_of(error: Any) -> str:
    """Returns the reason of an error in the common shape, which must be whole."""
    assert set(error) == {"code", "message", "details"}, error
    assert isinstance(error["code"], int)
    assert error["message"]
    infos = [one for one in error["details"] if one["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"]
    (info,) = infos
    assert info["domain"] == "hitmesh.dev"
    return str(info["reason"])
