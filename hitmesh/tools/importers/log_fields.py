"""Parses access logs with columns.

The formats are W3C extended (IIS), CloudFront's standard logs and the logs from AWS load balancers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from hitmesh.tools.importers.lines import unparsable
from hitmesh.tools.importers.log_requests import (
    Request,
    addresses,
    is_address,
    iso_us,
    method_and_target,
    present,
    shown,
    status_of,
    target_of,
    unescaped,
    without_port,
)

# The first columns of a CloudFront log; needed for files that lack the header line.
CLOUDFRONT_FIELDS: Final = (
    *("date", "time", "x-edge-location", "sc-bytes", "c-ip", "cs-method", "cs(host)", "cs-uri-stem", "sc-status"),
    *("cs(referer)", "cs(user-agent)", "cs-uri-query", "cs(cookie)", "x-edge-result-type", "x-edge-request-id"),
    "x-host-header",
)
_EDGE: Final = "x-edge-location"
_DIRECTIVE: Final = "#Fields:"
_FIELD: Final = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|$)|(\S+)', re.DOTALL)
_BALANCER_TYPES: Final = frozenset({"http", "https", "h2", "grpcs", "ws", "wss"})


class W3cReader:
    """Reads the lines of a file in which "#Fields:" lines name the columns."""

    def __init__(self, *, cloudfront: bool) -> None:
        self._cloudfront = cloudfront
        self._names: tuple[str, ...] = CLOUDFRONT_FIELDS if cloudfront else ()

    def __call__(self, text: str) -> Request | None:
        """Read a line, or return None for a directive (a line that begins with "#").

        Raises:
            Skipped: the line does not have the columns.
        """
        if text.startswith("#"):
            if text.startswith(_DIRECTIVE):
                self._names = tuple(text.removeprefix(_DIRECTIVE).lower().split())
            return None
        values = text.split("\t") if "\t" in text else text.split(" ")
        if (_EDGE in self._names) is not self._cloudfront or not self._has_all(values):
            raise unparsable()
        return self._request(dict(zip(self._names, values, strict=False)))

    def _has_all(self, values: list[str]) -> bool:
        if self._names is CLOUDFRONT_FIELDS:
            return len(values) > CLOUDFRONT_FIELDS.index("cs-uri-query")
        return 0 < len(self._names) == len(values)

    def _request(self, values: Mapping[str, str]) -> Request:
        def first(*names: str) -> str:
            return shown(next((found for name in names if (found := present(values.get(name)))), ""))

        stem, query = (present(values.get(name)) for name in ("cs-uri-stem", "cs-uri-query"))
        target = target_of(f"{stem}?{query}" if query else stem) or first("cs-uri")
        method, client = first("cs-method"), first("c-ip")
        if not target or not method or not client:
            raise unparsable()
        return Request(
            time_us=iso_us(f"{first('date')}T{first('time')}"),
            client=client,
            method=method,
            target=target,
            status=status_of(first("sc-status")),
            host=first("x-host-header", "cs-host", "cs(host)"),
            referrer=self._without_blanks(first("cs(referer)", "cs(referrer)")),
            agent=self._without_blanks(first("cs(user-agent)")),
            forwarded=addresses(self._without_blanks(first("x-forwarded-for", "cs(x-forwarded-for)"))),
        )

    def _without_blanks(self, text: str) -> str:
        """Restore the spaces in a header's value. CloudFront percent-encodes spaces once or twice; IIS writes "+"."""
        if self._cloudfront:
            once = unquote(text)
            return unquote(once) if "%20" in once else once
        return text.replace("+", " ")


def read_alb(text: str) -> Request:
    """Read a line from an AWS load balancer.

    A line from an application load balancer begins with the connection's type, such as `https`. A line from a classic
    load balancer has no type.

    Raises:
        Skipped: the line has another format.
    """
    fields = [quoted or plain for quoted, plain in _FIELD.findall(text)]
    if fields and fields[0] in _BALANCER_TYPES:
        fields = fields[1:]
    if len(fields) < 13:
        raise unparsable()
    time, _, client, *_ = fields
    status, request, agent = fields[7], fields[11], fields[12]
    if not is_address(client):
        raise unparsable()
    method, target = method_and_target(request)
    return Request(
        time_us=iso_us(time),
        client=without_port(client),
        method=method,
        target=target,
        status=status_of(status),
        agent=shown(unescaped(present(agent))),
    )
