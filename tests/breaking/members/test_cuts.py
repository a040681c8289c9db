"""Cut the network between the members of a stack while hits arrive. A cut does no harm, whoever is on which side."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.adapters.servers import parse_servers
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.stack.commands import down, ensure_up
from tests.breaking.members.conftest import COPIES, HOME
from tests.breaking.members.test_members import BATCH_HITS, COUNTED_S, GOES_ON_S, MOVED, PAUSE_S, wait_until_both_go_on
from tests.breaking.outages.asking import check_counted_when_answered
from tests.support import servers
from tests.support.kill_checks import check_acknowledged, read_log
from tests.support.kill_load import SITES, SLACK_MS, hits_of_now, messages_of
from tests.support.namespaces import Network, a_network
from tests.support.senders import Senders, portions
from tests.support.services import KEY, Cluster
from tests.support.trickle import Standstill, Trickle
from tests.support.waiting import eventually

VISITORS = 400
CUT_S = 45.0
"""Longer than the time after which Kafka and Cassandra take a member for dead."""
CUT_HOME = HOME.with_name(f"{HOME.name}-cut")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with a_network(3) as found:
        try:
            ensure_up(CUT_HOME, print, found.members)
            yield found
        finally:
            found.heal()
            down(CUT_HOME, print)
            shutil.rmtree(CUT_HOME, ignore_errors=True)


@pytest.mark.long  # six servers take 100 s to start, and each cut takes minutes
@pytest.mark.timeout(2 * SLACK_MS // 1_000)
@pytest.mark.parametrize("others", [(3,), (1, 2)], ids=["a member is cut off", "the services are left with one member"])
def test_a_cut_network_loses_nothing(
    others: tuple[int, ...], network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_url = servers.a_mesh(COPIES, parse_servers(ensure_up(CUT_HOME, print))).url
    now = SystemClock().now()
    hits = hits_of_now(len(others), now, VISITORS)
    messages = messages_of(hits, now, "cut", BATCH_HITS)
    shares = portions(messages, [1] * min(map(len, messages.values())))
    has_majority = len(others) == 1
    with Cluster(tmp_path, store_url) as cluster, Senders(cluster.address, KEY, SITES) as senders:
        cluster.collector.start()
        cluster.processor.start()
        with Trickle(senders, shares, PAUSE_S) as trickle:
            eventually(lambda: senders.done > MOVED, "the first hits are acknowledged", GOES_ON_S)
            with Standstill(lambda: senders.done) as acked, Standstill(cluster.committed) as committed:
                network.cut(others)
                if has_majority:
                    wait_until_both_go_on(cluster, senders, "a member that is cut off")
                else:
                    # Nothing can be acknowledged, because a single member has no majority.
                    eventually(lambda: acked.now_s > CUT_S, "acknowledgements stand still", 3 * CUT_S)
                network.heal()
                wait_until_both_go_on(cluster, senders, "a cut")
        for share in shares[trickle.given :]:
            senders.give(share)
        senders.wait_acknowledged(COUNTED_S)
        cluster.wait_counted(COUNTED_S)
        logged = read_log(cluster.stores, hits)
        check_acknowledged(hits, logged, senders.resent)
        check_counted_when_answered(cluster, logged, COUNTED_S)
        cluster.stop()
    assert SystemClock().now() - now < SLACK_MS
    with capsys.disabled():
        print(  # noqa: T201  # for how long something stood still
            f"\ncut off: members {others}; acknowledgements stood still for at most {acked.longest_s:.1f} s, "
            f"the stream for {committed.longest_s:.1f} s"
        )
