"""Conversion of values to common protobuf messages."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(ms: int) -> Timestamp:
    """Return an instant in UTC milliseconds as a Timestamp."""
    return Timestamp(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000)
