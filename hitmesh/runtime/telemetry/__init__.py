"""Metrics of the processes. Services must record metrics per batch, call or step, never per hit.

`registry` defines every metric, and `labels` defines the allowed label values. `metrics` contains the methods with
which services record values. `exposition` serves the metrics to Prometheus; only composition roots import this module.
"""

from __future__ import annotations

from hitmesh.runtime.telemetry.metrics import Metrics, unmeasured

__all__ = ["Metrics", "unmeasured"]
