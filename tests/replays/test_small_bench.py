"""Run every benchmark with small sizes, so that `make bench` works when its numbers are needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.mesh import ROOT, environment
from tests.support.patience import patient

TIMEOUT_S = 240
PARTS = {
    *("collector", "refused", "core", "core_many", "texts", "one_visitor"),
    *("settlement", "reports", "dear_questions", "two_settlers", "many_sites", "mesh"),
    *("neighbours", "overload"),
}


@pytest.mark.timeout(TIMEOUT_S)
def test_every_benchmark_finds_stored_what_it_sent() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--small"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=patient(TIMEOUT_S - 10),
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3_000:]
    results = json.loads(done.stdout)
    assert results["right"]
    assert results.keys() >= PARTS
