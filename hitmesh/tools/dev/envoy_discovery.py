"""Renders the lines of Envoy's configuration with which Envoy finds the instances of a service."""

from __future__ import annotations

import json
from typing import Final

# Seconds between two look-ups of a DNS name.
DNS_REFRESH_S: Final = 5


def discovery(*, in_cluster: bool) -> str:
    """Return the lines of a cluster that tell Envoy how to find its instances.

    Args:
        in_cluster: whether the host of the cluster is a DNS name. An instance that left the DNS answer then gets no new
            calls at once, even if the instance still passes its health checks.
    """
    if not in_cluster:
        return "type: STATIC"
    rates = {
        "dns_refresh_rate": f"{DNS_REFRESH_S}s",
        "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": f"{DNS_REFRESH_S}s"},
    }
    kind = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"
    typed = {"@type": kind, **rates, "dns_lookup_family": "V4_PREFERRED"}
    found_by = {"name": "envoy.clusters.dns", "typed_config": typed}
    return f"cluster_type: {json.dumps(found_by)}\n    ignore_health_on_host_removal: true"
