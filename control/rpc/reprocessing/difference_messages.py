"""Differences as protobuf messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from control.rpc.reprocessing.differences import COUNT, UNITS, Outcome, Sums, Tally
from hitmesh.api.control.v1 import operations_pb2
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.days import day_message
from hitmesh.model.money import INT64_MAX, INT64_MIN
from hitmesh.runtime.rpc_values import timestamp


def metric_messages(sums: Mapping[str, Sums]) -> list[pb.MetricDifference]:
    """Return a message per metric, sorted by metric id."""
    return [_metric_message(metric, sums[metric]) for metric in sorted(sums)]


def day_difference(day: int, tally: Tally) -> pb.DayDifference:
    """Return a UTC day as a message."""
    return pb.DayDifference(
        utc_date=day_message(day),
        site_days=tally.site_days,
        changed_site_days=tally.changed_site_days,
        metrics=metric_messages(tally.changed),
        ledger_before=ledger_message(tally.before),
        ledger_after=ledger_message(tally.after),
        reasons=reasons_message(tally),
    )


def site_difference(site: str, tally: Tally) -> pb.SiteDifference:
    """Return a site as a message."""
    return pb.SiteDifference(
        site=site, changed_site_days=tally.changed_site_days, metrics=metric_messages(tally.changed)
    )


def reasons_message(tally: Tally) -> pb.ChangeReasons | None:
    """Return the reasons why site-days changed, or None if no site-day's reasons are known."""
    if not tally.explained_site_days:
        return None
    return pb.ChangeReasons(explained_site_days=tally.explained_site_days, **asdict(tally.reasons))


def cell_difference(site: str, start: int, sums: Mapping[str, Sums]) -> pb.CellDifference:
    """Return a cell as a message; `start` is in UTC ms."""
    return pb.CellDifference(site=site, start_time=timestamp(start), metrics=metric_messages(sums))


def ledger_message(outcome: Outcome) -> pb.LedgerOutcome:
    """Return a ledger as a message."""
    accepted = operations_pb2.LedgerCount(hits=outcome.accepted, sum64=outcome.sum64, xor64=outcome.xor64)
    return pb.LedgerOutcome(
        accepted=accepted,
        counted=outcome.counted,
        duplicate=outcome.duplicate,
        excluded=outcome.excluded,
        erased=outcome.erased,
    )


def _metric_message(metric: str, sums: Sums) -> pb.MetricDifference:
    difference = sums.new - sums.old
    return pb.MetricDifference(
        metric=metric,
        unit=UNITS.get(metric, COUNT),
        old=_if_int64(sums.old),
        new=_if_int64(sums.new),
        difference=_if_int64(difference),
        percent=100 * difference / abs(sums.old) if sums.old else None,
        absolute_difference=_if_int64(sums.absolute),
        absolute_percent=100 * sums.absolute / abs(sums.old) if sums.old else None,
    )


def _if_int64(value: int) -> int | None:
    return value if INT64_MIN <= value <= INT64_MAX else None
