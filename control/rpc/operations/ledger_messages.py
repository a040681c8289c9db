"""The ledger as protobuf messages."""

from __future__ import annotations

from control.ledger import Day, Totals
from hitmesh.api.control.v1 import operations_pb2 as pb
from hitmesh.model.counts import Count
from hitmesh.model.days import day_message as utc_date_message
from hitmesh.model.generations import STREAM_GENERATION


def totals_message(totals: Totals) -> pb.LedgerTotals:
    """Return totals as a message."""
    by_day = totals.accepted_by_day
    return pb.LedgerTotals(
        received=_count_message(totals.received),
        rejected=_count_message(totals.rejected),
        accepted=_count_message(totals.accepted),
        accepted_by_day=None if by_day is None else _count_message(by_day),
        imbalance=totals.imbalance,
    )


def day_message(day: Day) -> pb.LedgerDay:
    """Return a day as a message."""
    return pb.LedgerDay(
        utc_date=utc_date_message(day.day),
        settled=day.is_settled,
        generation=None if day.generation == STREAM_GENERATION else day.generation,
        accepted=_count_message(day.accepted),
        counted=day.counted,
        duplicate=day.duplicate,
        excluded=day.excluded,
        erased=day.erased,
        classified=_count_message(day.classified),
        pending=_count_message(day.pending),
        imbalance=day.imbalance,
    )


def _count_message(count: Count) -> pb.LedgerCount:
    return pb.LedgerCount(hits=count.hits, sum64=count.sum64, xor64=count.xor64)
