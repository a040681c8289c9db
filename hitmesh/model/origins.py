"""Origins of web pages: the standard form, and whether a site's list allows an origin.

A site's list has exact origins, such as `https://shop.example` or `https://shop.example:8443`, and origins with a
wildcard, such as `https://*.shop.example`, which stand for all subdomains but not for the host itself. Origins are
compared in their standard form: lower case, without the default port. A text that is not exactly an origin with the
scheme http or https is no origin, and never allowed: `null`, several origins, user names, paths, hosts that are not in
ASCII (browsers send IDNA) and hosts with a dot at the end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

MAX_ORIGIN_CHARS: Final = 300
"""Maximum length of an origin: a host has at most 253 characters."""
MAX_HOST_CHARS: Final = 253
MAX_PORT: Final = 65_535
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ORIGIN: Final = re.compile(rf"(https?)://({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]{{2,39}}\])(?::([1-9][0-9]{{0,4}}))?")
_DEFAULT_PORTS: Final = {"https": "443", "http": "80"}
_WILDCARD: Final = "*"


def standard_origin(text: str) -> str | None:
    """Return an origin in its standard form, or None if the text is not exactly one origin.

    Example:
        >>> standard_origin("HTTPS://Shop.Example:443"), standard_origin("http://localhost:8080")
        ('https://shop.example', 'http://localhost:8080')
        >>> [standard_origin(text) for text in ("null", "https://a.example/", "https://a.example.", "https://u@a.example")]
        [None, None, None, None]
    """
    if len(text) > MAX_ORIGIN_CHARS or not text.isascii():
        return None
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        return None
    scheme, host, port = found.groups()
    if len(host) > MAX_HOST_CHARS or int(port or 1) > MAX_PORT:
        return None
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{host}:{port}"


def is_allowed(origin: str, allowed: Collection[str]) -> bool:
    """Return whether a list allows an origin. An empty list allows every origin, and a request without origin.

    Args:
        origin: value of the header `origin`; "" if the request has no such header.
        allowed: origins in their standard form, which may begin with a wildcard label.

    Example:
        >>> is_allowed("https://a.shop.example", ["https://*.shop.example"]), is_allowed("", ["https://shop.example"])
        (True, False)
        >>> is_allowed("https://shop.example", ["https://*.shop.example"]), is_allowed("null", [])
        (False, True)
    """
    if not allowed:
        return True
    standard = standard_origin(origin)
    return standard is not None and (standard in allowed or any(each in allowed for each in _wildcards(standard)))


def _wildcards(origin: str) -> Iterator[str]:
    """Yield every origin with a wildcard that stands for an origin in its standard form."""
    scheme, _, host = origin.partition("://")
    while "." in host:
        _, _, host = host.partition(".")
        yield f"{scheme}://{_WILDCARD}.{host}"
