r"""Parse common, combined and vhost_combined lines, as Apache and nginx write them.

    client ident user [time] "request" status bytes "referrer" "user agent" "forwarded for"

The last three fields may be missing; a line in vhost_combined begins with `host:port`. Quotes and backslashes in a
quoted field are escaped. A user agent that is cut off at the end of a line is accepted, because real logs contain such
lines.
"""

from __future__ import annotations

import re
from typing import Final

from hitmesh.tools.importers.lines import epoch_s, unparsable
from hitmesh.tools.importers.log_requests import (
    MISSING,
    Request,
    addresses,
    is_address,
    method_and_target,
    present,
    shown,
    status_of,
    unescaped,
    without_port,
)

_TIME: Final = (
    r"(?P<day>[0-9]{2})/(?P<month>[A-Za-z]{3})/(?P<year>[0-9]{4}):"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) "
    r"(?P<sign>[+-])(?P<zone_hours>[0-9]{2})(?P<zone_minutes>[0-5][0-9])"
)
_QUOTED: Final = r"(?:[^\"\\]|\\.)*"
_LINE: Final = (
    r"(?P<front>\S.*?) \[{time}\] \"(?P<request>{request})\" (?P<status>[0-9]{{3}}) (?:[0-9]+|-)(?P<rest> .*)?"
)
_ESCAPED_LINE: Final = re.compile(_LINE.format(time=_TIME, request=_QUOTED), re.DOTALL)
# In the logs of servers that escape no characters, a backslash before a quote is an ordinary character.
_PLAIN_LINE: Final = re.compile(_LINE.format(time=_TIME, request='[^"]*'), re.DOTALL)
_COMBINED: Final = re.compile(
    rf" \"(?P<referrer>{_QUOTED})\" \"(?P<agent>{_QUOTED})(?:\" \"(?P<forwarded>[0-9A-Fa-f:., ]+)\")?", re.DOTALL
)
_CLOCK: Final = re.compile(_TIME)
_VHOST: Final = re.compile(r"(?:[^:\s\[]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}


def read_combined(text: str) -> Request:
    """Read a line in the common or combined format.

    Raises:
        Skipped: the line has another format.
    """
    found = _found(text)
    front = found["front"].split(" ")
    if len(front) < 2 or _names_vhost(front):
        raise unparsable()
    return _request(found, front, host="")


def read_vhost_combined(text: str) -> Request:
    """Read a line that begins with the host, with or without a port.

    Raises:
        Skipped: the line has another format.
    """
    found = _found(text)
    front = found["front"].split(" ")
    if len(front) < 3 or not _names_vhost(front):
        raise unparsable()
    return _request(found, front[1:], host=front[0])


def clock_us(text: str) -> int:
    """Return the UTC microseconds for `17/May/2015:10:05:03 +0200`.

    Raises:
        Skipped: the text is not a time in the form `17/May/2015:10:05:03 +0200`.
    """
    found = _CLOCK.fullmatch(text.strip("[]"))
    if found is None:
        raise unparsable()
    return _time_us(found)


def _found(text: str) -> re.Match[str]:
    found = _ESCAPED_LINE.fullmatch(text) or _PLAIN_LINE.fullmatch(text)
    if found is None:
        raise unparsable()
    return found


def _names_vhost(front: list[str]) -> bool:
    """Return whether a line begins with a host before the client's address.

    If a line begins with a host, the second field is the client's address instead of an identity.
    """
    return front[1] not in MISSING and (_VHOST.fullmatch(front[0]) is not None or is_address(front[1]))


def _request(found: re.Match[str], front: list[str], host: str) -> Request:
    listed = 1 + next((at for at, name in enumerate(front) if not name.endswith(",")), len(front) - 1)
    clients = [without_port(each.rstrip(",")) for each in front[:listed]]
    combined = _COMBINED.match(found["rest"] or "")
    referrer, agent, forwarded = (combined[name] if combined else "" for name in ("referrer", "agent", "forwarded"))
    method, target = method_and_target(found["request"])
    return Request(
        time_us=_time_us(found),
        client=shown(clients[-1]),
        method=method,
        target=target,
        status=status_of(found["status"]),
        host=shown(present(host)),
        referrer=shown(unescaped(present(referrer))),
        agent=shown(unescaped(present(agent))),
        forwarded=addresses(forwarded) if forwarded else addresses(",".join(clients)) if listed > 1 else (),
    )


def _time_us(found: re.Match[str]) -> int:
    month = _MONTHS.get(found["month"].lower())
    if month is None:
        raise unparsable()
    local_s = epoch_s(int(found["year"]), month, *(int(found[name]) for name in ("day", "hour", "minute", "second")))
    offset_s = int(found["zone_hours"]) * 3600 + int(found["zone_minutes"]) * 60
    if offset_s >= 86_400:
        raise unparsable()
    return (local_s - offset_s if found["sign"] == "+" else local_s + offset_s) * 1_000_000
