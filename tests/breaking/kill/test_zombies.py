"""A runner is suspended between two steps, and another runner takes over.

The first runner must change nothing, and end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.errors import Fenced
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.logic import CURRENT
from hitmesh.model.positions import PartitionId
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from hitmesh.model.stream_values import SnapshotManifest
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.telemetry import unmeasured
from processor.building import stream_stores
from processor.stream.commit import CommitStep
from processor.stream.metering import StreamMeter
from processor.stream.pace import StreamPace
from processor.stream.runner import Runner
from tests.generate.arrivals import Arrival, in_slices
from tests.generate.scenarios import MINUTE
from tests.support.kill_checks import check_acknowledged, check_counted, check_settled, read_log
from tests.support.kill_load import SITES, SLACK_MS, arrivals_of, hits_of_now, messages_of
from tests.support.live_mesh import LiveMesh
from tests.support.live_rows import ALL_DAYS, Seen
from tests.support.senders import Senders, portions
from tests.support.services import KEY, Cluster

NOW = 1_743_854_400_000
VISITORS, HELD_HITS = 30, 50
SLICE_HITS, SLICE_MS = 100, 30 * MINUTE
OF_EVERY_RUN = (CommitStep.CLAIMS, CommitStep.TRANSACTION)
"""The steps after which a runner sleeps in every run: the last step before the transaction, and the transaction.

A runner that wakes up after the transaction still writes partials. The long tests suspend a runner after each other
step. Every run kills a processor after each step (`test_steps.py`).
"""
BEFORE_ITS_TRANSACTION = (CommitStep.RAW, CommitStep.MARKS, CommitStep.CLAIMS)
EVERYTHING_AT_ONCE = StreamPace(flush_ms=0, snapshot_ms=0)

Visible = tuple[
    dict[str, Seen],
    list[pl.DataFrame],
    pl.DataFrame,
    dict[PartitionId, tuple[SnapshotManifest, Sequence[bytes]] | None],
]
"""All state that a processor writes: rows, partials, ledger and snapshots."""


class Sleeper:
    """Suspend the runner when it first completes the given step, and call `meanwhile` before the runner continues."""

    def __init__(self, step: CommitStep, meanwhile: Callable[[], None]) -> None:
        self._step = step
        self._meanwhile = meanwhile
        self.has_slept = False

    def __call__(self, step: CommitStep) -> None:
        if step is self._step and not self.has_slept:
            self.has_slept = True
            self._meanwhile()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step in OF_EVERY_RUN else pytest.mark.long) for step in CommitStep]
)
def test_a_runner_that_slept_after_a_step_changes_nothing_when_it_wakes_up(step: CommitStep, tmp_path: Path) -> None:
    sent = arrivals_of(hits_of_now(11, NOW, VISITORS), NOW, seed=list(CommitStep).index(step))
    third = len(sent) // 3
    url = f"embedded:{tmp_path}/data"
    with LiveMesh(url, tmp_path / "kept", sent[0].at_ms - MINUTE, SITES) as mesh:
        let_arrive(mesh, sent[:third])
        mesh.step()
        seen: list[Visible] = []

        def another_takes_over() -> None:
            mesh.runner = mesh.a_runner()
            let_arrive(mesh, sent[third + HELD_HITS : 2 * third])
            mesh.step()
            mesh.runner.snapshot()
            seen.append(visible(mesh))

        sleeper = Sleeper(step, another_takes_over)
        asleep = open_stores(url, mesh.clock)
        zombie = a_zombie(asleep, mesh, tmp_path / "kept-by-zombie", sleeper)
        let_arrive(mesh, sent[third : third + HELD_HITS])
        if step in BEFORE_ITS_TRANSACTION:
            with pytest.raises(Fenced):
                zombie.step(0.0)
        else:
            zombie.step(0.0)
        assert sleeper.has_slept
        assert_equal(visible(mesh), seen[0])
        let_arrive(mesh, sent[2 * third :])
        with pytest.raises(Fenced):
            zombie.step(0.0)
        zombie.close()
        asleep.close()
        mesh.idle()
        mesh.runner.flush()
        check_counted(mesh.stores, mesh.logged, mesh.clock.now())
        check_settled(mesh)


def a_zombie(stores: Stores, mesh: LiveMesh, home: Path, sleeper: Sleeper) -> Runner:
    """Return a runner that takes over the stream until `sleeper` suspends this runner.

    The runner has separate connections and files.
    """
    meter = StreamMeter(unmeasured(), sleeper)
    return Runner(stream_stores(stores), mesh.clock, EVERYTHING_AT_ONCE, home=home, meter=meter)


def let_arrive(mesh: LiveMesh, sent: Sequence[Arrival]) -> None:
    """Append hits to the log without letting a processor read them."""
    for part in in_slices(sent, SLICE_HITS, SLICE_MS):
        mesh.advance_to(max(mesh.clock.now(), part[-1].at_ms))
        mesh.send(part)


def visible(mesh: LiveMesh) -> Visible:
    """Return all state that a writer could have changed.

    The number of visitors who left a cell is omitted, because it depends on how records are divided into steps. Readers
    of the partials only check whether any visitor has left the cell.
    """
    stores = mesh.stores
    partials = [
        stores.series.read(site, *ALL_DAYS, STREAM_GENERATION).sort("cell", "excluded", "currency") for site in SITES
    ]
    return (
        {site: mesh.seen(site) for site in SITES},
        [partial.drop(MOVED_VISITORS) for partial in partials],
        stores.ledger.read(None),
        {partition: stores.states.load(partition, CURRENT.number) for partition in stores.outbox.committed()},
    )


def assert_equal(found: Visible, expected: Visible) -> None:
    rows, partials, ledger, snapshots = found
    assert rows == expected[0]
    for partial, other in zip(partials, expected[1], strict=True):
        assert_frame_equal(partial, other)
    assert_frame_equal(ledger, expected[2])
    assert snapshots == expected[3]


@pytest.mark.timeout(SLACK_MS // 1_000)
def test_a_processor_that_wakes_up_after_another_took_over_ends_by_itself(store_url: str, tmp_path: Path) -> None:
    now = SystemClock().now()
    hits = hits_of_now(13, now, VISITORS)
    first, held, second, third = portions(messages_of(hits, now, "zombie"), (2, 1, 2, 1))
    with Cluster(tmp_path, store_url, heartbeat_s=600.0) as cluster, Senders(cluster.address, KEY, SITES) as senders:
        cluster.collector.start()
        zombie, successor = cluster.processor, cluster.a_processor("second", node="first")
        # Suspend the process while it gathers a window. While the process gathers a window, it has the hits in memory
        # and holds no lock.
        zombie.start(WINDOW_MS="4000", MAX_HITS="10000")
        senders.give(first)
        senders.wait_acknowledged()
        cluster.wait_counted()
        senders.give(held)
        senders.wait_acknowledged()
        committed = cluster.committed()
        zombie.send(signal.SIGSTOP)
        cluster.processor = successor
        successor.start()
        senders.give(second)
        senders.wait_acknowledged()
        cluster.wait_counted()
        assert cluster.committed() > committed
        zombie.send(signal.SIGCONT)
        assert zombie.wait_ended() == 1, zombie.log_tail()
        assert "took over" in zombie.log_tail()
        assert successor.is_running
        senders.give(third)
        senders.wait_acknowledged()
        cluster.wait_counted()
        cluster.stop()
        logged = read_log(cluster.stores, hits)
        check_acknowledged(hits, logged, resent=0)
        check_counted(cluster.stores, logged, SystemClock().now())
    assert SystemClock().now() - now < SLACK_MS
