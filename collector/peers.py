"""Reads the facts about a caller from a call's metadata: site, address, origin and key. Nothing is checked here."""

from __future__ import annotations

from typing import NamedTuple

import grpc
from opentelemetry.trace import SpanContext

from hitmesh.access.callers import bearer_key
from hitmesh.runtime.telemetry.trace_context import context_in

SITE_METADATA = "hitmesh-site"
_ENCODING = "content-encoding"
_ORIGIN = "origin"
_FORWARDED = "x-forwarded-for"
_AUTHORIZATION = "authorization"


class Peer(NamedTuple):
    """The caller of an RPC, as the call's metadata describe the caller.

    Attributes:
        site: value of the metadata `hitmesh-site`, or "".
        address: the client's address.
        origin: value of the header `origin`, or "". Several headers are joined by commas, so they are no valid origin.
        key: the key in the metadata `authorization`, or "". The key applies to a batch without a key, if the stream has
            no key either. A token is no key.
        encoding: value of the header `content-encoding`, or "".
        trace: the caller's trace context; None if there is none, or if this process records no traces.
    """

    site: str = ""
    address: str = ""
    origin: str = ""
    key: str = ""
    encoding: str = ""
    trace: SpanContext | None = None


def peer_of(context: grpc.ServicerContext, *, is_traced: bool = False) -> Peer:
    """Return the caller of a call, with its trace context if `is_traced`.

    The address is the last x-forwarded-for entry, which Envoy adds. If the call has no x-forwarded-for entry, the
    address is the peer's address. Several `authorization` headers give no key.
    """
    found: dict[str, list[str]] = {}
    for name, value in context.invocation_metadata():
        found.setdefault(name, []).append(value if isinstance(value, str) else "")
    site, forwarded, encoding = (found.get(name, [""])[0] for name in (SITE_METADATA, _FORWARDED, _ENCODING))
    keys = found.get(_AUTHORIZATION, [])
    return Peer(
        site,
        forwarded.rpartition(",")[2].strip() or str(context.peer()).rpartition(":")[0],
        ", ".join(found.get(_ORIGIN, [])),
        bearer_key(keys[0]) if len(keys) == 1 else "",
        encoding,
        context_in(context.invocation_metadata()) if is_traced else None,
    )
