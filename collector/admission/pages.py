"""Reads page views. Host, path and query come from the URL.

Each distinct URL is parsed once. A URL must be absolute (with a scheme and `://`) or a path from the root. The URL's
fragment is ignored. Host and path are stored in normal form (`collector/urls.py`). Reports therefore show all spellings
of an address in one row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.admission.texts import Texts, byte_lengths, limited, refuse_nul
from collector.admission.verdicts import Verdicts, shown
from collector.urls import PATH_TO_NORMALISE, normal_host, normal_path
from hitmesh.model.arrays import BoolArray, I32Array
from hitmesh.model.hosts import address_in_decimal
from hitmesh.model.reasons import HitReason

MAX_PATH_BYTES: Final = 2_000
MAX_QUERY_BYTES: Final = 2_000
MAX_HOST_BYTES: Final = 253
MAX_REFERRER_BYTES: Final = 2_000
MAX_TITLE_BYTES: Final = 256
MAX_VIEW_ID_BYTES: Final = 64
HTTP_STATUSES: Final = range(100, 600)
_FIELD: Final = "page_view.url"
_URL: Final = r"^(?P<origin>[A-Za-z][A-Za-z0-9+.\-]*://(?P<authority>[^/?#]*))?(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?:#(?s:.*))?$"
_WEB_SCHEMES: Final = frozenset({"http", "https", "ws", "wss", "ftp"})
_BACKSLASH: Final = r"^((?i:https?|wss?|ftp)://[^/?#\\]*)\\"
_PORT: Final = re.compile(r":[0-9]*$")


@dataclass(frozen=True, slots=True)
class Pages:
    """The columns of page views.

    In each column, hits that are not page views have "". `url` is the URL as sent, which the content hashes need.
    `whole_query` is the query before it is cut.
    """

    url: Texts
    hostname: Texts | None
    path: Texts
    query: Texts
    whole_query: Texts
    title: Texts | None
    referrer: Texts | None
    view_id: Texts | None
    http_status: I32Array


def read_pages(views: pa.StructArray, is_page: BoolArray, verdicts: Verdicts) -> Pages | None:
    """Return the page view columns, or None if there are no page views. Refuse page views that have no valid URL."""
    if not is_page.any():
        return None
    url = Texts.of(views.field("url"))
    missing = is_page if url is None else is_page & ~url.is_set()
    verdicts.refuse(missing, HitReason.MISSING_FIELD, _FIELD, "page_view.url is empty: send the URL of the page")
    if url is None:
        return None
    split = split_urls(url.values)
    wrong = ~split.valid & (byte_lengths(url.values) > 0)
    verdicts.refuse(wrong[url.codes], HitReason.INVALID_FIELD, _FIELD, lambda row: _no_url(url.value(row)))
    status = views.field("http_status").to_numpy()
    _check_status(status, verdicts)
    path, query = Texts(split.path, url.codes), Texts(split.query, url.codes)
    refuse_nul(path, _FIELD, verdicts)
    return Pages(
        url,
        None if split.host is None else split.host.rows(url.codes),
        limited(Texts(_normal_paths(path.values), path.codes), _FIELD, MAX_PATH_BYTES, verdicts),
        limited(query, _FIELD, MAX_QUERY_BYTES, verdicts),
        query,
        _limited(views, "title", MAX_TITLE_BYTES, verdicts),
        _limited(views, "referrer", MAX_REFERRER_BYTES, verdicts),
        _limited(views, "view_id", MAX_VIEW_ID_BYTES, verdicts),
        status,
    )


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of URLs. A part that the URL lacks is "". A valid URL always has a path, at least "/"."""

    valid: BoolArray
    host: Texts | None  # the host in normal form, without user name or port
    path: pa.StringArray
    query: pa.StringArray


def split_urls(urls: pa.StringArray) -> Split:
    """Return each URL's parts."""
    found = pc.extract_regex(_with_slashes(urls), _URL)
    origin, authority, path, query = (_filled(found.field(name)) for name in ("origin", "authority", "path", "query"))
    hosts = origin.dictionary_encode()
    names = [_host(each) for each in hosts.dictionary.to_pylist()]
    codes = hosts.indices.to_numpy()
    named = byte_lengths(authority) > 0
    pathless = byte_lengths(path) == 0
    if (pathless & named).any():
        path = pc.if_else(pa.array(pathless & named), pa.scalar("/"), path)
    short = np.array([len(name.encode()) <= MAX_HOST_BYTES for name in names], dtype=np.bool_)
    return Split(
        np.asarray(found.is_valid()) & (named | ~pathless) & short[codes],
        Texts.constant(names, codes) if any(names) else None,
        path,
        query,
    )


def _with_slashes(urls: pa.StringArray) -> pa.StringArray:
    """Return URLs in which no backslash ends the host. As in browsers, such a backslash means a slash."""
    if not pc.any(pc.match_substring(urls, "\\")).as_py():
        return urls
    return pc.replace_substring_regex(urls, _BACKSLASH, r"\1/")


def _host(origin: str) -> str:
    """Return the host of `scheme://user@host:port` in normal form. On the web, IPv4 addresses have several forms."""
    scheme, _, authority = origin.partition("://")
    host = normal_host(_PORT.sub("", authority.rpartition("@")[2]))
    return address_in_decimal(host) if scheme.lower() in _WEB_SCHEMES else host


def _normal_paths(paths: pa.StringArray) -> pa.StringArray:
    odd = np.flatnonzero(np.asarray(pc.match_substring_regex(paths, PATH_TO_NORMALISE)))
    if not len(odd):
        return paths
    values = paths.to_pylist()
    for at in odd.tolist():
        values[at] = normal_path(values[at])
    return pa.array(values, pa.string())


def _filled(column: pa.StringArray) -> pa.StringArray:
    return column.fill_null("") if column.null_count else column


def _limited(views: pa.StructArray, name: str, max_bytes: int, verdicts: Verdicts) -> Texts | None:
    texts = Texts.of(views.field(name))
    return None if texts is None else limited(texts, f"page_view.{name}", max_bytes, verdicts)


def _check_status(status: I32Array, verdicts: Verdicts) -> None:
    wrong = (status != 0) & ((status < HTTP_STATUSES.start) | (status >= HTTP_STATUSES.stop))
    verdicts.refuse(
        wrong,
        HitReason.INVALID_FIELD,
        "page_view.http_status",
        lambda row: f"page_view.http_status {status[row]} is not an HTTP status: send 100 to 599, or 0 for unknown",
    )


def _no_url(url: str) -> str:
    return (
        f"page_view.url {shown(url)} is neither an absolute URL with a host of at most {MAX_HOST_BYTES} bytes nor "
        "a path: send https://host/path or /path"
    )
