"""Determines the event times of hits (rules T1 to T3).

Decides each hit's event time and the source of this time. Decides which times are refused. The collect time comes with
the frame; this module reads no clock. All times are in UTC milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.admission.verdicts import Verdicts
from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.hit_types import TimeSource
from hitmesh.model.limits import MAX_AGE_MS, MAX_AHEAD_MS, MAX_SERVER_AGE_MS, MAX_SKEW_MS
from hitmesh.model.reasons import HitReason

# Times are clipped to ± this value. The value is far beyond any accepted time. The difference between two clipped times
# cannot overflow.
_FAR_MS: Final = 1 << 60
_NANOS: Final = 1_000_000_000
_UNBOUNDED: Final = "a server key that CreateIngestKey created with unboundedHistory"
_FIELDS: Final = {
    TimeSource.TRUE_TIME: "true_time",
    TimeSource.CLIENT_OFFSET: "client_create_time",
    TimeSource.EDGE_RECEIVE: "edge.edge_receive_time",
    TimeSource.COLLECT: "",
}


@dataclass(frozen=True, slots=True)
class Instants:
    """A column with one time per row. If no time was sent for a row, its entry in `known` is false."""

    values: I64Array
    known: BoolArray

    @classmethod
    def of(
        cls, column: pa.StructArray, field: str, verdicts: Verdicts, among: BoolArray | None = None
    ) -> Instants | None:
        """Return a column of times in ms, or None if no row has a time. Refuse rows whose time has invalid nanoseconds.

        Args:
            column: seconds and nanos as sent.
            field: the name of the column, for messages.
            verdicts: has a row for each row of the column.
            among: rows whose times count; None = all rows. The times of other rows are unknown.
        """
        if column.null_count == len(column):
            return None
        known = np.ones(len(column), np.bool_) if not column.null_count else np.asarray(column.is_valid())
        if among is not None:
            known = known & among
        seconds, nanos = column.field("seconds").to_numpy(), column.field("nanos").to_numpy()
        verdicts.refuse(
            known & ((nanos < 0) | (nanos >= _NANOS)),
            HitReason.INVALID_FIELD,
            field,
            lambda row: f"{field} has {nanos[row]} nanos: send 0 to {_NANOS - 1:,} nanos, and whole seconds apart",
        )
        millis = np.clip(seconds, -_FAR_MS // 1_000, _FAR_MS // 1_000) * 1_000 + nanos // 1_000_000
        return cls(np.where(known, millis, 0), known)

    def rows(self, positions: npt.NDArray[np.integer]) -> Instants:
        """Return the rows at the given positions, in this order."""
        return Instants(self.values[positions], self.known[positions])


@dataclass(frozen=True, slots=True)
class SentTimes:
    """The times that are known for each hit before the rules are applied."""

    collected: I64Array
    edge: Instants | None  # the edge's time, if the edge is trusted
    created: Instants | None
    sent: Instants | None
    true: Instants | None
    by_server: BoolArray
    unbounded: BoolArray  # whether the key may send hits of any age


@dataclass(frozen=True, slots=True)
class EventTimes:
    """The event time of each hit, and the source of this time."""

    values: I64Array
    source: npt.NDArray[np.uint8]
    skewed: BoolArray


def event_times(sent: SentTimes, verdicts: Verdicts) -> EventTimes:
    """Return each row's event time. Refuse hits whose time is too far in the future or in the past."""
    values, source = sent.collected.copy(), np.full(len(sent.collected), TimeSource.COLLECT, np.uint8)
    if sent.edge is not None:
        values = np.where(sent.edge.known, sent.edge.values, values)
        source[sent.edge.known] = TimeSource.EDGE_RECEIVE
    received = values
    if sent.created is not None and sent.sent is not None:
        elapsed = sent.sent.values - sent.created.values
        usable = sent.created.known & sent.sent.known & (elapsed >= 0)
        values = np.where(usable, received - elapsed, values)
        source[usable] = TimeSource.CLIENT_OFFSET
    if sent.true is not None:
        trusted = sent.true.known & sent.by_server
        values = np.where(trusted, sent.true.values, values)
        source[trusted] = TimeSource.TRUE_TIME
        verdicts.warn(
            sent.true.known & ~sent.by_server,
            HitReason.INVALID_FIELD,
            "true_time",
            "true_time was ignored, because it needs a server key: send client_create_time instead",
        )
    found = EventTimes(values, source, values - sent.collected > MAX_SKEW_MS)
    _refuse_old(found, received, sent, verdicts)
    return _without_skew(found, sent.collected, verdicts)


def _without_skew(found: EventTimes, collected: I64Array, verdicts: Verdicts) -> EventTimes:
    """Apply rule T2: times over 5 minutes ahead become the collect time; times over 24 hours ahead are refused."""
    if not found.skewed.any():
        return found
    for at_fault, field in _by_field(found.values - collected > MAX_AHEAD_MS, found.source):
        verdicts.refuse(
            at_fault,
            HitReason.TIME_FUTURE,
            field,
            lambda row: (
                f"event time {_shown(found.values[row])} is more than 24 hours after its collection at "
                f"{_shown(collected[row])}: set the sender's clock"
            ),
        )
    for mended, field in _by_field(found.skewed, found.source):
        verdicts.warn(
            mended,
            HitReason.CLOCK_SKEW,
            field,
            lambda row: (
                f"event time {_shown(found.values[row])} is more than 5 minutes after its collection and was set to "
                f"{_shown(collected[row])}: set the sender's clock"
            ),
        )
    return EventTimes(np.where(found.skewed, collected, found.values), found.source, found.skewed)


def _refuse_old(found: EventTimes, received: I64Array, sent: SentTimes, verdicts: Verdicts) -> None:
    """Apply rule T3, and refuse times before 1970."""
    limit = np.where(sent.by_server, MAX_SERVER_AGE_MS, MAX_AGE_MS)
    too_old = ((received - found.values > limit) & ~sent.unbounded) | (found.values < 0)
    for at_fault, field in _by_field(too_old, found.source):
        verdicts.refuse(
            at_fault,
            HitReason.TIME_TOO_OLD,
            field,
            lambda row: (
                f"event time {_shown(found.values[row])} is too old for a hit received at {_shown(received[row])}: "
                + _remedy(bool(sent.unbounded[row]), bool(sent.by_server[row]))
            ),
        )


def _remedy(unbounded: bool, by_server: bool) -> str:
    if unbounded:
        return "send event times from 1970 on"
    if by_server:
        return f"this key may send hits up to 13 months old; use {_UNBOUNDED}"
    return f"this key may send hits up to 72 hours old; use a server key (up to 13 months), or {_UNBOUNDED}"


def _by_field(rows: BoolArray, source: npt.NDArray[np.uint8]) -> Iterator[tuple[BoolArray, str]]:
    """Yield the given rows grouped by the field that supplied the time."""
    if rows.any():
        for kind, field in _FIELDS.items():
            yield rows & (source == kind), field


def _shown(millis: int) -> str:
    """Return a time as text for messages, in ISO 8601, or in milliseconds if datetime cannot represent the time."""
    try:
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(millis))
        return time.isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{millis} ms"
