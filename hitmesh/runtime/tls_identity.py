"""Identities of the parts of a mesh, as URIs in their certificates. Pure.

Example: `spiffe://hitmesh/envoy` is Envoy of the mesh `hitmesh`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

DOMAIN: Final = "hitmesh"
# Properties of gRPC's authentication context.
_URIS: Final = "peer_uri"
_SERVERS: Final = "servers:"
_HOSTS: Final = "peer_dns"


def identity(part: str, domain: str = DOMAIN) -> str:
    """Return the identity of a part.

    Example:
        >>> identity("collector")
        'spiffe://hitmesh/collector'
    """
    return f"spiffe://{domain}/{part}"


def peers_in(text: str) -> frozenset[str]:
    """Return the names in a comma-separated list, without spaces around each name.

    Example:
        >>> sorted(peers_in("spiffe://hitmesh/envoy, probe.example"))
        ['probe.example', 'spiffe://hitmesh/envoy']
    """
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def is_loopback(listen: str) -> bool:
    """Return whether only processes on this machine can connect to a listener.

    Args:
        listen: host:port, or the address of a Unix socket.

    Example:
        >>> is_loopback("127.0.0.1:0"), is_loopback("[::1]:50051"), is_loopback("localhost:1"), is_loopback("unix:/a")
        (True, True, True, True)
        >>> is_loopback("0.0.0.0:50051"), is_loopback("[::]:50051"), is_loopback(":50051"), is_loopback("collector:1")
        (False, False, False, False)
    """
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def plaintext_server(store: str) -> str:
    """Return the first server in a store URL that is reached in plaintext beyond loopback; "" if there is none.

    Example:
        >>> plaintext_server("servers:?kafka=127.0.0.1:1,k.stores:9092&cassandra=127.0.0.1:2")
        'k.stores:9092'
        >>> plaintext_server("servers:?kafka=k.stores:9092&tls=/certs"), plaintext_server("memory:")
        ('', '')
    """
    scheme, _, query = store.partition("?")
    parts = dict(parse_qsl(query))
    if scheme != _SERVERS or parts.get("tls"):
        return ""
    urls = [parts.get(name, "").rpartition("://")[2].rstrip("/") for name in ("broker", "coordinator")]
    addresses = [*parts.get("kafka", "").split(","), *parts.get("cassandra", "").split(","), *urls]
    hosts = [address.strip() for address in addresses if address.strip()]
    return next((host for host in hosts if not is_loopback(host if ":" in host else f"{host}:0")), "")


def names_of(context: Mapping[str, Iterable[bytes]]) -> frozenset[str]:
    """Return the URIs and DNS names in the verified certificate of a gRPC peer; empty without a certificate.

    Args:
        context: gRPC's authentication context. Its values are lists of bytes.

    Example:
        >>> names_of({"peer_uri": [b"spiffe://hitmesh/envoy"], "transport_security_type": [b"ssl"]})
        frozenset({'spiffe://hitmesh/envoy'})
    """
    found = (*context.get(_URIS, ()), *context.get(_HOSTS, ()))
    return frozenset(value.decode("utf-8", "replace") for value in found)
