"""Processor, collector or both are killed repeatedly while clients send. Each hit must be counted once."""

from __future__ import annotations

import signal
from pathlib import Path
from random import Random

import pytest

from hitmesh.runtime.clock import SystemClock
from tests.support.counted import is_committed, log_ends
from tests.support.kill_checks import check_acknowledged, check_counted, read_log
from tests.support.kill_load import SITES, SLACK_MS, hits_of_now, messages_of
from tests.support.senders import Senders, portions
from tests.support.services import KEY, Cluster, Service
from tests.support.waiting import eventually

VISITORS = 300
KILLS_OF_EACH = 2
GETS_ON_S = 30.0


@pytest.mark.timeout(SLACK_MS // 1_000)
@pytest.mark.parametrize("seed", [4])
def test_hits_are_counted_once_whichever_service_is_killed_under_load(
    seed: int, store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now, dice = SystemClock().now(), Random(seed)
    hits = hits_of_now(seed, now, VISITORS)
    with Cluster(tmp_path, store_url) as cluster, Senders(cluster.address, KEY, SITES) as senders:
        victims = dice.sample(
            [["processor"], ["collector"], ["processor", "collector"]] * KILLS_OF_EACH, 3 * KILLS_OF_EACH
        )
        share, *shares = portions(messages_of(hits, now, "random"), [1] * (len(victims) + 1))
        senders.give(share)
        for service in (cluster.collector, cluster.processor):
            service.start()
        under_load = 0
        for names, share in zip(victims, shares, strict=True):
            senders.give(share)
            wait_for_progress(cluster, dice)
            under_load += kill(
                [target for target in (cluster.processor, cluster.collector) if target.name in names], cluster, senders
            )
        senders.wait_acknowledged()
        cluster.wait_counted()
        cluster.stop()
        logged = read_log(cluster.stores, hits)
        again = check_acknowledged(hits, logged, senders.resent)
        check_counted(cluster.stores, logged, SystemClock().now())
    assert SystemClock().now() - now < SLACK_MS
    with capsys.disabled():
        print(f"\n{len(hits)} hits, {len(victims)} kills, {under_load} of them under load, {again} hits stored again")  # noqa: T201  # what was hit
    assert under_load >= len(victims) // 2


def wait_for_progress(cluster: Cluster, dice: Random) -> None:
    """Block until the stream has processed a few records, or the log has received a larger number of records."""
    committed, ends = (
        cluster.committed() + dice.randint(1, 12),
        sum(log_ends(cluster.stores).values()) + dice.randint(10, 60),
    )
    eventually(
        lambda: cluster.committed() >= committed or sum(log_ends(cluster.stores).values()) >= ends,
        f"something gets on\n{cluster.collector.log_tail()}\n{cluster.processor.log_tail()}",
        GETS_ON_S,
    )


def kill(victims: list[Service], cluster: Cluster, senders: Senders) -> bool:
    """Kill services and start them again. Return whether records were pending at the kill."""
    had_work = not senders.are_done or not is_committed(cluster.stores, log_ends(cluster.stores))
    for victim in victims:
        assert victim.is_running, victim.log_tail()
        victim.send(signal.SIGKILL)
    for victim in victims:
        assert victim.wait_ended() == -signal.SIGKILL
        victim.start()
    return had_work
