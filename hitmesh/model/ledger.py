"""The names in a ledger row: kinds of rows and outcomes of hits (rule D5)."""

from __future__ import annotations

from enum import StrEnum


class LedgerKind(StrEnum):
    """The kind of a ledger row, which decides the meaning of the row's column `at`."""

    CELL = "cell"  # `at` is the start of the collect time's cell (UTC ms); received = rejected + accepted
    DAY = "day"  # `at` is the UTC day of event time; accepted = counted + duplicate + excluded + erased + pending

    # Counted or excluded hits that join visits only when the day is settled (rule S9). `at` is the UTC day of event
    # time.
    WAITS = "waits"


class LedgerClass(StrEnum):
    """The outcome of hits (rule D5). In ledger rows of kind DAY, all other classes of hits must add up to ACCEPTED."""

    RECEIVED = "received"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    COUNTED = "counted"
    DUPLICATE = "duplicate"
    EXCLUDED = "excluded"
    PENDING = "pending"  # history hits, which are only in the raw store until the day is settled
    ERASED = "erased"  # hits of an erased visitor: only checksums of these hits remain
