"""Calls through Envoy with tokens, and tokens that every check must refuse."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hitmesh.api.reporter.v1 import reporter_pb2_grpc
from hitmesh.tools.dev.envoy import Address
from tests.support.doors import Answer, ask
from tests.support.reporters import a_question
from tests.support.settled_rows import SITE
from tests.support.tokens import PrivateKey, a_token, base64url, claims, public_pem, rsa_key, signed

HEADER = {"typ": "JWT", "alg": "RS256", "kid": "r1"}


def now_token(key: PrivateKey | None = None, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    return a_token(key, header, int(time.time()), **changes)


def get(at: Address, credential: str | None, path: str = f"/v1/{SITE}", **headers: str) -> Answer:
    sent = headers if credential is None else {"authorization": f"Bearer {credential}", **headers}
    return ask(at, "GET", path, **sent)


def reported(at: Address, *metadata: tuple[str, str]) -> grpc.StatusCode | tuple[grpc.StatusCode, str]:
    """Return OK if a report was run, else the status code and the reason of the refusal."""
    with grpc.insecure_channel(str(at)) as channel:
        try:
            reporter_pb2_grpc.ReporterServiceStub(channel).RunReport(a_question("hits"), metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            return error.code(), reason_in(error)
    return grpc.StatusCode.OK


def reason_in(error: grpc.RpcError) -> str:
    assert isinstance(error, grpc.Call)
    status, info = rpc_status.from_call(error), error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return info.reason


def with_hmac() -> str:
    """Return a token that is signed with the text of the public key as secret."""
    body = claims(int(time.time()))
    text = f"{base64url(json.dumps(HEADER | {'alg': 'HS256'}).encode())}.{base64url(json.dumps(body).encode())}"
    return f"{text}.{base64url(hmac.digest(public_pem(rsa_key()), text.encode(), hashlib.sha256))}"


def unsigned() -> str:
    body = claims(int(time.time()))
    return f"{base64url(json.dumps(HEADER | {'alg': 'none'}).encode())}.{base64url(json.dumps(body).encode())}."


def with_repeated_claim() -> str:
    text = json.dumps(claims(int(time.time())))
    return signed(HEADER, (text[:-1] + ', "hitmesh_merchant": "merchants/rival"}').encode(), rsa_key())
