"""Counts the imported hits that the mesh refused because their visitor is erased.

The collector does not know which visitors are erased. The stream refuses a hit of an erased visitor later: it keeps
only the values that the ledger needs, and the ledger counts the hit as erased. The number for an import is therefore
the increase of the ledger's erased hits on the UTC days that the files cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from hitmesh.api.control.v1 import operations_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.client.sender import SendTotals
from hitmesh.client.visibility import Wait
from hitmesh.model.dates import checked_date, date_message

LEDGER_WAIT_S: Final = 10.0
"""Maximum time in seconds to wait until the ledger has all accepted hits, after reports show the hits."""


@dataclass(frozen=True, slots=True)
class Booked:
    """The hits in a site's ledger on some UTC days: all accepted hits, and those that are erased or still pending."""

    accepted: int = 0
    erased: int = 0
    pending: int = 0


NOTHING_BOOKED: Final = Booked()


def booked(mesh: Mesh, site: str, first: date, last: date) -> Booked:
    """Return the hits in a site's ledger on the UTC days from `first` to `last`, both included.

    An answer lists a limited number of days. If days are omitted, the earlier days are read by further calls.

    Raises:
        grpc.RpcError: the control service refuses the call.
    """
    accepted = erased = pending = 0
    while True:
        request = operations_pb2.GetLedgerRequest(
            site=site, first_utc_date=date_message(first), last_utc_date=date_message(last)
        )
        found = mesh.operations.GetLedger(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        accepted += sum(day.accepted.hits for day in found.days)
        erased += sum(day.erased for day in found.days)
        pending += sum(day.pending.hits for day in found.days)
        earliest = checked_date("utc_date", found.days[0].utc_date) if found.days else first
        if earliest <= first:
            return Booked(accepted, erased, pending)
        last = earliest - timedelta(days=1)


def booked_with(mesh: Mesh, site: str, first: date, last: date, before: Booked, accepted: int, wait: Wait) -> Booked:
    """Return the ledger as soon as it has `accepted` more hits than `before`, and no additional hit is pending.

    After the timeout, return the last ledger.
    """
    ends_s = wait.clock_s() + wait.timeout_s
    while True:
        found = booked(mesh, site, first, last)
        is_whole = found.accepted - before.accepted >= accepted and found.pending <= before.pending
        if is_whole or wait.clock_s() >= ends_s:
            return found
        wait.sleep(wait.poll_s)


def erased_hits(before: Booked, after: Booked, totals: SendTotals) -> int:
    """Return the number of acknowledged hits that the ledger counts as erased."""
    return min(max(0, after.erased - before.erased), totals.accepted)


def utc_date(time_s: int) -> date:
    """Return the UTC day of a time in seconds since 1970."""
    return datetime.fromtimestamp(time_s, UTC).date()
