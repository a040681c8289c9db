"""ListMetrics: the catalogue's metrics, the same for every caller."""

from __future__ import annotations

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from reporter.question.catalogue import METRICS, allowed_dimensions
from reporter.rpc.messages import SCOPES, TYPES


def list_metrics() -> pb.ListMetricsResponse:
    """Return the metrics in catalogue order."""
    return pb.ListMetricsResponse(
        metrics=[
            pb.Metric(
                id=metric.id,
                type=TYPES[metric.type],
                scope=SCOPES[metric.scope],
                description=metric.description,
                dimensions=allowed_dimensions(metric),
            )
            for metric in METRICS.values()
        ]
    )
