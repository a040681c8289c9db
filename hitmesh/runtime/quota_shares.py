"""Exchanges reports of use with the other processes of a service, about once a second, so that they share quotas."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

from hitmesh.model.errors import RetryError
from hitmesh.runtime.logs import Seldom, logger, traceback_of

LIVE_PERIODS: Final = 5
"""A process that has not reported for this many periods does not count."""
ReportT = TypeVar("ReportT")


class Reports(Protocol[ReportT]):
    """The port to the reports of a service's processes: CollectorReports or ReporterReports."""

    def put(self, report: ReportT, length_ms: int) -> None:
        """Replace a process's report."""

    def live(self) -> Sequence[ReportT]:
        """Return the reports that have not expired."""

    def remove(self, node: str, /) -> None:
        """Remove a stopping process's report."""


class SharedQuotas(Protocol[ReportT]):
    """A process's quotas."""

    def report(self, node: str, /) -> ReportT:
        """Return how this process used quotas since the last report."""

    def share(self, reports: Sequence[ReportT], node: str, /) -> None:
        """Adopt all live processes' reports."""


class QuotaShares(Generic[ReportT]):
    """The thread that reports between `start` and `stop`.

    While the store is unavailable, this process keeps what it learnt last.

    Args:
        reports: the stored reports.
        quotas: this process's quotas.
        node: this process's name, which no other process of the service has.
        period_s: seconds between two reports.
        complain_every_s: minimum interval in seconds between two log lines about an unavailable store.
    """

    def __init__(
        self,
        reports: Reports[ReportT],
        quotas: SharedQuotas[ReportT],
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
        """Report once, so that other processes know this process before it gets calls, then start the thread."""
        self.exchange()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and remove this process's report."""
        self._stop.set()
        self._thread.join()
        try:
            self._reports.remove(self._node)
        except RetryError as error:
            logger().warning("report_ends_by_time", message=error.message)

    def exchange(self) -> None:
        """Report this process's use, then adopt all reports."""
        try:
            report = self._quotas.report(self._node)
            self._reports.put(report, int(self._period_s * LIVE_PERIODS * 1_000))
            self._quotas.share(self._reports.live(), self._node)
        except RetryError as error:
            if count := self._seldom.due(error.reason):
                logger().warning("quotas_not_shared", message=error.message, times=count)
        except BaseException as error:
            # Without this thread, this process would keep its shares forever, so the thread must continue.
            if self._seldom.due("failed"):
                logger().error("quotas_not_shared", traceback=traceback_of(error))

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self.exchange()
