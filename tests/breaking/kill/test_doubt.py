"""Test commits that are aborted or have an unknown outcome.

The runner finds the outcome of its commit and continues.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hitmesh.model.errors import CommitInDoubt, HitmeshError, RetryError, Unavailable
from processor.building import stream_stores
from tests.generate.arrivals import in_slices
from tests.generate.scenarios import MINUTE
from tests.support.counted import log_ends
from tests.support.kill_checks import check_counted, check_settled
from tests.support.kill_load import SITES, arrivals_of, hits_of_now
from tests.support.live_faults import Fuse, fused
from tests.support.live_mesh import LiveMesh

NOW = 1_743_854_400_000
VISITORS = 9
SLICE_HITS, SLICE_MS = 60, 10 * MINUTE
BEFORE, AFTER = 0, 1
"""Values of `Fuse.chances`.

With BEFORE, a commit fails before the transaction. With AFTER, a commit fails after the transaction.
"""
FOURTH, SECOND = 4, 2
"""Which commits fail: every fourth, or every second in the long tests. Each failure reads the log again."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("error", "chances", "every"),
    [
        (Unavailable, BEFORE, FOURTH),
        (CommitInDoubt, AFTER, FOURTH),
        pytest.param(Unavailable, BEFORE, SECOND, marks=pytest.mark.long),
        pytest.param(CommitInDoubt, BEFORE, SECOND, marks=pytest.mark.long),  # each half is in another case
        pytest.param(CommitInDoubt, AFTER, SECOND, marks=pytest.mark.long),
    ],
)
def test_a_commit_that_failed_or_may_have_is_made_good_by_the_same_runner(
    error: type[RetryError], chances: int, every: int, tmp_path: Path
) -> None:
    sent = arrivals_of(hits_of_now(7, NOW, VISITORS), NOW, seed=7)
    with LiveMesh(f"embedded:{tmp_path}/data", tmp_path / "kept", sent[0].at_ms - MINUTE, SITES) as mesh:
        fuse = Fuse(0, lambda: error("as a test wants it"), frozenset({"transaction"}), blown="not yet lit")
        mesh.runner = mesh.a_runner(fused(stream_stores(mesh.stores), fuse))
        failures = 0
        for number, part in enumerate(in_slices(sent, SLICE_HITS, SLICE_MS)):
            mesh.advance_to(part[-1].at_ms)
            mesh.send(part)
            if number % every == 1:
                failures += 1
                assert_recovers(mesh, fuse, chances, error)
            mesh.step()
        assert mesh.runner.recoveries == 1 + failures
        assert failures >= 3
        mesh.idle()
        mesh.runner.flush()
        check_counted(mesh.stores, mesh.logged, mesh.clock.now())
        check_settled(mesh)


def assert_recovers(mesh: LiveMesh, fuse: Fuse, chances: int, error: type[HitmeshError]) -> None:
    """Let the next commit fail. The runner must read the input again if and only if the commit was not written."""
    before = mesh.stores.outbox.committed()
    fuse.chances, fuse.blown = chances, ""
    with pytest.raises(error):
        mesh.runner.step(0.0)
    committed = mesh.stores.outbox.committed()
    assert (committed != before) == (chances == AFTER)
    # If the input crosses the end of an epoch, the step has processed only the records before the end of the epoch.
    ends = log_ends(mesh.stores)
    unread = sum(ends[partition] - at.next_offset for partition, at in committed.items())
    assert sum(iter(lambda: mesh.runner.step(0.0), 0)) == unread
