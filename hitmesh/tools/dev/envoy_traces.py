"""Renders the parts of Envoy's configuration that send spans to an OpenTelemetry Collector."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CLUSTER: Final = "otlp"
NO_TRACES: Final = "# This Envoy records no traces."
SERVICE_NAME: Final = "hitmesh-envoy"
_MAX_PATH_CHARS: Final = 256
_HIDDEN: Final = "(hidden)"
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TracedDoor:
    """Where Envoy and the services send their telemetry.

    Attributes:
        host: host of the collector.
        port: port of the collector's gRPC receiver, without TLS.
        ratio: the share of requests without a trace context that are recorded.
    """

    host: str
    port: int
    ratio: float

    def settings(self) -> Mapping[str, str]:
        """Return the settings of each service, keyed by name without the service's prefix."""
        return {"OTLP_ENDPOINT": f"http://{self.host}:{self.port}", "TRACE_RATIO": f"{self.ratio:g}"}


def tracing(traced: TracedDoor) -> str:
    """Return the field `tracing` of a listener's connection manager.

    Envoy records a request whose caller records it, and otherwise a share of requests. The services follow Envoy's
    decision, because Envoy passes the decision on in `traceparent`. A header cannot force Envoy to record a request
    (`client_sampling`). Envoy would record the caller's address, user agent and query, which are visitors' data:
    tags with the same names replace these values, and the recorded path is short and without its query.
    """
    samplers = "envoy.tracers.opentelemetry.samplers"
    kinds = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3"
    share = {"numerator": round(traced.ratio * _MILLION), "denominator": "MILLION"}
    by_ratio = {
        "name": f"{samplers}.trace_id_ratio_based",
        "typed_config": {"@type": f"{kinds}.TraceIdRatioBasedSamplerConfig", "sampling_percentage": share},
    }
    provider = {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "timeout": "1s"},
            "service_name": SERVICE_NAME,
            "sampler": {
                "name": f"{samplers}.parent_based",
                "typed_config": {"@type": f"{kinds}.ParentBasedSamplerConfig", "wrapped_sampler": by_ratio},
            },
        },
    }
    # A request that the listener does not sample is never recorded, whatever the sampler decides.
    sampling = {
        "random_sampling": {"value": 100},
        "client_sampling": {"value": 0},
        "overall_sampling": {"value": 100},
    }
    url = f"%REQ(:SCHEME)%://%REQ(:AUTHORITY):{_MAX_PATH_CHARS}%%PATH(NQ):{_MAX_PATH_CHARS}%"
    tags: list[dict[str, object]] = [
        {"tag": "peer.address", "literal": {"value": _HIDDEN}},
        {"tag": "user_agent", "literal": {"value": _HIDDEN}},
        {"tag": "http.url", "value": url},
    ]
    limits = {"max_path_tag_length": _MAX_PATH_CHARS, "custom_tags": tags}
    return json.dumps({"provider": provider, **sampling, **limits})


def trace_cluster(traced: TracedDoor) -> str:
    """Return the cluster of the collector. Few requests may wait, so a collector that is away costs no memory."""
    socket = {"socket_address": {"address": traced.host, "port_value": traced.port}}
    http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return json.dumps(
        {
            "name": CLUSTER,
            "type": "STRICT_DNS",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket}}]}],
            },
            "typed_extension_protocol_options": {
                http2: {
                    "@type": f"type.googleapis.com/{http2}",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
            "circuit_breakers": {"thresholds": [{"max_pending_requests": 16, "max_requests": 64}]},
        }
    )
