"""Finds promtool, the checker of Prometheus' rules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

VARIABLE: Final = "HITMESH_PROMTOOL"
_MODULE: Final = "github.com/prometheus/prometheus/cmd/promtool@v0.316.0"


def found() -> str | None:
    """Return the path of promtool: from the environment, or on the path."""
    return os.environ.get(VARIABLE) or shutil.which("promtool")


def built(directory: Path) -> str:
    """Build promtool with Go into a directory, which takes minutes, and return its path."""
    environment = {**os.environ, "GOBIN": str(directory), "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
    subprocess.run(["go", "install", _MODULE], env=environment, check=True, capture_output=True, text=True)
    return str(directory / "promtool")


def run(promtool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool and return its exit code and output."""
    return subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
