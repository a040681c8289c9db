"""Servers start with the data of an earlier release, and the mesh migrates the data. Reports keep their numbers.

The test starts separate servers, because the servers' stored data is under test.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.golden_answers import QUESTIONS, GoldenAnswers, are_same
from tests.support.mesh import Mesh, run_command
from tests.support.waiting import eventually

GOLDEN = Path(__file__).parents[1] / "golden" / "stack_v1"
ANSWERS = GoldenAnswers(
    GOLDEN,
    {
        "log": ("2026-09-01", "2026-09-30"),
        "shop": ("2026-09-28", "2026-10-20"),
        "live": ("2026-11-24", "2026-11-30"),
    },
)
STACK_S = 600.0


@pytest.fixture
def old_stack(tmp_path: Path) -> Iterator[Mesh]:
    """Return a mesh on separate servers.

    Neither the mesh nor the servers are started yet. At the end, stop the servers.
    """
    with tarfile.open(GOLDEN / "stack.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    mesh = Mesh(tmp_path / "home", backend=("--backend", "stack", "--stack-home", str(tmp_path / "servers")))
    try:
        assert run_command(["stack", "up", "--home", str(tmp_path / "servers")], timeout_s=STACK_S).code == 0
        yield mesh
    finally:
        if mesh.process is not None and mesh.process.poll() is None:
            mesh.kill_everything()
        run_command(["stack", "down", "--home", str(tmp_path / "servers")], timeout_s=STACK_S)


@pytest.mark.servers
@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_stack_of_the_first_release_starts_and_keeps_its_numbers(old_stack: Mesh) -> None:
    old_stack.start()
    for site in ANSWERS.ranges:
        for kind in QUESTIONS:
            eventually(
                lambda s=site, k=kind: are_same(ANSWERS.wanted(s, k), ANSWERS.found(old_stack, s, k)),  # type: ignore[misc]  # mypy infers no type for bound defaults
                f"{site} by {kind} is as it was",
                120,
            )
    ledger = old_stack.run("ledger", "-o", "json")
    assert ledger.code == 0, ledger.out + ledger.err
    assert old_stack.stop() == 0, old_stack.logs()
