"""Test that no process outlives a test run, in whatever process group."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from tests.support.patience import patient

SWEEP = Path(__file__).parents[2] / "dev" / "sweep.py"


def test_processes_of_a_run_are_ended_even_if_they_ignore_the_request_and_others_are_left_alone() -> None:
    run, other = f"run-{secrets.token_hex(8)}", f"other-{secrets.token_hex(8)}"
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); sys.stdin.read()"
    ours, spared = started(run, deaf), started(other, deaf)
    try:
        command = [sys.executable, str(SWEEP), run, "0.2"]
        swept = subprocess.run(command, capture_output=True, text=True, check=True)
        assert swept.stderr == "test: ended 1 processes that were left behind\n"
        assert ours.wait(patient(5)) != 0
        assert spared.poll() is None
    finally:
        for process in (ours, spared):
            process.kill()
            process.communicate()


def started(run: str, code: str) -> subprocess.Popen[str]:
    """Start a process in a separate session, and return the process once it runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "RUN_OF_TESTS": run},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    return process
