"""HTTP calls of the doctor, each with a time limit, and the clock in an answer."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from hitmesh.tools.doctor.facts import ClockReading
from hitmesh.tools.doctor.running import Watch

CALL_S: Final = 4.0
# The header Date has whole seconds. Envoy computes the header twice a second.
_DATE_RESOLUTION_MS: Final = 1_500
_MAX_BODY: Final = 16 << 20


def get(
    address: str, path: str, watch: Watch, *, most_s: float = CALL_S, tls: ssl.SSLContext | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a GET request; return status, headers with names in lower case, and body.

    Args:
        address: host:port.
        path: the path.
        watch: limits the time.
        most_s: longest time.
        tls: context for HTTPS, or None for HTTP.

    Raises:
        OSError: no connection, or no answer in time.
        http.client.HTTPException: the answer is not HTTP.
    """
    timeout = watch.left_s(most_s)
    connection = (
        http.client.HTTPConnection(address, timeout=timeout)
        if tls is None
        else http.client.HTTPSConnection(address, timeout=timeout, context=tls)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read(_MAX_BODY)
    finally:
        connection.close()


def clock_reading(source: str, headers: Mapping[str, str], before: int, after: int) -> ClockReading | None:
    """Return the time in the header Date of an HTTP answer, or None without a usable header."""
    try:
        at = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        return None
    return ClockReading(source, int(at.timestamp() * 1000), _DATE_RESOLUTION_MS, before, after)
