"""Kill a broker and a Cassandra node of three while hits arrive. Nothing waits until the dead member is back.

Each topic and row has three copies, and an acknowledged hit is on at least two members.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hitmesh.runtime.clock import SystemClock
from tests.breaking.outages.asking import check_counted_when_answered
from tests.breaking.outages.servers import Control
from tests.support.kill_checks import check_acknowledged, read_log
from tests.support.kill_load import SITES, SLACK_MS, hits_of_now, messages_of
from tests.support.senders import Senders, portions
from tests.support.services import KEY, Cluster
from tests.support.trickle import Standstill, Trickle
from tests.support.waiting import eventually
from tests.support.witness import Witness

VISITORS, BATCH_HITS, PAUSE_S = 400, 4, 0.25
MOVED = 15
"""Portions that must be acknowledged, and records that must be committed, while a member is dead."""
GOES_ON_S = 120.0
COUNTED_S = 180.0
ALL = ("kafka", "cassandra", "kafka-2", "cassandra-2", "kafka-3", "cassandra-3")


@pytest.mark.long  # six servers take 100 s to start
@pytest.mark.timeout(2 * SLACK_MS // 1_000)
@pytest.mark.parametrize("victims", [("kafka-2", "cassandra"), ALL], ids=["a broker and a node", "every member"])
def test_nothing_waits_for_a_dead_member_and_nothing_is_lost(
    victims: Sequence[str],
    store_url: str,
    members_control: Control,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = SystemClock().now()
    hits = hits_of_now(len(victims), now, VISITORS)
    messages = messages_of(hits, now, "members", BATCH_HITS)
    # Each portion has a batch for each site, so that an acknowledged portion shows that the log takes hits.
    shares = portions(messages, [1] * min(map(len, messages.values())))
    lines = []
    with Cluster(tmp_path, store_url) as cluster, Senders(cluster.address, KEY, SITES) as senders:
        reporter = cluster.a_reporter()
        for service in (cluster.collector, cluster.processor, reporter):
            service.start()
        with Witness(cluster.reporter_address, SITES[0]) as witness:
            with Trickle(senders, shares, PAUSE_S) as trickle:
                eventually(lambda: senders.done > MOVED, "the first hits are acknowledged", GOES_ON_S)
                for victim in victims:
                    witness.next_phase()
                    with Standstill(lambda: senders.done) as acked, Standstill(cluster.committed) as committed:
                        members_control.kill(victim)
                        wait_until_both_go_on(cluster, senders, victim)
                        members_control.start_all()
                    seen = witness.next_phase()
                    lines.append(
                        f"{victim} dead: acknowledgements stood still for at most {acked.longest_s:.1f} s, the stream "
                        f"for {committed.longest_s:.1f} s; meanwhile {seen.line()}"
                    )
                    assert not seen.fell_back
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
        print("", *lines, sep="\n")  # noqa: T201  # for how long something stood still


def wait_until_both_go_on(cluster: Cluster, senders: Senders, victim: str) -> None:
    """Block until hits that were sent after the death of a member are acknowledged and committed."""
    acked = senders.done
    eventually(lambda: senders.done > acked + MOVED, f"hits are acknowledged without {victim}", GOES_ON_S)
    committed = cluster.committed()
    eventually(lambda: cluster.committed() > committed + MOVED, f"the stream goes on without {victim}", GOES_ON_S)
