"""Finds the host and path in a referrer, and compares hosts with a site's own host.

No function raises an error, whatever the string. A string that is neither a web URL nor an app URL has no host.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from collector.urls import normal_host

# Maximum number of characters that are read from a referrer. The maximum leaves room for the scheme, the host (at most
# 253 characters) and the longest path in the lists.
MAX_READ_CHARS = 512

_WEB_SCHEMES = frozenset({"http", "https"})
# Apps send android-app://{package}/{scheme}/{host}, with the name of the app's package in place of a host.
_APP_SCHEMES = frozenset({"android-app", "ios-app"})
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*|\[[0-9a-f:.]{2,45}\]")
_PORT = re.compile(r":\d{0,5}$")
_MAX_HOST_CHARS = 253


class Place(NamedTuple):
    """The host and path that a referrer names, and whether the referrer is an app.

    `host` is in normal form, without port, user and "www."; `path` has its leading "/".
    """

    host: str
    path: str
    is_app: bool


def cut(referrer: str) -> str:
    """Return the referrer without query and fragment, cut to MAX_READ_CHARS.

    Query and fragment may contain private data.
    """
    return referrer[:MAX_READ_CHARS].partition("?")[0].partition("#")[0]


def place_of(referrer: str) -> Place | None:
    """Return the host and path that a referrer names.

    Return None if the referrer is neither a web URL nor an app URL, or if the host is invalid.
    """
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
    """Return a host in normal form without port and leading "www.", or None if the host is invalid."""
    host = normal_host(_PORT.sub("", authority))
    if len(host) > _MAX_HOST_CHARS or not _HOST.fullmatch(host):
        return None
    bare = host.removeprefix("www.")
    return bare if "." in bare else host


def is_own_host(referrer_host: str, hostname: str) -> bool:
    """Return whether a referrer is the site itself: both hosts are equal, or one host is a subdomain of the other.

    `blog.shop.example` and `shop.example` count as the same site, whichever of them is the referrer.
    `blog.shop.example` and `pay.shop.example` count as different sites. Without a list of public suffixes, subdomains
    of a site cannot be distinguished from separate sites such as `a.co.uk` and `b.co.uk`. A host without a dot
    ("localhost") has no subdomains.

    Args:
        referrer_host: result of `bare_host`.
        hostname: host of the hit's page, as sent; case, port and "www." do not matter. An empty host is unknown and
            never matches.
    """
    page = bare_host(hostname)
    if page is None:
        return False
    longer, shorter = (page, referrer_host) if len(page) > len(referrer_host) else (referrer_host, page)
    return longer == shorter or ("." in shorter and longer.endswith("." + shorter))


def is_declared_host(referrer_host: str, own_hosts: str) -> bool:
    """Return whether a referrer is one of the hosts that the site declares as its own, or a subdomain of such a host.

    Args:
        referrer_host: result of `bare_host`.
        own_hosts: the site's own hosts, separated by spaces.
    """
    declared = (bare_host(host) for host in own_hosts.split())
    return any(host is not None and (referrer_host == host or referrer_host.endswith(f".{host}")) for host in declared)
