"""Notes about a report's numbers: buckets that are shorter than the grain, and visits that are not complete yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

CUT = "the range or a clock change cuts"


def flagged(content: bytes, labels: Sequence[str]) -> bytes:
    """Mark rows in a JSON or NDJSON file as partial: add `"partial":true` to the rows whose time is in `labels`.

    The function searches for the bytes of a row's first field, which is the time. Inside a JSON text, quotes are
    escaped, so the searched bytes occur only at the beginning of a row.

    Example:
        >>> flagged(b'{"time":"2026-11-01","hits":3}', ["2026-11-01"])
        b'{"time":"2026-11-01","partial":true,"hits":3}'
    """
    for label in labels:
        begin = b'{"time":' + json.dumps(label).encode()
        content = content.replace(begin, begin + b',"partial":true')
    return content


def cut_note(labels: Sequence[str], grain: str) -> str:
    """Return a note about buckets that are shorter than the grain. The note is for formats that cannot mark rows."""
    return f"buckets that are shorter than one {grain}, because {CUT} them: {', '.join(labels)}"


def unsettled_visits(meta: Mapping[str, Any], today: date) -> str:
    """Return a note if the visits of a day before `today` may be incomplete, else "".

    Args:
        meta: the meta of a JSON answer: `start`, `end` and `provisional_from`.
        today: the current day in UTC.
    """
    if not all(meta.get(name) for name in ("start", "end", "provisional_from")):
        return ""
    start, end, provisional = (datetime.fromisoformat(meta[name]) for name in ("start", "end", "provisional_from"))
    first = max(start, provisional).astimezone(UTC).date()
    last = min((end - timedelta(milliseconds=1)).astimezone(UTC).date(), today - timedelta(days=1))
    if first > last:
        return ""
    days = f"{first}" if first == last else f"{first} to {last}"
    return f"visits of {days} are complete when the day is settled, 26 hours after its end"
