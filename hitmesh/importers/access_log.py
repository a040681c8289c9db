"""Access logs of Apache and nginx, common and combined format: a line becomes a PAGE_VIEW or a reason to skip it.

Decides which requests were pages and who the visitor is. Leaves everything about addresses, campaigns, user agents,
referrers and channels to admission. A user agent cut short at the end of a line is taken as it stands:
real logs hold such lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

from hitmesh.hit.v1 import hit_pb2
from hitmesh.importers.lines import (
    MAX_LINE_BYTES,
    Line,
    Skipped,
    SkipReason,
    Tally,
    epoch_s,
    hit_id,
    read_lines,
    unparsable,
)

STATIC_ENDINGS: Final = frozenset(
    re.findall(
        r"\S+",
        "css js mjs map png jpg jpeg gif ico svg webp avif bmp tif tiff xbm woff woff2 ttf eot otf mp3 mp4 mpg "
        "mpeg avi mov webm ogg wav zip gz tgz bz2 tar rar 7z jar rpm deb iso exe dmg pdf txt xml json rss atom",
    )
)
NOT_MODIFIED: Final = 304

_LINE: Final = re.compile(
    r"(?P<host>\S+) \S+ .*?\["
    r"(?P<day>[0-9]{2})/(?P<month>[A-Za-z]{3})/(?P<year>[0-9]{4}):"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) "
    r"(?P<sign>[+-])(?P<zone_hours>[0-9]{2})(?P<zone_minutes>[0-5][0-9])\] "
    r"\"(?P<request>.*?)\" (?P<status>[0-9]{3}) (?:[0-9]+|-)(?P<rest> .*)?",
    re.DOTALL,
)
_COMBINED: Final = re.compile(r" \"(?P<referrer>(?:[^\"\\]|\\.)*)\" \"(?P<agent>(?:[^\"\\]|\\.)*)", re.DOTALL)
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_MISSING: Final = "-"


def read(raw_lines: Iterable[bytes], tally: Tally) -> Iterator[hit_pb2.Hit]:
    """Yields the hits in the order of their lines; counts lines and reasons in `tally` as it goes."""
    for line in read_lines(raw_lines):
        tally.lines += 1
        try:
            hit = page_view(line)
        except Skipped as skipped:
            tally.skipped[skipped.reason] += 1
        else:
            yield hit


def page_view(line: Line) -> hit_pb2.Hit:
    """Returns the hit of a line.

    Raises:
        Skipped: with the first reason that applies of unparsable, method, status, static.
    """
    found = _LINE.fullmatch(line.text) if len(line.text) <= MAX_LINE_BYTES else None
    if found is None or '"' in found["request"]:
        raise unparsable()
    tokens = [token for token in found["request"].split(" ") if token]
    if len(tokens) < 2:
        raise unparsable()
    event_time_s = _event_time_s(found)
    method, target = tokens[:2]
    status = int(found["status"])
    if method != "GET":
        raise Skipped(SkipReason.METHOD)
    if not (200 <= status <= 299 or status == NOT_MODIFIED):
        raise Skipped(SkipReason.STATUS)
    if is_static(target):
        raise Skipped(SkipReason.STATIC)
    combined = _COMBINED.match(found["rest"] or "")
    referrer, agent = (_unless_missing(combined[name]) if combined else "" for name in ("referrer", "agent"))
    hit = hit_pb2.Hit(
        hit_id=hit_id(line),
        type=hit_pb2.HIT_TYPE_PAGE_VIEW,
        visitor_id=visitor_id(found["host"], agent),
        page_view=hit_pb2.PageView(url=target, referrer=referrer, http_status=status),
    )
    hit.true_time.seconds = event_time_s
    if agent:
        hit.context.device.user_agent = agent
    return hit


def is_static(target: str) -> bool:
    """Returns whether the last segment of the target's path ends in one of the endings of files, in any case."""
    path = _ORIGIN.sub("", target, count=1).partition("?")[0]
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    return bool(dot) and ending.lower() in STATIC_ENDINGS


def visitor_id(host: str, agent: str) -> str:
    r"""Returns 32 hex digits that name host and user agent together; no line holds the `\n` between them."""
    return blake2b(f"{host}\n{agent}".encode(), digest_size=16).hexdigest()


def _event_time_s(found: re.Match[str]) -> int:
    month = _MONTHS.get(found["month"].lower())
    if month is None:
        raise unparsable()
    local_s = epoch_s(int(found["year"]), month, *(int(found[name]) for name in ("day", "hour", "minute", "second")))
    offset_s = int(found["zone_hours"]) * 3600 + int(found["zone_minutes"]) * 60
    if offset_s >= 86_400:
        raise unparsable()
    return local_s - offset_s if found["sign"] == "+" else local_s + offset_s


def _unless_missing(text: str) -> str:
    return "" if text == _MISSING else text
