"""GetLedger: account for every hit of a site. GetSitelessLedger: account for hits without a site.

Limits: 400 days per answer; the totals and the imbalance cover all days.
"""

from __future__ import annotations

from typing import Final

from hitmesh.access.callers import readable_site, require_open_reads
from hitmesh.api.control.v1 import operations_pb2 as pb
from hitmesh.model.days import day_message
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import Topic
from hitmesh.model.sites import IngestKey
from reporter.answer.ledger import Count, Day, SiteLedger, Totals, site_ledger, siteless_totals
from reporter.answer.unread import unread
from reporter.rpc.backend import Backend
from reporter.rpc.messages import timestamp
from reporter.rpc.operations.days import END_DAY, FIRST_DAY, listed_days

_NO_SITE: Final = ""
# Stores are read in sequence: a settlement published between two reads would look like a loss, so reads are repeated.
_READS: Final = 3


def get_ledger(backend: Backend, caller: IngestKey | None, request: pb.GetLedgerRequest) -> pb.GetLedgerResponse:
    """Return a site's totals and days.

    Raises:
        NotFound: no such site exists, or the caller may not read the site.
        RefusedError: a date is invalid, or the name stands for several sites.
    """
    site = readable_site(backend.directory, backend.open_reads, caller, request.site)
    found = read_ledger(backend, site.name)
    waiting = unread(backend.log_scan, backend.progress.progress(Topic.HITS), site.name)
    listed = set(listed_days([day.day for day in found.days], request))
    return pb.GetLedgerResponse(
        site=site.name,
        totals=_totals_message(found.totals),
        days=[_day_message(day) for day in found.days if day.day in listed],
        omitted_days=len(found.days) - len(listed),
        imbalance=found.imbalance,
        data_version=backend.books.version([site]),
        pending_hits=sum(day.pending.hits for day in found.days),
        unread_hits=waiting.hits,
        unread_since=None if waiting.since is None else timestamp(waiting.since),
        unread_more=waiting.is_more,
    )


def get_siteless_ledger(
    backend: Backend, caller: IngestKey | None, request: pb.GetSitelessLedgerRequest
) -> pb.GetSitelessLedgerResponse:
    """Return the totals for hits without a site.

    Raises:
        Unauthenticated, PermissionDenied: reads are not open.
    """
    require_open_reads(caller, backend.open_reads)
    return pb.GetSitelessLedgerResponse(totals=_totals_message(siteless_totals(backend.ledger.read(_NO_SITE))))


def read_ledger(backend: Backend, site: str) -> SiteLedger:
    """Return a site's ledger; read again while the ledger does not balance, at most three times."""
    for _ in range(_READS):
        found = site_ledger(
            backend.ledger.read(site),
            backend.generations.current(site, FIRST_DAY, END_DAY),
            backend.generations.ledger(site, FIRST_DAY, END_DAY),
            backend.dirty.marks(site),
        )
        if not found.imbalance:
            break
    return found


def _totals_message(totals: Totals) -> pb.LedgerTotals:
    by_day = totals.accepted_by_day
    return pb.LedgerTotals(
        received=_count_message(totals.received),
        rejected=_count_message(totals.rejected),
        accepted=_count_message(totals.accepted),
        accepted_by_day=None if by_day is None else _count_message(by_day),
        imbalance=totals.imbalance,
    )


def _day_message(day: Day) -> pb.LedgerDay:
    return pb.LedgerDay(
        utc_date=day_message(day.day),
        settled=day.is_settled,
        generation=None if day.generation == STREAM_GENERATION else day.generation,
        accepted=_count_message(day.accepted),
        counted=day.counted,
        duplicate=day.duplicate,
        excluded=day.excluded,
        classified=_count_message(day.classified),
        pending=_count_message(day.pending),
        imbalance=day.imbalance,
    )


def _count_message(count: Count) -> pb.LedgerCount:
    return pb.LedgerCount(hits=count.hits, sum64=count.sum64, xor64=count.xor64)
