"""Asking servers that came back a moment ago: who is refused and told to ask again does so."""

from __future__ import annotations

from hitmesh.model.errors import Unavailable
from hitmesh.runtime.clock import SystemClock
from tests.support.kill_checks import Logged, check_counted
from tests.support.services import Cluster
from tests.support.waiting import eventually


def check_counted_when_answered(cluster: Cluster, logged: Logged, timeout_s: float) -> None:
    """What is in the log is counted once, as the reference model counts it, and the ledger balances.

    Half a minute after an indexer died ZooKeeper gives up its session, and Druid loses sight of the one that took its
    place for a moment: a question of that moment is refused.
    """

    def is_right() -> bool:
        try:
            check_counted(cluster.stores, logged, SystemClock().now())
        except Unavailable:
            cluster.wait_counted(timeout_s)
            return False
        return True

    eventually(is_right, "all stores answer", timeout_s)
