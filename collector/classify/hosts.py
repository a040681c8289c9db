"""Which host a referrer names.

Decides host and path of a referrer and compares hosts with a site's own; refuses to know what a host stands
for. Nothing here raises on any string: what is no URL of a page or an app has no host.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from collector.urls import normal_host

# A referrer is read up to here: scheme, host (at most 253) and the path segments that lists distinguish.
MAX_READ_CHARS = 512

_WEB_SCHEMES = frozenset({"http", "https"})
# android-app://{package}/{scheme}/{host}: an app hands its package name over in place of a host.
_APP_SCHEMES = frozenset({"android-app", "ios-app"})
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*|\[[0-9a-f:.]{2,45}\]")
_PORT = re.compile(r":\d{0,5}$")
_MAX_HOST_CHARS = 253


class Place(NamedTuple):
    """Where a referrer points: `host` in its normal form without port, user and "www."; `path` with its "/"."""

    host: str
    path: str
    is_app: bool


def cut(referrer: str) -> str:
    """Returns the part of a referrer that is read, without query and fragment, which hold private words."""
    return referrer[:MAX_READ_CHARS].partition("?")[0].partition("#")[0]


def place_of(referrer: str) -> Place | None:
    """Returns the place a referrer names; None when it is no URL of the web or an app, or has a bad host."""
    scheme, found, rest = cut(referrer.strip()).partition("://")
    scheme = scheme.lower()
    if not found or not (scheme in _WEB_SCHEMES or scheme in _APP_SCHEMES):
        return None
    authority, slash, path = rest.partition("/")
    host = bare_host(authority.rpartition("@")[2])
    if host is None:
        return None
    return Place(host, slash + path, scheme in _APP_SCHEMES)


def bare_host(authority: str) -> str | None:
    """Returns a host in its normal form without port and leading "www."; None when it cannot be one."""
    host = normal_host(_PORT.sub("", authority))
    if len(host) > _MAX_HOST_CHARS or not _HOST.fullmatch(host):
        return None
    bare = host.removeprefix("www.")
    return bare if "." in bare else host


def is_own_host(referrer_host: str, hostname: str) -> bool:
    """Whether a referrer is the site itself: its host is that of the hit's page, or one is part of the other.

    `blog.shop.example` and `shop.example` are one site in both directions. `blog.shop.example` and
    `pay.shop.example` are not: telling them from `a.co.uk` and `b.co.uk` takes a list of public suffixes. A
    host without a dot ("localhost") has no parts.

    Args:
        referrer_host: as `bare_host` gives it.
        hostname: of the hit's page, as sent; case, port and "www." do not matter. Empty: unknown, never own.
    """
    page = bare_host(hostname)
    if page is None:
        return False
    longer, shorter = (page, referrer_host) if len(page) > len(referrer_host) else (referrer_host, page)
    return longer == shorter or ("." in shorter and longer.endswith("." + shorter))
