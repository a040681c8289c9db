"""Ask questions of servers that have just restarted. A question that is refused with a retry delay is sent again."""

from __future__ import annotations

from hitmesh.model.errors import Unavailable
from hitmesh.runtime.clock import SystemClock
from tests.support.kill_checks import Logged, check_counted
from tests.support.services import Cluster
from tests.support.waiting import eventually


def check_counted_when_answered(cluster: Cluster, logged: Logged, timeout_s: float) -> None:
    """Check that the log's hits are counted once, as in the reference model. The ledger must balance.

    Half a minute after an indexer of Druid dies, ZooKeeper expires the indexer's session. For a moment after the
    expiry, Druid does not see the new indexer, so Druid refuses questions.
    """

    def is_right() -> bool:
        try:
            check_counted(cluster.stores, logged, SystemClock().now())
        except Unavailable:
            cluster.wait_counted(timeout_s)
            return False
        return True

    eventually(is_right, "all stores answer", timeout_s)
