"""A power cut kills every service and every server at the same moment, while hits arrive.

After the power cut, every service and every server is restarted.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hitmesh.client.patience import Patience
from hitmesh.runtime.clock import SystemClock
from tests.breaking.outages.asking import check_counted_when_answered
from tests.breaking.outages.servers import Control
from tests.support.kill_checks import check_acknowledged, read_log
from tests.support.kill_load import SITES, SLACK_MS, hits_of_now, messages_of
from tests.support.senders import Senders, portions
from tests.support.services import KEY, Cluster
from tests.support.waiting import eventually
from tests.support.witness import Witness

VISITORS, BATCH_HITS = 120, 20
COUNTED_S = 120.0
PATIENT = Patience(attempts=6_000, first_s=0.05, max_s=0.2, stall_s=20.0)
"""Real servers take about a minute to start."""
UNDER_WAY_RECORDS = 5
BEGUN_S = 30.0


@pytest.mark.long  # the test takes three minutes; shorter tests cover outages of Kafka and Cassandra
@pytest.mark.timeout(2 * SLACK_MS // 1_000)
def test_everything_dies_at_once_and_what_was_acknowledged_is_counted_once(
    store_url: str, servers_control: Control, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = SystemClock().now()
    hits = hits_of_now(8, now, VISITORS)
    with Cluster(tmp_path, store_url) as cluster, Senders(cluster.address, KEY, SITES, PATIENT) as senders:
        first, second, third = portions(messages_of(hits, now, "power", BATCH_HITS), [1, 1, 1])
        reporter = cluster.a_reporter()
        services = (cluster.collector, cluster.processor, reporter)
        for service in services:
            service.start()
        senders.give(first)
        senders.wait_acknowledged()
        cluster.wait_counted(COUNTED_S)
        committed = cluster.committed()
        senders.give(second)
        eventually(lambda: cluster.committed() > committed + UNDER_WAY_RECORDS, "the stream is in the middle", BEGUN_S)
        senders.give(third)
        assert not senders.are_done, "the cut falls into the sending"
        servers_control.kill_all(also=services)
        began = time.monotonic()
        servers_control.start_all()
        servers_s = time.monotonic() - began
        for service in services:
            service.start()
        with Witness(cluster.reporter_address, SITES[0]) as witness:
            senders.wait_acknowledged(COUNTED_S)
            cluster.wait_counted(COUNTED_S)
            took_s = time.monotonic() - began
            seen = witness.next_phase()
        logged = read_log(cluster.stores, hits)
        check_acknowledged(hits, logged, senders.resent)
        check_counted_when_answered(cluster, logged, COUNTED_S)
        assert not seen.fell_back
        cluster.stop()
    assert SystemClock().now() - now < SLACK_MS
    with capsys.disabled():
        print(  # noqa: T201  # how long recovery took, and what reports showed
            f"\nservers were back after {servers_s:.1f} s, everything counted after {took_s:.1f} s; "
            f"meanwhile {seen.line()}"
        )
