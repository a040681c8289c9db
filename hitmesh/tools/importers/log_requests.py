"""A request as an access log tells it, before it becomes a hit: what every format is read into.

Also holds what formats share: text that a server escaped, targets, clients and times.
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
_LAST_US: Final = 253_402_300_799_000_000  # 9999-12-31
_UNITS: Final = ((10**11, 10**6), (10**14, 10**3), (10**17, 1))  # below this many it is s, ms, µs; else ns


@dataclass(frozen=True, slots=True)
class Request:
    """One request: time in UTC microseconds, `target` as it was asked for, "" where the log does not say.

    `client` is the neighbour that connected to the server, `forwarded` the addresses of X-Forwarded-For in its order.
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
    """Returns a line's text; a byte that is not UTF-8 becomes a lone surrogate, which `shown` and `target_of` undo."""
    return raw.decode("utf-8", "surrogateescape")


def shown(text: str) -> str:
    """Returns text that protobuf takes: what was not UTF-8 is replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def present(text: str | None) -> str:
    """Returns a value, "" where the log says that it has none."""
    return "" if text is None or text in MISSING else text


def unescaped(text: str) -> str:
    r"""Returns the text that a server wrote with `\"`, `\\`, `\n` or `\xHH` in it."""
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
    """Returns what a request line names: the target is all between the method and the protocol, blanks too.

    Raises:
        Skipped: there is no target.
    """
    method, _, rest = unescaped(request).strip(" ").partition(" ")
    rest = rest.strip(" ")
    target = _PROTOCOL.sub("", rest) or rest
    if not target:
        raise unparsable()
    return shown(method), target_of(target)


def target_of(target: str) -> str:
    """Returns a target that protobuf takes: bytes that are not UTF-8 are percent-encoded."""
    return _NO_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", target)


def addresses(forwarded: str) -> tuple[str, ...]:
    """Returns the addresses of an X-Forwarded-For header, without ports; what is none ("unknown") is left out."""
    found = (without_port(each.strip()) for each in forwarded.split(","))
    return tuple(each for each in found if _ADDRESS.fullmatch(each))


def is_address(text: str) -> bool:
    """Whether the text has the shape of an IP address, perhaps with a port."""
    return _ADDRESS.fullmatch(without_port(text)) is not None


def without_port(client: str) -> str:
    """Returns the address of `address:port`; other text as it is."""
    found = _ADDRESS_AND_PORT.fullmatch(client)
    return found[1] if found else client


def status_of(text: str) -> int:
    """Returns an HTTP status.

    Raises:
        Skipped: it has not three digits.
    """
    if len(text) != 3 or not (text.isascii() and text.isdecimal()):
        raise unparsable()
    return int(text)


def iso_us(text: str) -> int:
    """Returns the UTC microseconds of an ISO 8601 time; without an offset it is UTC.

    Raises:
        Skipped: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise unparsable() from error


def epoch_us(number: float) -> int:
    """Returns the microseconds of seconds, milliseconds, microseconds or nanoseconds, told apart by their size.

    Raises:
        Skipped: it is no time between 1970 and 9999.
    """
    if not 0 <= number <= _LAST_US * 1_000:
        raise unparsable()
    factor = next((factor for bound, factor in _UNITS if number < bound), None)
    return round(number * factor) if factor else int(number) // 1_000
