"""Start the processes whose speed is measured, and compare measured numbers with their targets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from hitmesh.runtime.reused_memory import REUSED_MEMORY

ROOT = Path(__file__).resolve().parents[2]
# A service runs as one process per core. Two Polars threads in a process would compete for the process's core.
ONE_CORE = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}

Result = dict[str, Any]


def progress(text: str) -> None:
    """Print progress on stderr."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def judged(value: float, aim: float, floor: float, unit: str) -> Result:
    """Return a measured number with its target (`aim`) and its minimum (`floor`).

    `ok` tells whether the number reaches the minimum.
    """
    return {"value": round(value), "unit": unit, "aim": aim, "floor": floor, "ok": value >= floor}


def environment() -> Mapping[str, str]:
    """Return the environment variables for a process under measurement."""
    return {**os.environ, **ONE_CORE, "PYTHONPATH": str(ROOT)}


def run(module: str, *arguments: str) -> None:
    """Run a module in a separate process and wait for its end.

    Raises:
        CalledProcessError: the process failed. The message of the process is on stderr.
    """
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment(), check=True)


class Child:
    """A process under measurement. The process answers each line on stdin with a JSON line on stdout.

    If `settles` is true, the process gets the same memory settings as a settler of `hitmesh dev`.
    """

    def __init__(self, module: str, *arguments: str, settles: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**environment(), **(REUSED_MEMORY if settles else {})},
        )
        self.first_answer = self._answer()

    def ask(self, line: str) -> Result:
        """Send a line to the process and return its answer."""
        stdin = self._stream(self._process.stdin)
        stdin.write(line + "\n")
        stdin.flush()
        return self._answer()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Close the process's stdin and wait until the process ends. Kill the process after `timeout_s`."""
        self._stream(self._process.stdin).close()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> Result:
        line = self._stream(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"the measured process ended with {self._process.wait()}: its message stands above")
        answer: Result = json.loads(line)
        return answer

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream is not None
        return stream
