"""The names in a ledger row: what a row counts, and the outcomes of hits (rule D5)."""

from __future__ import annotations

from enum import StrEnum


class LedgerKind(StrEnum):
    """The meaning of `at` in a ledger row."""

    CELL = "cell"  # start of the collect time's cell, UTC ms: received = rejected + accepted
    DAY = "day"  # UTC day of event time: accepted = counted + duplicate + excluded + pending
    WAITS = "waits"  # UTC day of event time: counted or excluded hits in no visit until the day is settled (rule S9)


class LedgerClass(StrEnum):
    """The outcome of hits (rule D5). In kind DAY, the other classes must add up to ACCEPTED."""

    RECEIVED = "received"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    COUNTED = "counted"
    DUPLICATE = "duplicate"
    EXCLUDED = "excluded"
    PENDING = "pending"  # history: raw only, until the day is settled
