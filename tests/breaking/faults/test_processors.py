"""Two processors share the log's partitions.

One processor is slow, and another processor dies. Every hit is counted exactly once.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from hitmesh.runtime.clock import SystemClock
from tests.support.kill_checks import check_acknowledged, check_counted, read_log
from tests.support.kill_load import SITES, SLACK_MS, hits_of_now, messages_of
from tests.support.senders import Senders, portions
from tests.support.services import KEY, Cluster, Service
from tests.support.waiting import eventually

VISITORS = 240
MOVED_S = 60.0
COUNTED_S = 120.0


@pytest.mark.timeout(SLACK_MS // 1_000)
def test_partitions_move_between_processors_while_one_is_slow_and_when_one_dies(
    store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = SystemClock().now()
    hits = hits_of_now(21, now, VISITORS)
    lines: list[str] = []
    with Cluster(tmp_path, store_url) as cluster, Senders(cluster.address, KEY, SITES) as senders:
        shares = portions(messages_of(hits, now, "two"), [1] * 4)
        first, second, settler = cluster.processor, cluster.a_processor("second"), cluster.a_processor("settler")
        cluster.collector.start()
        settler.start(ROLE="settler")
        first.start(ROLE="stream")
        senders.give(shares[0])
        senders.wait_acknowledged()
        cluster.wait_counted(COUNTED_S)

        second.start(ROLE="stream")
        eventually(lambda: partitions_of(first) and partitions_of(second), "both have partitions", MOVED_S)
        assert sorted([*partitions_of(first), *partitions_of(second)]) == ["0", "1", "2", "3"]
        senders.give(shares[1])

        first.send(signal.SIGSTOP)
        began = time.monotonic()
        eventually(lambda: len(partitions_of(second)) == 4, "the other has all partitions", MOVED_S)
        lines.append(f"partitions of a stopped processor moved after {time.monotonic() - began:.1f} s")
        senders.give(shares[2])
        first.send(signal.SIGCONT)
        eventually(lambda: 0 < len(partitions_of(second)) < 4, "the slow one has its share again", MOVED_S)
        assert first.is_running, first.log_tail()

        second.kill()
        began = time.monotonic()
        senders.give(shares[3])
        senders.wait_acknowledged(COUNTED_S)
        cluster.wait_counted(COUNTED_S)
        lines.append(f"everything counted {time.monotonic() - began:.1f} s after a processor died")
        assert len(partitions_of(first)) == 4
        for service in (first, settler, cluster.collector):
            assert service.stop() == 0, service.log_tail()
        logged = read_log(cluster.stores, hits)
        check_acknowledged(hits, logged, senders.resent)
        check_counted(cluster.stores, logged, SystemClock().now())
    assert SystemClock().now() - now < SLACK_MS
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201  # how long moving takes


def partitions_of(processor: Service) -> list[str]:
    """Return the partitions that a processor recovered last, according to its log output.

    The log output lists only partitions of hits.
    """
    last: list[str] = []
    for line in processor.log.read_text(errors="replace").splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("event") == "recovered":
            last = [str(number) for number in entry["partitions"]]
    return last
