"""Compare every site's report and ledger with the sent hits.

The comparison is the last step of a load run.

This module decides which days are compared, and waits for the ledger, which is updated shortly after the reports. The
module `expected` computes the expected totals.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from hitmesh.client.mesh import Mesh
from hitmesh.client.visibility import Wait, wait_until_visible
from hitmesh.tools.load import questions
from hitmesh.tools.load.expected import Difference, differences
from hitmesh.tools.load.outcome import Check
from hitmesh.tools.load.questions import Days, LedgerDays
from hitmesh.tools.load.show import Show
from hitmesh.tools.load.tally import Place

POLL_S: Final = 0.5


class Comparer:
    """Compares the sites of a run on UTC days, from the day that contains `first_ms` to today."""

    def __init__(self, mesh: Mesh, show: Show, first_ms: int, timeout_s: float) -> None:
        self._mesh = mesh
        self._show = show
        self._first_ms = first_ms
        self._timeout_s = timeout_s
        self._before: dict[str, dict[str, int]] = {}

    def note_before(self, sites: Sequence[str]) -> None:
        """Record the totals of sites that already have data, so that `compare` can compare only the increase."""
        self._show.phase("reading the totals before the run", len(sites))
        for site in sites:
            self._before[site] = questions.totals(self._mesh, site, self._days())
            self._show.reached(len(self._before))

    def compare(
        self,
        wanted: Mapping[str, Mapping[str, int]],
        offsets: Mapping[str, Mapping[Place, int]],
        resent: int,
        *,
        omitted: Mapping[str, str],
    ) -> Check:
        """Return the differences between the sent hits and the mesh's reports and ledgers.

        Args:
            wanted: expected totals by site and metric.
            offsets: for each site, the highest log offset per partition of the hits that were sent.
            resent: number of hits that were sent again; each may be counted as a copy.
            omitted: the totals that are not compared, and the reason for each.
        """
        self._show.phase("comparing", len(wanted))
        ends_s = time.monotonic() + self._timeout_s
        found: list[Difference] = []
        imbalances: dict[str, int] = {}
        for done, (site, totals) in enumerate(wanted.items(), 1):
            wait_until_visible(self._mesh, site, offsets.get(site, {}), Wait(max(0.0, ends_s - time.monotonic())))
            now = questions.totals(self._mesh, site, self._days())
            before = self._before.get(site, {})
            reported = {metric: total - before.get(metric, 0) for metric, total in now.items()}
            found += differences(site, totals, reported, extra_copies=resent)
            books = self._books(site, now, ends_s)
            found += against_books(site, now, books)
            if books.imbalance:
                imbalances[site] = books.imbalance
            self._show.reached(done)
        return Check(len(wanted), omitted, found, imbalances)

    def _books(self, site: str, now: Mapping[str, int], ends_s: float) -> LedgerDays:
        """Return the ledger as soon as it balances and agrees with the report.

        After the deadline, return the last ledger.
        """
        while True:
            books = questions.ledger(self._mesh, site, self._days())
            right = not books.imbalance and not against_books(site, now, books)
            if right or time.monotonic() >= ends_s:
                return books
            time.sleep(POLL_S)

    def _days(self) -> Days:
        return Days.of(self._first_ms, time.time_ns() // 1_000_000)


def against_books(site: str, report: Mapping[str, int], books: LedgerDays) -> list[Difference]:
    """Return the differences between a ledger and a report for the same days."""
    ledger_sums = {
        "ledger_counted": books.counted,
        "ledger_duplicate": books.duplicate,
        "ledger_excluded": books.excluded,
    }
    wanted = {
        "ledger_counted": report["hits"],
        "ledger_duplicate": report["duplicate_hits"],
        "ledger_excluded": report["excluded_hits"],
    }
    return differences(site, wanted, ledger_sums)
