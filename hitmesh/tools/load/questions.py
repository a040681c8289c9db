"""Sends requests to the mesh.

Before a run, this module creates sites and keys. After the run, this module reads report totals and ledgers.

The module `comparing` compares the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from hitmesh.api.control.v1 import admin_pb2, operations_pb2
from hitmesh.api.control.v1.operations_pb2_grpc import OperationsServiceStub
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.client.sites import ensure_site
from hitmesh.model.days import day_message
from hitmesh.model.zones import DAY_MS
from hitmesh.tools.load.expected import METRICS
from hitmesh.tools.load.plan import MERCHANT
from hitmesh.tools.load.policies import other_policies
from hitmesh.tools.load.scenery import CURRENCY

MICROS: Final = 1_000_000
NANOS_PER_MICRO: Final = 1_000


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A site and the key created for this run.

    If `is_new`, the site has no data yet. `policies` are the versions of the site's visit policies under which visits
    of the run are not predicted (hitmesh.tools.load.policies).
    """

    site: str
    secret: str
    key_name: str
    is_new: bool
    policies: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Days:
    """The UTC days from `first` to the day before `end`; both are numbers of days since 1970-01-01.

    Only whole days are compared, because the ledger is kept by day.
    """

    first: int
    end: int

    @classmethod
    def of(cls, first_ms: int, last_ms: int) -> Days:
        """Return the days from the day of `first_ms` to the day of `last_ms`, including both."""
        return cls(first_ms // DAY_MS, last_ms // DAY_MS + 1)

    def message(self) -> reporter_pb2.TimeRange:
        """Return the days as a range of instants."""
        start, end = Timestamp(), Timestamp()
        start.FromMilliseconds(self.first * DAY_MS)
        end.FromMilliseconds(self.end * DAY_MS)
        return reporter_pb2.TimeRange(instants=reporter_pb2.InstantRange(start=start, end=end))

    def dates(self) -> tuple[Date, Date]:
        """Return the first and the last day as dates."""
        return day_message(self.first), day_message(self.end - 1)


@dataclass(frozen=True, slots=True)
class LedgerDays:
    """A site's ledger for some days; `imbalance` covers all days."""

    counted: int
    duplicate: int
    excluded: int
    imbalance: int


def open_site(mesh: Mesh, site: str, now_ms: int, first_ms: int, last_ms: int) -> SiteKey:
    """Create a site if it does not exist; return the site with a new server key.

    The key identifies a frame's site, so that frames for all sites can share a few streams.

    Args:
        mesh: the mesh under test.
        site: full name.
        now_ms: the current time in UTC ms; a site that was created earlier is not new.
        first_ms: the earliest time at which a visit of the run may begin, UTC ms.
        last_ms: the latest time at which a visit of the run may begin, UTC ms.
    """
    found = ensure_site(mesh, site, CURRENCY)
    wanted = admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER, site=site)
    request = admin_pb2.CreateIngestKeyRequest(parent=MERCHANT, key=wanted)
    made = mesh.admin.CreateIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    is_new = found.create_time.ToMilliseconds() >= now_ms
    return SiteKey(site, made.secret, made.key.name, is_new, other_policies(found, first_ms, last_ms))


def close_key(mesh: Mesh, key: SiteKey) -> None:
    """Revoke a run's key; if the mesh refuses or does not answer, do nothing."""
    try:
        request = admin_pb2.RevokeIngestKeyRequest(name=key.key_name)
        mesh.admin.RevokeIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    except grpc.RpcError:
        pass


def totals(mesh: Mesh, site: str, over: Days, metrics: Sequence[str] = METRICS) -> dict[str, int]:
    """Return a site's totals over a range, with money in micros; raise grpc.RpcError if the reporter refuses."""
    request = reporter_pb2.RunReportRequest(
        site=site,
        metrics=metrics,
        time_range=over.message(),
        time_grain=reporter_pb2.TIME_GRAIN_NONE,
        time_zone="UTC",
    )
    answer = mesh.reporter.RunReport(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    if not answer.rows:
        return dict.fromkeys(metrics, 0)
    return {metric: _number(cell) for metric, cell in zip(metrics, answer.rows[0].cells, strict=True)}


def ledger(mesh: Mesh, site: str, over: Days) -> LedgerDays:
    """Return a site's ledger for some days; raise grpc.RpcError if the ledger cannot be read."""
    first, last = over.dates()
    request = operations_pb2.GetLedgerRequest(site=site, first_utc_date=first, last_utc_date=last)
    operations = OperationsServiceStub(mesh.channel)
    answer = operations.GetLedger(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    return LedgerDays(
        sum(day.counted for day in answer.days),
        sum(day.duplicate for day in answer.days),
        sum(day.excluded for day in answer.days),
        answer.imbalance,
    )


def lag_s(mesh: Mesh, site: str) -> float | None:
    """Return a site's lag in seconds.

    The result is None if the reporter does not answer or does not know the lag. In a new mesh, the lag is unknown until
    every partition has a watermark.
    """
    try:
        request = reporter_pb2.GetFreshnessRequest(site=site)
        answer = mesh.reporter.GetFreshness(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    except grpc.RpcError:
        return None
    reached = answer.freshness
    return reached.lag.ToMilliseconds() / 1_000 if reached.HasField("lag") else None


def _number(cell: reporter_pb2.Cell) -> int:
    if cell.WhichOneof("value") == "money":
        return int(cell.money.units * MICROS + cell.money.nanos // NANOS_PER_MICRO)
    return int(cell.int64_value)
