"""Each server is killed or suspended for 20 s while hits arrive. Every hit must be counted once and reported."""

from __future__ import annotations

import time
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
from tests.support.waiting import eventually
from tests.support.witness import Witness

VISITORS = 240
ASLEEP_S = 20.0
DEAD_S = 3.0
COUNTED_S = 120.0
PAIRS = (("kafka", "cassandra"), ("indexer", "broker", "coordinator"))


@pytest.mark.long  # the test takes minutes for each server and kind of failure
@pytest.mark.timeout(2 * SLACK_MS // 1_000)
@pytest.mark.parametrize("how", ["killed", "asleep"])
@pytest.mark.parametrize("victims", PAIRS, ids="+".join)
def test_hits_are_counted_once_whichever_server_fails(
    victims: Sequence[str],
    how: str,
    store_url: str,
    servers_control: Control,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = SystemClock().now()
    hits = hits_of_now(len(victims), now, VISITORS)
    lines: list[str] = []
    with Cluster(tmp_path, store_url) as cluster, Senders(cluster.address, KEY, SITES) as senders:
        first, *shares = portions(messages_of(hits, now, how), [1] * (len(victims) + 1))
        cluster.collector.start()
        cluster.processor.start()
        reporter = cluster.a_reporter()
        reporter.start()
        senders.give(first)
        senders.wait_acknowledged()
        cluster.wait_counted(COUNTED_S)
        with Witness(cluster.reporter_address, SITES[0]) as witness:
            for victim, share in zip(victims, shares, strict=True):
                witness.next_phase()
                senders.give(share)
                fail(servers_control, victim, how)
                meanwhile = witness.next_phase()
                back = time.monotonic()
                senders.wait_acknowledged(COUNTED_S)
                cluster.wait_counted(COUNTED_S)
                took_s = time.monotonic() - back
                check_counted_when_answered(cluster, read_log(cluster.stores, hits), COUNTED_S)
                lines.append(f"{victim} {how}: counted {took_s:.1f} s after it was back; meanwhile {meanwhile.line()}")
                assert not meanwhile.fell_back
        check_acknowledged(hits, read_log(cluster.stores, hits), senders.resent)
        cluster.stop()
    assert SystemClock().now() - now < SLACK_MS
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201  # how long recovery took, and what reports showed


def fail(servers: Control, victim: str, how: str) -> None:
    """Suspend a server and resume it, or kill a server and start it again."""
    if how == "asleep":
        servers.pause(victim)
        elapse(ASLEEP_S)
        servers.resume(victim)
    else:
        servers.kill(victim)
        elapse(DEAD_S)
        servers.start_all()


def elapse(seconds: float) -> None:
    """Sleep for the given time. A sleep is needed, because the test depends on how long the failure lasts."""
    ends = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= ends, f"{seconds} s go by", seconds + 5)
