"""Convert dates like 2026-11-01 to the formats of gRPC and REST requests, and to buckets."""

from __future__ import annotations

import datetime as dt

from google.type.date_pb2 import Date

from hitmesh.model.cells import MONDAY, Buckets, Grain, buckets_between, civil_range
from hitmesh.model.dates import date_message


def a_date(text: str) -> Date:
    """Return an ISO date as a protobuf message."""
    return date_message(dt.date.fromisoformat(text))


def in_query(field: str, date: dt.date) -> str:
    """Return a date as the query parameters of a REST call."""
    return f"{field}.year={date.year}&{field}.month={date.month}&{field}.day={date.day}"


def buckets(zone: str, first: dt.date, last: dt.date, grain: Grain, week_start: int = MONDAY) -> Buckets:
    """Return the buckets that cover the local dates from the first to the last, both included."""
    return buckets_between(zone, *civil_range(zone, first, last), grain, week_start)
