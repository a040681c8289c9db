"""The request that every access log parser returns, and from which a hit is made.

This module also parses the parts of a line that several formats share: escaped text, targets, clients and times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from hitmesh.tools.importers.lines import unparsable

MISSING: Final = frozenset({"", "-"})
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|[\"\\ntrbvf])")
_CONTROL: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "v": "\v", "f": "\f"}
_NO_UTF8: Final = re.compile("[\udc80-\udcff]")
_PROTOCOL: Final = re.compile(r" +HTTP/[0-9.]+$")
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]+\]?")
_ADDRESS_AND_PORT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]):[0-9]+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US: Final = 253_402_300_799_000_000  # The end of 9999-12-31.
# A pair (limit, factor) for each of the units s, ms and µs. If a time is below the limit of a unit, the time is in this
# unit, and `factor` converts the time to µs. A time above all limits is in ns.
_UNITS: Final = ((10**11, 10**6), (10**14, 10**3), (10**17, 1))


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `time_us` is in UTC microseconds, and a text is "" if the log does not contain the text.

    `client` is the peer that connected to the server; `forwarded` has the addresses in X-Forwarded-For, in order.
    """

    time_us: int
    client: str
    method: str
    target: str
    status: int
    host: str = ""
    referrer: str = ""
    agent: str = ""
    forwarded: tuple[str, ...] = ()


def text_of(raw: bytes) -> str:
    """Return a line's text. Bytes that are not UTF-8 become lone surrogates, which `shown` and `target_of` replace."""
    return raw.decode("utf-8", "surrogateescape")


def shown(text: str) -> str:
    """Return text that protobuf accepts, in which bytes that were not UTF-8 are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def present(text: str | None) -> str:
    """Return a value, or "" if the log marks the value as missing."""
    return "" if text is None or text in MISSING else text


def unescaped(text: str) -> str:
    r"""Undo a server's escapes `\"`, `\\`, `\n` and `\xHH`."""
    if "\\" not in text:
        return text
    return text_of(_ESCAPE.sub(_original, text).encode("utf-8", "surrogateescape"))


def _original(found: re.Match[str]) -> str:
    sign = found[1]
    if len(sign) == 3:
        byte = int(sign[1:], 16)
        return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)
    return _CONTROL.get(sign, sign)


def method_and_target(request: str) -> tuple[str, str]:
    """Return the method and the target.

    The target is all text between the method and the protocol, including spaces.

    Raises:
        Skipped: the request line has no target.
    """
    method, _, rest = unescaped(request).strip(" ").partition(" ")
    rest = rest.strip(" ")
    target = _PROTOCOL.sub("", rest) or rest
    if not target:
        raise unparsable()
    return shown(method), target_of(target)


def target_of(target: str) -> str:
    """Return a target that protobuf accepts, in which bytes that are not UTF-8 are percent-encoded."""
    return _NO_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", target)


def addresses(forwarded: str) -> tuple[str, ...]:
    """Return the addresses in an X-Forwarded-For header, without ports. Entries such as "unknown" are dropped."""
    found = (without_port(each.strip()) for each in forwarded.split(","))
    return tuple(each for each in found if _ADDRESS.fullmatch(each))


def is_address(text: str) -> bool:
    """Return whether the text has the form of an IP address, possibly with a port."""
    return _ADDRESS.fullmatch(without_port(text)) is not None


def without_port(client: str) -> str:
    """Return the address in `address:port`; other text is returned unchanged."""
    found = _ADDRESS_AND_PORT.fullmatch(client)
    return found[1] if found else client


def status_of(text: str) -> int:
    """Return an HTTP status.

    Raises:
        Skipped: the text is not three digits.
    """
    if len(text) != 3 or not (text.isascii() and text.isdecimal()):
        raise unparsable()
    return int(text)


def iso_us(text: str) -> int:
    """Return the UTC microseconds for an ISO 8601 time. A time without an offset is in UTC.

    Raises:
        Skipped: the text is not an ISO 8601 time.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise unparsable() from error


def epoch_us(number: float) -> int:
    """Convert a time in s, ms, µs or ns to microseconds. The function derives the unit from the number's magnitude.

    Raises:
        Skipped: the number is not a time between 1970 and 9999.
    """
    if not 0 <= number <= _LAST_US * 1_000:
        raise unparsable()
    factor = next((factor for bound, factor in _UNITS if number < bound), None)
    return round(number * factor) if factor else int(number) // 1_000
