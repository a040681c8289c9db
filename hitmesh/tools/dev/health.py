"""Probes Envoy for the health of clusters and instances, and an instance for the causes of its health."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hitmesh.tools.dev.envoy import Address

TIMEOUT_S = 1.0
HEALTHY, SILENT, UNHEALTHY = "healthy", "silent", "unhealthy"


class Causes(NamedTuple):
    """Why a process is not ready, and whether the only cause is the recovery of its state."""

    text: str
    recovers: bool = False


def unhealthy_clusters(stats: Address, wanted: frozenset[str]) -> frozenset[str]:
    """Return the clusters in `wanted` that have no healthy instance.

    If Envoy does not answer, the function returns all clusters in `wanted`.
    """
    statuses = _statuses(stats) or []
    healthy = {status["name"] for status in statuses if any(map(_is_healthy, status.get("host_statuses", ())))}
    return wanted - healthy


def silent_instances(stats: Address) -> frozenset[Address] | None:
    """Return the instances whose health checks by Envoy time out, or None if Envoy itself does not answer.

    The result leaves out instances that report themselves unhealthy or refuse connections: these instances answered.
    """
    statuses = _statuses(stats)
    if statuses is None:
        return None
    hosts = [host for status in statuses for host in status.get("host_statuses", ())]
    return frozenset(_address(host) for host in hosts if host.get("health_status", {}).get("active_hc_timeout"))


def instance_checks(stats: Address) -> Mapping[Address, str] | None:
    """Return the health of each instance that Envoy checks: HEALTHY, SILENT or UNHEALTHY; None without an answer."""
    statuses = _statuses(stats)
    if statuses is None:
        return None
    return {_address(host): _check_of(host) for status in statuses for host in status.get("host_statuses", ())}


def causes_of(metrics: Address) -> Causes:
    """Return why a process is not ready, in the process's own words.

    Args:
        metrics: the process's listener for metrics and health.
    """
    connection = http.client.HTTPConnection(metrics.host, metrics.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        found = json.loads(connection.getresponse().read())
        return Causes("; ".join(found["causes"]), recovers=bool(found["recovers"]))
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return Causes(f"the process does not answer ({type(error).__name__})")
    finally:
        connection.close()


def only_recover(causes: Iterable[Causes]) -> bool:
    """Return whether some processes are not ready, and each of them only recovers its state."""
    ill = [each for each in causes if each.text]
    return bool(ill) and all(each.recovers for each in ill)


class Silence:
    """Tracks how long each process has been silent (has answered no health check).

    Callers pass the current time, because this class reads no clock.

    Args:
        limit_s: a process counts as hanging if it answers no health check for more than `limit_s` seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since_s: dict[str, float] = {}
        self._spared_until_s: dict[str, float] = {}

    def hanging(self, silent: Iterable[str], now_s: float) -> list[str]:
        """Return the processes that have answered no check for longer than the limit."""
        looked_at = [name for name in silent if now_s >= self._spared_until_s.get(name, now_s)]
        self._since_s = {name: self._since_s.get(name, now_s) for name in looked_at}
        return [name for name, since_s in self._since_s.items() if now_s - since_s > self._limit_s]

    def spare(self, name: str, until_s: float) -> None:
        """Ignore missing answers of a restarting process until the given time."""
        self._spared_until_s[name] = until_s


def _statuses(stats: Address) -> list[Any] | None:
    connection = http.client.HTTPConnection(stats.host, stats.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/clusters?format=json")
        statuses = json.loads(connection.getresponse().read())["cluster_statuses"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return None
    finally:
        connection.close()
    return list(statuses)


def _address(host: dict[str, Any]) -> Address:
    place = host["address"].get("socket_address", {})
    return Address(str(place.get("address", "")), int(place.get("port_value", 0)))


def _check_of(host: dict[str, Any]) -> str:
    if _is_healthy(host):
        return HEALTHY
    return SILENT if host.get("health_status", {}).get("active_hc_timeout") else UNHEALTHY


def _is_healthy(host: dict[str, object]) -> bool:
    status = host.get("health_status")
    return isinstance(status, dict) and status.get("eds_health_status") == "HEALTHY" and len(status) == 1
