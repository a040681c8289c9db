"""Sends probe hits to a separate site, and measures how soon reports show them.

The prober sends a hit with a unique page each second, and runs a report each second to find the pages. A probe is
visible as soon as a report contains the probe's page. Only reports that were requested after the probe's
acknowledgement count. The prober measures the freshness that users see, not the freshness that the mesh reports.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.batches import SDK
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.tools.load.questions import Days, SiteKey
from hitmesh.tools.load.scenery import ORIGIN
from hitmesh.tools.load.tally import Place, note_receipts

PROBE_EVERY_S: Final = 1.0
# Seconds between two reports. Reports cost CPU time too: five reports per second took 5 % of the CPU time of two cores.
POLL_S: Final = 1.0
# The prober's reports cover the UTC days from LOOK_BACK_MS ago to now. The reports do not contain probes that were sent
# on earlier days.
LOOK_BACK_MS: Final = 7_200_000
# The filter of a report has at most this many values, so a report can search for at most this many probes.
MAX_PAGES: Final = 100


class Prober:
    """Sends probes in one thread, and searches reports for the probes in another thread.

    Call `start`, then `stop`, then read the results.
    """

    def __init__(self, mesh: Mesh, key: SiteKey, run: str) -> None:
        self.sent = 0
        self.failed = 0
        self.offsets: dict[Place, int] = {}
        self.freshness_s: list[float] = []
        self._mesh = mesh
        self._key = key
        self._run = run
        self._outstanding: dict[str, float] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._sent_all = False
        self._sending = threading.Thread(target=self._send_until_stopped, name="load-probes", daemon=True)
        self._looking = threading.Thread(target=self._look_all, name="load-probe-reports", daemon=True)

    def start(self) -> None:
        """Start both threads."""
        self._sending.start()
        self._looking.start()

    def stop(self, timeout_s: float) -> None:
        """Stop sending, then wait up to `timeout_s` until every sent probe is visible."""
        self._stopping.set()
        self._sending.join(timeout_s)
        with self._changed:
            self._changed.wait_for(lambda: not self._outstanding, timeout_s)
            self._outstanding.clear()
            self._changed.notify_all()
        self._looking.join(CALL_TIMEOUT_S)

    @property
    def missing(self) -> int:
        """Number of acknowledged probes that no report has shown."""
        return self.sent - len(self.freshness_s)

    def _send_until_stopped(self) -> None:
        try:
            self._send_all()
        finally:
            # The search thread is always notified, even long after `stop`, because no other event wakes it.
            with self._changed:
                self._sent_all = True
                self._changed.notify_all()

    def _send_all(self) -> None:
        first_s = time.monotonic()
        number = 0
        while not self._stopping.wait(max(0.0, first_s + number * PROBE_EVERY_S - time.monotonic())):
            page = f"/probe/{self._run}/{number}"
            number += 1
            try:
                request = collector_pb2.SendHitsRequest(batch=self._batch(page))
                answer = self._mesh.collector.SendHits(request, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError:
                self.failed += 1
                continue
            if not answer.accepted_count:
                self.failed += 1
                continue
            note_receipts(self.offsets, answer.receipts)
            with self._changed:
                self.sent += 1
                self._outstanding[page] = time.monotonic()
                self._changed.notify_all()

    def _batch(self, page: str) -> hit_pb2.HitBatch:
        hit = hit_pb2.Hit(
            hit_id=page,
            type=hit_pb2.HIT_TYPE_PAGE_VIEW,
            visitor_id=page,
            page_view=hit_pb2.PageView(url=ORIGIN + page),
        )
        hit.true_time.FromMilliseconds(time.time_ns() // 1_000_000)
        return hit_pb2.HitBatch(batch_id=page, ingest_key=self._key.secret, sdk=SDK, hits=[hit])

    def _look_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outstanding or self._over())
                pages = list(self._outstanding)[:MAX_PAGES]
            if not pages:
                return
            seen = self._seen(pages)
            now_s = time.monotonic()
            with self._changed:
                for page in seen:
                    acknowledged_s = self._outstanding.pop(page, None)
                    if acknowledged_s is not None:
                        self.freshness_s.append(now_s - acknowledged_s)
                self._changed.notify_all()
                # Pause between reports. The pause ends early when all probes are visible.
                self._changed.wait_for(lambda: not self._outstanding, POLL_S)

    def _over(self) -> bool:
        return self._sent_all

    def _seen(self, pages: Sequence[str]) -> list[str]:
        """Run a report, and return the given pages that the report contains."""
        now_ms = time.time_ns() // 1_000_000
        pages_filter = reporter_pb2.DimensionFilter(
            dimension="page_path", operator=reporter_pb2.FILTER_OPERATOR_IN, values=pages
        )
        request = reporter_pb2.RunReportRequest(
            site=self._key.site,
            metrics=["hits"],
            dimensions=["page_path"],
            time_range=Days.of(now_ms - LOOK_BACK_MS, now_ms).message(),
            filter=reporter_pb2.Filter(dimension_filter=pages_filter),
        )
        try:
            answer = self._mesh.reporter.RunReport(request, timeout=CALL_TIMEOUT_S, metadata=self._mesh.credentials)
        except grpc.RpcError:
            return []
        return [row.dimension_values[0] for row in answer.rows]
