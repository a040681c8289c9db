"""GetLedger: account for every hit of a site.

Limits: 400 days per answer; the totals and the imbalance cover all days.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend, Bookkeeping
from control.ledger import SiteLedger, site_ledger
from control.rpc.operations.days import END_DAY, FIRST_DAY, listed_days
from control.rpc.operations.ledger_messages import day_message, totals_message
from control.unread import unread
from hitmesh.access.callers import Caller
from hitmesh.access.checks import found_site
from hitmesh.api.control.v1 import operations_pb2 as pb
from hitmesh.model.placement import data_version
from hitmesh.model.positions import Topic
from hitmesh.model.sites import Site
from hitmesh.runtime.rpc_values import timestamp

# Stores are read in sequence. If a settlement is published between two reads, hits seem to be lost, so all stores are
# read again.
_READS: Final = 3


def get_ledger(backend: Backend, caller: Caller | None, request: pb.GetLedgerRequest) -> pb.GetLedgerResponse:
    """Return a site's totals and days.

    Raises:
        NotFound: the site does not exist.
        RefusedError: a date is invalid, or the name stands for several sites.
    """
    site = found_site(backend.directory, request.site, "site")
    books = backend.bookkeeping()
    found = read_ledger(books, site.name)
    waiting = unread(books.log_scan, books.progress.progress(Topic.HITS), site.name)
    listed = set(listed_days([day.day for day in found.days], request))
    return pb.GetLedgerResponse(
        site=site.name,
        totals=totals_message(found.totals),
        days=[day_message(day) for day in found.days if day.day in listed],
        omitted_days=len(found.days) - len(listed),
        imbalance=found.imbalance,
        data_version=_version(books, site),
        pending_hits=sum(day.pending.hits for day in found.days),
        unread_hits=waiting.hits,
        unread_since=None if waiting.since is None else timestamp(waiting.since),
        unread_more=waiting.is_more,
    )


def read_ledger(books: Bookkeeping, site: str) -> SiteLedger:
    """Return a site's ledger. While the ledger does not balance, read the stores again, at most three times in all."""
    for _ in range(_READS):
        found = site_ledger(
            books.ledger.read(site),
            books.generations.current(site, FIRST_DAY, END_DAY),
            books.generations.ledger(site, FIRST_DAY, END_DAY),
            books.dirty.marks(site),
        )
        if not found.imbalance:
            break
    return found


def _version(books: Bookkeeping, site: Site) -> str:
    committed = books.progress.progress(Topic.HITS), books.progress.progress(Topic.REJECTED)
    return data_version([site], *committed, books.generations.sequence(site.name))
