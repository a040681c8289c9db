"""Calls that misuse metrics: unknown labels, unknown label values, or the wrong kind of metric."""

from __future__ import annotations

from hitmesh.model.reasons import HitReason
from hitmesh.runtime.telemetry import Metrics, registry
from hitmesh.runtime.telemetry.labels import HitOutcome, HitPath, Stage


def a_label_is_one_that_the_metric_has(metrics: Metrics) -> None:
    metrics.add(registry.COLLECTOR_HITS, 1, outcome=HitOutcome.ACCEPTED)
    metrics.add(registry.COLLECTOR_HITS, 1, site="demo/example")  # type: ignore[call-arg]
    metrics.add(registry.COLLECTOR_HITS, 1)  # type: ignore[call-arg]
    metrics.set(registry.PROCESSOR_OPEN_VISITS, 1, partition=3)  # type: ignore[call-arg]


def a_label_takes_only_its_declared_values(metrics: Metrics) -> None:
    metrics.add(registry.PROCESSOR_PATH_HITS, 1, path=HitPath.FAST)
    metrics.add(registry.PROCESSOR_PATH_HITS, 1, path="fast")  # type: ignore[arg-type]
    metrics.add(registry.COLLECTOR_HITS, 1, outcome=HitReason.DECODE)  # type: ignore[arg-type]
    _ = registry.PROCESSOR_LAG_SECONDS.of(1.5, partition="3")  # type: ignore[arg-type]


def a_metric_is_used_as_what_it_is(metrics: Metrics) -> None:
    metrics.record(registry.PROCESSOR_STEP_SECONDS, 1.5, stage=Stage.RAW)
    metrics.add(registry.PROCESSOR_STEP_SECONDS, 1, stage=Stage.RAW)  # type: ignore[arg-type]
    metrics.record(registry.PROCESSOR_LAG_SECONDS, 1, partition=3)  # type: ignore[arg-type]
