"""Asks Envoy which clusters have a healthy instance."""

from __future__ import annotations

import http.client
import json

from hitmesh.mesh.envoy import Address

TIMEOUT_S = 1.0


def unhealthy_clusters(stats: Address, wanted: frozenset[str]) -> frozenset[str]:
    """Returns the wanted clusters without a healthy instance; all of them while Envoy does not answer."""
    connection = http.client.HTTPConnection(stats.host, stats.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/clusters?format=json")
        statuses = json.loads(connection.getresponse().read())["cluster_statuses"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return wanted
    finally:
        connection.close()
    healthy = {status["name"] for status in statuses if any(map(_is_healthy, status.get("host_statuses", ())))}
    return wanted - healthy


def _is_healthy(host: dict[str, object]) -> bool:
    status = host.get("health_status")
    return isinstance(status, dict) and status.get("eds_health_status") == "HEALTHY" and len(status) == 1
