"""Send REST requests through Envoy with http.client, as curl does."""

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
    """A caller of the mesh. The caller sends `headers` with every request.

    With `for_operators`, the caller uses the listener for operators.
    """

    mesh: Mesh
    headers: Mapping[str, str] = field(default_factory=dict)
    for_operators: bool = False

    def request(self, method: str, path: str, body: bytes | None = None, **more: str) -> tuple[int, Headers, bytes]:
        """Send a request, and return the status, the headers by lower-case name, and the body of the answer."""
        address = self.mesh.operators_address if self.for_operators else self.mesh.address
        connection = http.client.HTTPConnection(address, timeout=patient(20))
        try:
            sent = {**({"content-type": "application/json"} if body is not None else {}), **self.headers, **more}
            # A server may answer and close the connection before the whole body is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, Headers, Any]:
        """Send a GET request, and return the answer with its body parsed from JSON."""
        return _parsed(self.request("GET", path))

    def post(self, path: str, value: object) -> tuple[int, Headers, Any]:
        """Send a POST request with a JSON body, and return the answer with its body parsed from JSON."""
        return _parsed(self.request("POST", path, json.dumps(value).encode()))


def _parsed(answer: tuple[int, Headers, bytes]) -> tuple[int, Headers, Any]:
    status, headers, body = answer
    assert headers["content-type"].startswith("application/json"), (status, body)
    return status, headers, json.loads(body)


def reason_of(error: Any) -> str:
    """Return the reason of an error. The error must have all fields that every REST error has."""
    assert set(error) == {"code", "message", "details"}, error
    assert isinstance(error["code"], int)
    assert error["message"]
    info = _info_of(error)
    assert info["domain"] == "hitmesh.dev"
    return str(info["reason"])


def metadata_of(error: Any) -> dict[str, str]:
    """Return the variables of an error's message, which ErrorInfo contains as metadata."""
    metadata: dict[str, str] = _info_of(error).get("metadata", {})
    return metadata


def _info_of(error: Any) -> dict[str, Any]:
    infos = [detail for detail in error["details"] if detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"]
    info: dict[str, Any]
    (info,) = infos
    return info
