"""What the processes measure of themselves: one registry of metrics, counted per batch, call or step, never per hit.

`registry` has every metric, `labels` what their labels may say, `metrics` is what services count with, `exposition`
serves the numbers to Prometheus. Only composition roots import `exposition`.
"""

from __future__ import annotations

from hitmesh.runtime.telemetry.metrics import Metrics, unmeasured

__all__ = ["Metrics", "unmeasured"]
