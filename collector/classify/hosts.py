"""The host and path that a referrer names, and the comparison of hosts with a site's own host.

No function raises an error, whatever the string: a string that is neither a web URL nor an app URL has no host.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from collector.urls import normal_host

# Characters of a referrer that are read: enough for the scheme, the host (at most 253) and the path segments in lists.
MAX_READ_CHARS = 512

_WEB_SCHEMES = frozenset({"http", "https"})
# android-app://{package}/{scheme}/{host}: apps send a package name in place of a host.
_APP_SCHEMES = frozenset({"android-app", "ios-app"})
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*|\[[0-9a-f:.]{2,45}\]")
_PORT = re.compile(r":\d{0,5}$")
_MAX_HOST_CHARS = 253


class Place(NamedTuple):
    """Target of a referrer: `host` in normal form without port, user and "www."; `path` with the leading "/"."""

    host: str
    path: str
    is_app: bool


def cut(referrer: str) -> str:
    """Return the part of a referrer that is read, without query and fragment, which hold private data."""
    return referrer[:MAX_READ_CHARS].partition("?")[0].partition("#")[0]


def place_of(referrer: str) -> Place | None:
    """Return the place that a referrer names; None if its host is invalid, or if it is neither a web nor an app URL."""
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
    """Return a host in normal form without port and leading "www."; None for an invalid host."""
    host = normal_host(_PORT.sub("", authority))
    if len(host) > _MAX_HOST_CHARS or not _HOST.fullmatch(host):
        return None
    bare = host.removeprefix("www.")
    return bare if "." in bare else host


def is_own_host(referrer_host: str, hostname: str) -> bool:
    """Return whether a referrer is the site itself: equal hosts, or one is a subdomain of the other.

    `blog.shop.example` and `shop.example` are the same site in both directions. `blog.shop.example` and
    `pay.shop.example` count as different sites, because only a list of public suffixes can distinguish such a pair from
    `a.co.uk` and `b.co.uk`. A host without a dot ("localhost") has no subdomains.

    Args:
        referrer_host: result of `bare_host`.
        hostname: host of the hit's page, as sent; case, port and "www." do not matter. Empty means unknown, which never
            matches.
    """
    page = bare_host(hostname)
    if page is None:
        return False
    longer, shorter = (page, referrer_host) if len(page) > len(referrer_host) else (referrer_host, page)
    return longer == shorter or ("." in shorter and longer.endswith("." + shorter))
