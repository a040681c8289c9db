"""The metrics for CPU time, resident memory and build, which every process reports."""

from __future__ import annotations

import platform
import time

import psutil

from hitmesh import __version__
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.telemetry.metrics import Metrics
from hitmesh.runtime.telemetry.registry import BUILD_INFO, PROCESS_CPU_SECONDS, PROCESS_RESIDENT_BYTES


def observe_process(metrics: Metrics, part: Part) -> None:
    """Register the metrics of this process; CPU time and memory are read at each collection."""
    this = psutil.Process()
    metrics.observe(PROCESS_CPU_SECONDS, lambda: [PROCESS_CPU_SECONDS.of(time.process_time())])
    metrics.observe(PROCESS_RESIDENT_BYTES, lambda: [PROCESS_RESIDENT_BYTES.of(this.memory_info().rss)])
    metrics.set(BUILD_INFO, 1, part=part, version=__version__, python=platform.python_version())
