"""Parses access logs with a JSON object per line, such as logs from Caddy, and from nginx or Traefik in JSON format.

The parser finds a value under any common name, in upper or lower case, with "-" or "_". The parser finds a field of a
nested object under two names: the field's name, and the object's name joined with the field's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from hitmesh.tools.importers.lines import unparsable
from hitmesh.tools.importers.log_ncsa import clock_us
from hitmesh.tools.importers.log_requests import (
    Request,
    addresses,
    epoch_us,
    iso_us,
    method_and_target,
    present,
    status_of,
    without_port,
)

_TIME: Final = (
    *("ts", "time_iso8601", "time_local", "timestamp", "time", "msec", "date_time", "datetime", "start_time"),
    *("starttime", "startutc", "date"),
)
_CLIENT: Final = (
    *("client_ip", "remote_addr", "remote_ip", "clientip", "remoteip", "clienthost", "client_addr", "client_address"),
    *("client", "remote_host", "ip"),
)
_METHOD: Final = ("request_method", "requestmethod", "method", "http_method", "verb")
_TARGET: Final = ("request_uri", "uri", "requesturi", "requestpath", "request_path", "requesturl", "url", "path")
_QUERY: Final = ("query_string", "args", "query")
_STATUS: Final = ("status", "status_code", "statuscode", "downstreamstatus", "response_status", "response_code", "code")
_HOST: Final = ("host", "http_host", "requesthost", "server_name", "vhost", "virtual_host", "domain", "authority")
_REFERRER: Final = ("http_referer", "http_referrer", "referer", "referrer", "request_referer")
_AGENT: Final = ("http_user_agent", "user_agent", "useragent", "request_user_agent", "agent", "ua")
_FORWARDED: Final = ("http_x_forwarded_for", "x_forwarded_for", "xforwardedfor", "xff", "forwarded_for")
_REQUEST_LINE: Final = re.compile(r"[A-Z]+ .*")
_CADDY_DAY: Final = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2}) ")
_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def read_caddy(text: str) -> Request:
    """Read a line from Caddy's access log.

    Raises:
        Skipped: the line has another format.
    """
    line = _object(text)
    request = line.get("request")
    if not isinstance(request, dict) or "uri" not in request:
        raise unparsable()
    return _request(line)


def read_json(text: str) -> Request:
    """Read a JSON object with at least a time, a client, a method, a target and a status.

    Raises:
        Skipped: a value is missing or the text is not a JSON object.
    """
    return _request(_object(text))


def _object(text: str) -> dict[str, Any]:
    try:
        line = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeError) as error:
        raise unparsable() from error
    if not isinstance(line, dict):
        raise unparsable()
    return line


def _request(line: Mapping[str, Any]) -> Request:
    values: dict[str, Any] = {}
    for name, value in _named(line, ""):
        values.setdefault(name, value)
    method, target = _method_and_target(values)
    client = without_port(_text(values, _CLIENT))
    if not client:
        raise unparsable()
    return Request(
        time_us=_time_us(_first(values, _TIME)),
        client=client,
        method=method,
        target=target,
        status=status_of(_text(values, _STATUS)),
        host=_text(values, _HOST),
        referrer=_text(values, _REFERRER),
        agent=_text(values, _AGENT),
        forwarded=addresses(_text(values, _FORWARDED)),
    )


def _named(values: Mapping[str, Any], path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield each value with its name.

    A value in a nested object is also yielded with the object's name in front of the value's name. Values in outer
    objects come first.
    """
    inner = []
    for name, value in values.items():
        name = name.lower().replace("-", "_").lstrip("@")
        if isinstance(value, dict):
            inner.append((name, value))
        elif isinstance(value, str | int | float | list):
            yield name, value
            if path:
                yield f"{path}_{name}", value
    for name, value in inner:
        if depth < 3:
            yield from _named(value, name, depth + 1)


def _method_and_target(values: Mapping[str, Any]) -> tuple[str, str]:
    line = _text(values, ("request", "request_line", "message"))
    if _REQUEST_LINE.fullmatch(line):
        return method_and_target(line)
    method, target = _text(values, _METHOD), _text(values, _TARGET)
    query = _text(values, _QUERY)
    if not method or not target:
        raise unparsable()
    return method, f"{target}?{query.removeprefix('?')}" if query and "?" not in target else target


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((values[name] for name in names if name in values and values[name] not in ("", "-", [])), "")


def _text(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = _first(values, names)
    if isinstance(found, list):
        found = found[0] if len(found) == 1 else ", ".join(map(str, found))
    return present(str(found))


def _time_us(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise unparsable()
    if not isinstance(value, str):
        return epoch_us(value)
    if _DECIMAL.fullmatch(value):
        return epoch_us(float(value))
    if value[:1] == "[" or value[2:3] == "/":
        return clock_us(value)
    return iso_us(_CADDY_DAY.sub(r"\1-\2-\3 ", value))
