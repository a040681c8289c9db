"""Shares quotas with the other collectors: reports this collector's use, and reads all reports, about once a second."""

from __future__ import annotations

import threading
from typing import Final

from collector.hit_quotas import HitQuotas
from hitmesh.model.errors import RetryError
from hitmesh.ports import CollectorReports
from hitmesh.runtime.logs import Seldom, logger, traceback_of

LIVE_PERIODS: Final = 5
"""A collector that has not reported for this many periods does not count."""


class QuotaShares:
    """The thread that reports between `start` and `stop`.

    While the store is unavailable, this collector keeps its latest shares.

    Args:
        reports: the stored reports.
        quotas: this collector's quotas.
        node: this collector's name, which no other collector has.
        period_s: seconds between two reports.
        complain_every_s: minimum interval in seconds between two log lines about an unavailable store.
    """

    def __init__(
        self,
        reports: CollectorReports,
        quotas: HitQuotas,
        node: str,
        period_s: float,
        complain_every_s: float = 10.0,
    ) -> None:
        self._reports = reports
        self._quotas = quotas
        self._node = node
        self._period_s = period_s
        self._seldom = Seldom(complain_every_s)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="quota-shares", daemon=True)

    def start(self) -> None:
        """Report once, so that other collectors know this collector before it gets hits, then start the thread."""
        self.exchange()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and remove this collector's report."""
        self._stop.set()
        self._thread.join()
        try:
            self._reports.remove(self._node)
        except RetryError as error:
            logger().warning("report_ends_by_time", message=error.message)

    def exchange(self) -> None:
        """Report this collector's use, then compute the shares from all reports."""
        try:
            report = self._quotas.report(self._node)
            self._reports.put(report, int(self._period_s * LIVE_PERIODS * 1_000))
            self._quotas.share(self._reports.live(), self._node)
        except RetryError as error:
            if count := self._seldom.due(error.reason):
                logger().warning("quotas_not_shared", message=error.message, times=count)
        except BaseException as error:
            # Without this thread, this collector would keep its shares forever, so the thread must continue.
            if self._seldom.due("failed"):
                logger().error("quotas_not_shared", traceback=traceback_of(error))

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self.exchange()
