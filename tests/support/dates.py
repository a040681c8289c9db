"""Dates of requests and responses, written like 2026-11-01."""

from __future__ import annotations

import datetime as dt

from google.type.date_pb2 import Date

from hitmesh.model.dates import date_message


def a_date(text: str) -> Date:
    """Return an ISO date as a message."""
    return date_message(dt.date.fromisoformat(text))


def in_query(field: str, date: dt.date) -> str:
    """Return a date as the query parameters of a REST call."""
    return f"{field}.year={date.year}&{field}.month={date.month}&{field}.day={date.day}"
