"""Conversion of values to common protobuf messages."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from hitmesh.model.errors import RefusedError


def timestamp(ms: int) -> Timestamp:
    """Return an instant in UTC milliseconds as a Timestamp."""
    return Timestamp(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000)


def milliseconds(value: Timestamp, field: str) -> int:
    """Return a Timestamp of a request in UTC milliseconds.

    Raises:
        RefusedError: the value is not a valid Timestamp.
    """
    try:
        return value.ToMilliseconds()
    except ValueError as error:
        raise RefusedError(
            f"{field} with {value.seconds} s and {value.nanos} ns is not a time: send a time from year 1 to 9999",
            field=field,
            value=f"{value.seconds}.{value.nanos}",
        ) from error
