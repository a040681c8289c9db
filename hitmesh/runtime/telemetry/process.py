"""Metrics that every process reports: processor time, resident memory, build. Linux; elsewhere less."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from opentelemetry.metrics import Observation

from hitmesh import __version__
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.telemetry.metrics import Metrics
from hitmesh.runtime.telemetry.registry import PROCESS_BUILD_INFO, PROCESS_CPU_SECONDS, PROCESS_RESIDENT_BYTES

_STATM: Final = Path("/proc/self/statm")


def observe_process(metrics: Metrics, part: Part) -> None:
    """Register the process metrics, which are read at each collection."""
    metrics.observe(PROCESS_CPU_SECONDS, lambda: [PROCESS_CPU_SECONDS.of(time.process_time())])
    metrics.observe(PROCESS_RESIDENT_BYTES, _resident)
    metrics.set(PROCESS_BUILD_INFO, 1, part=part, version=__version__, python=platform.python_version())


def _resident() -> Iterable[Observation]:
    if _STATM.exists():
        pages = int(_STATM.read_text().split()[1])
        yield PROCESS_RESIDENT_BYTES.of(pages * os.sysconf("SC_PAGE_SIZE"))
