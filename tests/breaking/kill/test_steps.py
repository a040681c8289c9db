"""Under load, the processor is killed right after each step of a commit. A new processor continues the stream."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hitmesh.runtime.clock import SystemClock
from processor.stream.commit import CommitStep
from tests.support.counted import is_committed, log_ends
from tests.support.kill_checks import check_acknowledged, check_counted, read_log
from tests.support.kill_load import SITES, SLACK_MS, hits_of_now, messages_of
from tests.support.senders import Portion, Senders, portions
from tests.support.services import CAUGHT_UP_S, KEY, Cluster
from tests.support.waiting import eventually

DIES_AT: Mapping[CommitStep, int] = {
    CommitStep.RAW: 5,
    CommitStep.MARKS: 5,
    CommitStep.CLAIMS: 5,
    CommitStep.TRANSACTION: 5,
    CommitStep.STATE: 5,
    CommitStep.PARTIALS: 5,
    # A snapshot round saves five partitions. The kill comes in the second round, when only some partitions are saved.
    CommitStep.CHUNKS: 7,
    CommitStep.MANIFEST: 7,
}
ONE_AFTER_ANOTHER = tuple(CommitStep)
STEPS = [*((step,) for step in CommitStep), ONE_AFTER_ANOTHER]
VISITORS, BATCH_HITS = 120, 40
MORE_VISITORS, SMALL_BATCH_HITS = 200, 10
"""Sizes for the run that kills the processor after each step in turn."""


def test_every_step_has_a_run() -> None:
    assert set(DIES_AT) == set(CommitStep) == set(ONE_AFTER_ANOTHER)


@pytest.mark.timeout(SLACK_MS // 1_000)
@pytest.mark.parametrize("steps", STEPS, ids="-".join)
def test_processor_killed_after_a_step_loses_and_doubles_nothing(
    steps: Sequence[CommitStep], store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = SystemClock().now()
    visitors, batch_hits = (VISITORS, BATCH_HITS) if len(steps) == 1 else (MORE_VISITORS, SMALL_BATCH_HITS)
    hits = hits_of_now(list(CommitStep).index(steps[0]), now, visitors)
    *shares, last = portions(messages_of(hits, now, steps[0], batch_hits), [*(2 for _ in steps), 1])
    lines: list[str] = []
    with Cluster(tmp_path, store_url, heartbeat_s=60.0) as cluster, Senders(cluster.address, KEY, SITES) as senders:
        cluster.collector.start()
        for step, share in zip(steps, shares, strict=True):
            cluster.processor.start(FAIL_AT=f"{step}:{DIES_AT[step]}")
            feed(cluster, senders, share)
            assert cluster.processor.wait_ended() == -signal.SIGKILL, cluster.processor.log_tail()
            ahead = sum(log_ends(cluster.stores).values()) - cluster.committed()
            lines.append(f"died after {step}, done {DIES_AT[step]} times, {ahead} records behind the log")
        cluster.processor.start()
        senders.give(last)
        senders.wait_acknowledged()
        cluster.wait_counted()
        cluster.stop()
        logged = read_log(cluster.stores, hits)
        assert check_acknowledged(hits, logged, resent=0) == 0
        counted = check_counted(cluster.stores, logged, SystemClock().now())
        assert all((counted.copies, counted.late, counted.pending, counted.open_visits))
    assert SystemClock().now() - now < SLACK_MS
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201  # each step was hit


def feed(cluster: Cluster, senders: Senders, portion: Portion) -> None:
    """Send one batch per site.

    Send the next batches when the processor has counted the previous batches or has died.
    """
    for number in range(max(map(len, portion.values()))):
        senders.give({site: batches[number : number + 1] for site, batches in portion.items()})
        senders.wait_acknowledged()
        ends = log_ends(cluster.stores)
        eventually(
            lambda ends=ends: not cluster.processor.is_running or is_committed(cluster.stores, ends),  # type: ignore[misc]  # mypy infers no type for bound defaults
            f"{ends} are committed, or the processor died\n{cluster.processor.log_tail()}",
            CAUGHT_UP_S,
        )
