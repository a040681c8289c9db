"""The control service administers sites and keys without importing the libraries that read rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mesh import environment

HEAVY = ("polars", "polars_hash", "pyarrow", "duckdb", "datasketches")
_START = """
import json, sys
import control.__main__ as control
from control.backend import Backend
from control.service import build_server
from hitmesh.adapters.directories import open_directory
from hitmesh.runtime.clock import SystemClock
clock = SystemClock()
directory = open_directory(sys.argv[1], clock)
directory.check()
build_server(Backend(directory.port, directory.merchants, lambda: None, clock, lambda: "t" * 43))
assert list(directory.port.sites(None, "", 10)) == []
directory.close()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.timeout(60)
def test_control_loads_no_library_for_rows_before_a_question_about_the_ledger(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _START, f"embedded:{tmp_path}"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not set(HEAVY) & set(json.loads(done.stdout))
