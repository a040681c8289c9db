"""Whether hits that were acknowledged can be queried yet (GetFreshness against receipts)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import grpc

from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.model.errors import RetryError

POLL_S: Final = 0.2
# A reporter or proxy that restarts answers with these for a moment.
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class NotVisibleYet(RetryError):
    """The hits are durable, but reports do not show all of them within the time given."""

    reason = "NOT_VISIBLE_YET"


@dataclass(frozen=True, slots=True)
class Wait:
    """Until when to wait and how to pass the time; a clock in seconds that never goes back."""

    timeout_s: float
    poll_s: float = POLL_S
    clock_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Watch:
    """What reports on a site show of some hits, from one answer of GetFreshness to the next.

    `offsets` has the highest offset per (log, partition) of the receipts. `passed_at_ms` is the reporter's time when
    every record up to them was first shown; a day beside theirs may still have to be settled again then. Where hits
    keep coming some day always waits, so only what waited at that time counts: later marks are of others.
    """

    offsets: Mapping[tuple[str, int], int]
    passed_at_ms: int | None = None

    def what_is_missing(self, answer: reporter_pb2.GetFreshnessResponse) -> str | None:
        """Returns what reports do not show yet, for people; None when every record is shown for good."""
        visible = {(one.log, one.partition): one.next_offset for one in answer.partitions}
        behind = [place for place, offset in self.offsets.items() if visible.get(place, 0) <= offset]
        if behind:
            log, partition = behind[0]
            return f"{len(behind)} of {len(self.offsets)} partitions are behind, {log}/{partition} among them"
        complete_through_ms = answer.freshness.complete_through.ToMilliseconds()
        if self.passed_at_ms is None:
            self.passed_at_ms = complete_through_ms + answer.freshness.lag.ToMilliseconds()
        if answer.resettling_days:
            return f"{answer.resettling_days} days are settled again"
        if answer.dirty_days and complete_through_ms <= self.passed_at_ms:
            return f"{answer.dirty_days} days wait to be settled"
        return None


def wait_until_visible(mesh: Mesh, site: str, offsets: Mapping[tuple[str, int], int], wait: Wait) -> None:
    """Waits until reports on the site show every record up to the offsets, and nothing that follows from them waits.

    Args:
        mesh: where the hits went.
        site: full name.
        offsets: highest offset per (log, partition) of the receipts.
        wait: how long.

    Raises:
        NotVisibleYet: that took longer than the time given.
        grpc.RpcError: the reporter refuses.
    """
    ends_s = wait.clock_s() + wait.timeout_s
    reporter = mesh.reporter
    watch = Watch(offsets)
    while True:
        missing = _ask(reporter.GetFreshness, mesh, site, watch)
        if missing is None:
            return
        if wait.clock_s() >= ends_s:
            raise NotVisibleYet(
                f"the hits are stored, but reports on {site} do not show all of them after {wait.timeout_s:g} s: "
                f"{missing}; look again with `hitmesh freshness`, or give a longer --timeout"
            )
        wait.sleep(wait.poll_s)


def _ask(
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
    return watch.what_is_missing(answer)
