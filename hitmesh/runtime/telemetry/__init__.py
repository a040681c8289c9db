"""Metrics of the processes: a single registry, counted per batch, call or step, never per hit.

`registry` defines every metric, `labels` the allowed label values, `metrics` the methods with which services count,
`exposition` serves the numbers to Prometheus. Only composition roots import `exposition`.
"""

from __future__ import annotations

from hitmesh.runtime.telemetry.metrics import Metrics, unmeasured

__all__ = ["Metrics", "unmeasured"]
