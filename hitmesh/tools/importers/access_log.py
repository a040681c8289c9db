"""Reads access logs in any format. Each line becomes a PAGE_VIEW, or is skipped and counted under a reason.

This module decides which requests were page views, and finds the host and the visitor of each request. The collector
parses URLs, campaigns, user agents and referrers, and determines channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.tools.importers.lines import MAX_LINE_BYTES, SHOWN_CHARS, LineIds, Skipped, SkipReason, Tally, too_long
from hitmesh.tools.importers.log_formats import LineReader, LogFormat, found_format, reader_of
from hitmesh.tools.importers.log_requests import Request, text_of

STATIC_ENDINGS: Final = frozenset(
    re.findall(
        r"\S+",
        "css js mjs map png jpg jpeg gif ico svg webp avif bmp tif tiff xbm woff woff2 ttf eot otf mp3 mp4 mpg "
        "mpeg avi mov webm ogg wav zip gz tgz bz2 tar rar 7z jar rpm deb iso exe dmg pdf txt xml json rss atom",
    )
)
NOT_MODIFIED: Final = 304

_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_HOST: Final = re.compile(r"[\w.-]*\w[\w.-]*(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_ANY_HOST: Final = "_"  # by convention, the name of a catch-all server in nginx
_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Options for reading a log.

    Attributes:
        format: AUTO detects the format from the first lines.
        host: host of pages whose line contains no host; "" = no host.
        own_hosts: the site's hosts, in lower case; referrers with these hosts or their subdomains are dropped.
        trusted_hops: number of trusted proxies in front of the server. With N proxies, the client's address is the Nth
            from the end of X-Forwarded-For, or the first if the header has fewer than N addresses. With 0 proxies, the
            client's address is the address that connected to the server.
    """

    format: LogFormat = LogFormat.AUTO
    host: str = ""
    own_hosts: frozenset[str] = frozenset()
    trusted_hops: int = 0


DEFAULT: Final = LogOptions()


def read(raw_lines: Iterable[bytes], tally: Tally, options: LogOptions = DEFAULT) -> Iterator[hit_pb2.Hit]:
    """Yield the hits in line order.

    `tally` gets the number of lines, the skip reasons and the format.

    Raises:
        RefusedError: the format is AUTO and none of the first lines matches any format (INVALID_FILE).
    """
    format_, lines = found_format(options.format, _without_ends(raw_lines))
    tally.format = format_.value
    parse, ids = reader_of(format_), LineIds()
    for number, raw in enumerate(lines, start=1):
        try:
            request = _parsed(raw, parse)
            if request is None:
                continue
            tally.lines += 1
            hit = page_view(request, options)
        except Skipped as skipped:
            tally.lines += skipped.reason is SkipReason.UNPARSABLE
            tally.skip(skipped, number, raw[: 4 * SHOWN_CHARS + 4].decode("utf-8", "replace"))
        else:
            hit.hit_id = ids.of(raw)
            yield hit


def page_view(request: Request, options: LogOptions) -> hit_pb2.Hit:
    """Return the hit for a request, without an id.

    Raises:
        Skipped: the request was not a page view. If several reasons apply, the exception has the first reason in the
            order method, status, static.
    """
    if request.method != "GET":
        raise Skipped(SkipReason.METHOD)
    if not (200 <= request.status <= 299 or request.status == NOT_MODIFIED):
        raise Skipped(SkipReason.STATUS)
    if is_static(request.target):
        raise Skipped(SkipReason.STATIC)
    view = hit_pb2.PageView(
        url=_url(request, options.host),
        referrer="" if _is_own(request.referrer, options.own_hosts) else request.referrer,
        http_status=request.status,
    )
    client = _client(request, options.trusted_hops)
    hit = hit_pb2.Hit(type=hit_pb2.HIT_TYPE_PAGE_VIEW, visitor_id=visitor_id(client, request.agent), page_view=view)
    hit.true_time.FromMicroseconds(request.time_us)
    if request.agent:
        hit.context.device.user_agent = request.agent
    return hit


def is_static(target: str) -> bool:
    """Return whether the target's last path segment has a static file's ending, in upper or lower case."""
    path = _ORIGIN.sub("", target, count=1).partition("?")[0]
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    return bool(dot) and ending.lower() in STATIC_ENDINGS


def visitor_id(client: str, agent: str) -> str:
    r"""Return 32 hex digits that identify client and user agent together.

    The id is a digest over the client and the user agent, joined by a line break, which cannot occur in a log line.
    """
    return blake2b(f"{client}\n{agent}".encode(), digest_size=16).hexdigest()


def _without_ends(raw_lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, raw in enumerate(raw_lines):
        if number == 0:
            raw = raw.removeprefix(_MARK)
        yield raw.removesuffix(b"\n").removesuffix(b"\r")


def _parsed(raw: bytes, parse: LineReader) -> Request | None:
    if len(raw) > MAX_LINE_BYTES:
        raise too_long()
    return parse(text_of(raw))


def _url(request: Request, default_host: str) -> str:
    """Return the target as a URL with the host, if the host is known.

    A target that has a host is returned unchanged.
    """
    named = _HOST.fullmatch(request.host) and request.host.partition(":")[0] != _ANY_HOST
    host = request.host if named else default_host
    return f"https://{host}{request.target}" if host and request.target.startswith("/") else request.target


def _is_own(referrer: str, own_hosts: frozenset[str]) -> bool:
    if not own_hosts or "://" not in referrer:
        return False
    authority = re.split("[/?#]", referrer.partition("://")[2], maxsplit=1)[0]
    host = authority.rpartition("@")[2].partition(":")[0].lower().removesuffix(".")
    return any(host == own_host or host.endswith("." + own_host) for own_host in own_hosts)


def _client(request: Request, trusted_hops: int) -> str:
    if not trusted_hops or not request.forwarded:
        return request.client
    return request.forwarded[-min(trusted_hops, len(request.forwarded))]
