"""A measured number with its target, and the child processes for measurements."""

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
# Services run as one process per core: a second Polars thread would only wait for the first.
ONE_CORE = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}

Result = dict[str, Any]


def progress(text: str) -> None:
    """Print progress on stderr."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def judged(value: float, aim: float, floor: float, unit: str) -> Result:
    """Return a number with its aim and floor, and whether the number is at least the floor."""
    return {"value": round(value), "unit": unit, "aim": aim, "floor": floor, "ok": value >= floor}


def environment() -> Mapping[str, str]:
    """Return the environment for a measured process."""
    return {**os.environ, **ONE_CORE, "PYTHONPATH": str(ROOT)}


def run(module: str, *arguments: str) -> None:
    """Run a module until the process ends.

    Raises:
        CalledProcessError: the process failed; its message precedes the error on stderr.
    """
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment(), check=True)


class Child:
    """A measured process that answers each line on stdin with a JSON line on stdout; `settles` as a settler in dev."""

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
        """Return the answer to a line."""
        stdin = self._stream(self._process.stdin)
        stdin.write(line + "\n")
        stdin.flush()
        return self._answer()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Close the process's stdin and wait; kill the process after the time-out."""
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
