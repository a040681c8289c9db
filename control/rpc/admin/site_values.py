"""Check display names of merchants, sites and keys, and hosts and origins of sites; return their stored form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.hosts import host_in_ascii
from hitmesh.model.origins import standard_origin

MAX_NAME_CHARS: Final = 200
MAX_HOSTS: Final = 50
MAX_ORIGINS: Final = 50
_MAX_HOST_CHARS: Final = 253
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# The scheme, the wildcard label, the host, and the port with its colon. standard_origin decides what is an origin.
_ORIGIN: Final = re.compile(r"([a-zA-Z]+)://(\*\.)?(\[[0-9a-fA-F:]+\]|[^/:?#@*\s\[\]]+)(:[0-9]+)?", re.ASCII)


def checked_display_name(text: str, field: str) -> str:
    """Return the text unchanged if it may be a display name.

    Raises:
        RefusedError: the text is too long or has control characters.
    """
    if len(text) > MAX_NAME_CHARS:
        raise RefusedError(
            f"display_name has {len(text):,} characters: use at most {MAX_NAME_CHARS}",
            field=field,
            size=len(text),
            limit=MAX_NAME_CHARS,
        )
    if text and not text.isprintable():
        raise RefusedError(
            f"display_name {text[:80]!r} has characters that cannot be printed: leave these characters out",
            field=field,
            value=text,
        )
    return text


def checked_hosts(hosts: Iterable[str], field: str) -> tuple[str, ...]:
    """Return hosts in lower case and ASCII, each only once, in the order given.

    Raises:
        RefusedError: a text is not a host, or there are too many hosts.
    """
    return _at_most(MAX_HOSTS, "own_hosts", (_checked_host(host, field) for host in hosts), field)


def checked_origins(origins: Iterable[str], field: str) -> tuple[str, ...]:
    """Return origins in the form that browsers send, each only once, in the order given.

    Raises:
        RefusedError: a text is not an origin, or there are too many origins.
    """
    return _at_most(MAX_ORIGINS, "allowed_origins", (_checked_origin(origin, field) for origin in origins), field)


def _at_most(limit: int, what: str, texts: Iterable[str], field: str) -> tuple[str, ...]:
    distinct = tuple(dict.fromkeys(texts))
    if len(distinct) > limit:
        raise RefusedError(
            f"{what} has {len(distinct):,} values: give at most {limit}", field=field, count=len(distinct), limit=limit
        )
    return distinct


def _checked_host(text: str, field: str) -> str:
    host = _ascii_host(text)
    if host is None:
        raise RefusedError(
            f"{text[:160]!r} is not a host: write a host without scheme, port and path, such as shop.example",
            field=field,
            value=text,
        )
    return host


def _checked_origin(text: str, field: str) -> str:
    found = _ORIGIN.fullmatch(text)
    host = _address_or_host(found[3]) if found else None
    origin = standard_origin(f"{found[1]}://{host}{found[4] or ''}") if found and host else None
    if found is None or host is None or origin is None or (found[2] and "." not in host):
        raise RefusedError(
            f"{text[:160]!r} is not an origin: write https://host or https://host:port, or https://*.host for all "
            "subdomains of a host with a dot; a port is 1 to 65535, without leading zeros",
            field=field,
            value=text,
        )
    scheme, _, rest = origin.partition("://")
    return f"{scheme}://{found[2] or ''}{rest}"


def _address_or_host(text: str) -> str | None:
    return text.lower() if text.startswith("[") else _ascii_host(text)


def _ascii_host(text: str) -> str | None:
    """Return a host in lower case and ASCII without a final dot; None if the text is not a host."""
    host = text.lower().removesuffix(".")
    host = host_in_ascii(host)
    return host if len(host) <= _MAX_HOST_CHARS and _HOST.fullmatch(host) else None
