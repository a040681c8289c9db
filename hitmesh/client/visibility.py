"""Waits until reports show acknowledged hits.

Each poll compares GetFreshness with the offsets in the receipts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import grpc

from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.model.errors import RetryError
from hitmesh.model.plurals import counted
from hitmesh.model.reasons import LocalReason

POLL_S: Final = 0.2
# Temporary status codes while the reporter or the proxy restarts.
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class NotVisibleYet(RetryError):
    """The hits are durable, but reports did not show all of them within the timeout."""

    reason = LocalReason.NOT_VISIBLE_YET


@dataclass(frozen=True, slots=True)
class Wait:
    """The timeout and poll interval for polling a service, in seconds; `clock_s` must be a monotonic clock."""

    timeout_s: float
    poll_s: float = POLL_S
    clock_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Watch:
    """Tracks, over successive GetFreshness responses, whether reports on a site show the acknowledged hits.

    `offsets` is the highest offset in the receipts per (log, partition). `passed_at_ms` is the reporter's time (UTC ms)
    at which reports first included every record up to these offsets. `passed_at_ms` is None as long as reports lack a
    record or the reporter's lag is unknown.

    After `passed_at_ms`, settlement may still change the numbers. The wait ends if no day waits for settlement. Under
    continuous traffic, some day always waits for settlement. The wait therefore also ends as soon as `complete_through`
    is later than `passed_at_ms`, because only newer hits can then make a day wait for settlement. Days that settlement
    itself marked (`resettling_days`) must always be settled first.
    """

    offsets: Mapping[tuple[str, int], int]
    passed_at_ms: int | None = None

    def missing_in(self, answer: reporter_pb2.GetFreshnessResponse) -> str | None:
        """Return the reason why the numbers in reports may still change because of the acknowledged hits.

        The result is None as soon as reports count the hits and no settlement of these hits is pending.
        """
        visible = {(progress.log, progress.partition): progress.next_offset for progress in answer.partitions}
        behind = [place for place, offset in self.offsets.items() if visible.get(place, 0) <= offset]
        if behind:
            log, partition = behind[0]
            return f"{len(behind)} of {len(self.offsets)} partitions are behind, including {log}/{partition}"
        complete_through_ms = answer.freshness.complete_through.ToMilliseconds()
        if self.passed_at_ms is None and answer.freshness.HasField("lag"):
            self.passed_at_ms = complete_through_ms + answer.freshness.lag.ToMilliseconds()
        if answer.resettling_days:
            return f"{counted(answer.resettling_days, 'day')} being resettled"
        if answer.dirty_days and (self.passed_at_ms is None or complete_through_ms <= self.passed_at_ms):
            return f"{counted(answer.dirty_days, 'day')} waiting for settlement"
        return None


def wait_until_visible(mesh: Mesh, site: str, offsets: Mapping[tuple[str, int], int], wait: Wait) -> None:
    """Block until reports on the site show every record up to the offsets, and every settlement of these hits is done.

    Args:
        mesh: the mesh that accepted the hits.
        site: full site name.
        offsets: highest offset in the receipts per (log, partition).
        wait: timeout and poll interval.

    Raises:
        NotVisibleYet: the timeout has passed.
        grpc.RpcError: the reporter refuses the call.
    """
    ends_s = wait.clock_s() + wait.timeout_s
    reporter = mesh.reporter
    watch = Watch(offsets)
    while True:
        missing = _missing(reporter.GetFreshness, mesh, site, watch)
        if missing is None:
            return
        if wait.clock_s() >= ends_s:
            raise NotVisibleYet(
                f"the hits are stored, but reports on {site} do not show all hits after {wait.timeout_s:g} s: "
                f"{missing}; look again with `hitmesh freshness`, or give a longer --timeout"
            )
        wait.sleep(wait.poll_s)


def _missing(
    call: grpc.UnaryUnaryMultiCallable[reporter_pb2.GetFreshnessRequest, reporter_pb2.GetFreshnessResponse],
    mesh: Mesh,
    site: str,
    watch: Watch,
) -> str | None:
    request = reporter_pb2.GetFreshnessRequest(site=site)
    try:
        answer = call(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    except grpc.RpcError as error:
        if error.code() not in _PASSING:
            raise
        return f"the reporter does not answer ({error.code().name})"
    return watch.missing_in(answer)
