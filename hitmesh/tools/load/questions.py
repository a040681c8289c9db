"""What a run asks the mesh: sites and keys before it, totals of reports and the ledger after it.

Decides how each question is put. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from hitmesh.api.control.v1 import admin_pb2, operations_pb2
from hitmesh.api.control.v1.operations_pb2_grpc import OperationsServiceStub
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.client.sites import ensure_site
from hitmesh.tools.load.expected import METRICS
from hitmesh.tools.load.plan import MERCHANT
from hitmesh.tools.load.scenery import CURRENCY

DAY_MS: Final = 86_400_000
EPOCH: Final = date(1970, 1, 1)
MICROS: Final = 1_000_000
NANOS_PER_MICRO: Final = 1_000


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A site that may be sent to, and the key made for this run. `is_new` sites have no numbers yet."""

    site: str
    secret: str
    key_name: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Days:
    """UTC days [first, end), as days since 1970-01-01: whole days, since the ledger is kept by day."""

    first: int
    end: int

    @classmethod
    def of(cls, first_ms: int, last_ms: int) -> Days:
        """Returns the days from that of `first_ms` to that of `last_ms`."""
        return cls(first_ms // DAY_MS, last_ms // DAY_MS + 1)

    def message(self) -> reporter_pb2.TimeRange:
        """Returns the days as a range of instants."""
        start, end = Timestamp(), Timestamp()
        start.FromMilliseconds(self.first * DAY_MS)
        end.FromMilliseconds(self.end * DAY_MS)
        return reporter_pb2.TimeRange(instants=reporter_pb2.InstantRange(start=start, end=end))

    def dates(self) -> tuple[str, str]:
        """Returns the first and the last day as dates."""
        first, last = EPOCH + timedelta(days=self.first), EPOCH + timedelta(days=self.end - 1)
        return first.isoformat(), last.isoformat()


@dataclass(frozen=True, slots=True)
class LedgerDays:
    """What the ledger of a site says of some days; `imbalance` is over all time."""

    counted: int
    duplicate: int
    excluded: int
    imbalance: int


def open_site(mesh: Mesh, site: str, now_ms: int) -> SiteKey:
    """Returns a site, made when it is missing, with a new server key of its own.

    A key names the site of a frame, so that frames of all sites share a few streams.
    """
    found = ensure_site(mesh, site, CURRENCY)
    request = admin_pb2.CreateIngestKeyRequest(parent=MERCHANT, kind=admin_pb2.KEY_KIND_SERVER, site=site)
    made = mesh.admin.CreateIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    return SiteKey(site, made.secret, made.key.name, found.create_time.ToMilliseconds() >= now_ms)


def close_key(mesh: Mesh, key: SiteKey) -> None:
    """Revokes the key of a run; a mesh that is gone by then is left as it is."""
    try:
        request = admin_pb2.RevokeIngestKeyRequest(name=key.key_name)
        mesh.admin.RevokeIngestKey(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    except grpc.RpcError:
        pass


def totals(mesh: Mesh, site: str, over: Days, metrics: Sequence[str] = METRICS) -> dict[str, int]:
    """Returns the totals of a site over a range, money in micros; grpc.RpcError when the reporter refuses."""
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
    """Returns the ledger of a site over some days; grpc.RpcError when it cannot be read."""
    since, until = over.dates()
    request = operations_pb2.GetLedgerRequest(site=site, since=since, until=until)
    operations = OperationsServiceStub(mesh.channel)
    answer = operations.GetLedger(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    return LedgerDays(
        sum(day.counted for day in answer.days),
        sum(day.duplicate for day in answer.days),
        sum(day.excluded for day in answer.days),
        answer.imbalance,
    )


def lag_s(mesh: Mesh, site: str) -> float | None:
    """Returns how far the numbers of a site are behind, in seconds.

    None when the reporter does not answer, or does not know yet: a partition of a new mesh has shown nothing.
    """
    try:
        request = reporter_pb2.GetFreshnessRequest(site=site)
        answer = mesh.reporter.GetFreshness(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    except grpc.RpcError:
        return None
    reached = answer.freshness
    return reached.lag.ToMilliseconds() / 1_000 if reached.complete_through.ToMilliseconds() else None


def _number(cell: reporter_pb2.Cell) -> int:
    if cell.WhichOneof("value") == "money":
        return int(cell.money.units * MICROS + cell.money.nanos // NANOS_PER_MICRO)
    return int(cell.int64_value)
