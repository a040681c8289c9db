"""The values of the Helm chart: the fields of the manifests that values replace, and the default values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
Objects = list[Object]

WORKLOADS: Final = ("Deployment", "StatefulSet", "CronJob")
DOCTOR: Final = "doctor"
SERVICES: Final = ("collector", "processor", "settler", "reporter", "control")
SCALED: Final = ("collector", "settler", "reporter", "envoy")
TOKEN_SETTINGS: Final = ("JWKS", "JWT_ISSUER", "JWT_AUDIENCES")
STORES: Final = ("kafka", "cassandra", "broker", "coordinator")
KEYS_POLICY: Final = "keys-of-the-issuer"


def find(objects: Objects, kind: str, name: str) -> Object:
    """Return the object; the hash at the end of a ConfigMap's name is left out.

    Raises:
        ValueError: there is no such object, or several.
    """
    (found,) = [item for item in objects if item["kind"] == kind and base_name(item) == name]
    return found


def base_name(item: Object) -> str:
    """Return the name without the hash of a ConfigMap."""
    name: str = item["metadata"]["name"]
    return name.rpartition("-")[0] if item["kind"] == "ConfigMap" else name


def container(objects: Objects, name: str) -> Object:
    """Return the only container of a workload."""
    (workload,) = [item for item in objects if item["kind"] in WORKLOADS and base_name(item) == name]
    (only,) = pod(workload)["containers"]
    found: Object = only
    return found


def pod(workload: Object) -> Object:
    """Return the specification of the pods of a workload."""
    spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
    found: Object = spec["template"]["spec"]
    return found


def values_of(objects: Objects, hosts: tuple[str, ...]) -> Object:
    """Return the default values, with which the chart renders the objects themselves."""
    url = urlsplit(find(objects, "ConfigMap", "stores")["data"]["url"])
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    stores: Object = {name: {"address": query[name], "port": port_of(query[name])} for name in STORES}
    scaled, job = find(objects, "ScaledObject", "processor")["spec"], find(objects, "CronJob", DOCTOR)
    values: Object = {
        "namespace": {"create": True},
        "image": container(objects, "collector")["image"],
        "hosts": list(hosts),
        "stores": stores | {"options": "".join(f"&{name}={query[name]}" for name in query if name not in STORES)},
        "tokens": _tokens(objects),
        "service": {"type": find(objects, "Service", "hitmesh")["spec"]["type"]},
        "keda": {"enabled": True},
    }
    for name in (*SERVICES, "envoy"):
        values[name] = {"resources": container(objects, name)["resources"]}
        if name in SERVICES:
            values[name]["settings"] = plain_settings(objects, name)
        if name in SCALED:
            spec = find(objects, "HorizontalPodAutoscaler", name)["spec"]
            values[name] |= {"minReplicas": spec["minReplicas"], "maxReplicas": spec["maxReplicas"]}
    values["processor"] |= {
        "replicas": scaled["minReplicaCount"],
        "minReplicas": scaled["minReplicaCount"],
        "maxReplicas": scaled["maxReplicaCount"],
    }
    (secret,) = [volume["secret"]["secretName"] for volume in pod(job)["volumes"] if "secret" in volume]
    values[DOCTOR] = {
        "enabled": True,
        "schedule": job["spec"]["schedule"],
        "secret": secret,
        "resources": container(objects, DOCTOR)["resources"],
    }
    values["control"]["replicas"] = find(objects, "Deployment", "control")["spec"]["replicas"]
    return values


def port_of(address: str) -> int:
    """Return the port of the first server in an address."""
    return int(address.split(",")[0].rpartition(":")[2])


def _tokens(objects: Objects) -> Object:
    data = find(objects, "ConfigMap", "reporter")["data"]
    keys = urlsplit(data["HITMESH_REPORTER_JWKS"])
    return {
        "enabled": True,
        "host": keys.hostname,
        "path": keys.path,
        "issuer": data["HITMESH_REPORTER_JWT_ISSUER"],
        "audiences": data["HITMESH_REPORTER_JWT_AUDIENCES"].split(","),
    }


def plain_settings(objects: Objects, name: str) -> dict[str, str]:
    """Return the settings of a service without those of tokens, which are values of their own."""
    data: Mapping[str, str] = find(objects, "ConfigMap", name)["data"]
    return {key: value for key, value in data.items() if not key.endswith(TOKEN_SETTINGS)}


@dataclass(frozen=True)
class Place:
    """A field of an object, which a template expression replaces."""

    holder: Any
    key: str | int
    expression: str

    def put(self, value: object) -> None:
        """Replace the field."""
        self.holder[self.key] = value


def places(objects: Objects) -> Iterator[Place]:
    """Yield the fields of the objects that depend on values, in no particular order."""
    for item in objects:
        yield from _of_metadata(item)
        for kind, rule in _RULES.items():
            if item["kind"] == kind:
                yield from rule(item)


def _of_metadata(item: Object) -> Iterator[Place]:
    if item["kind"] == "Namespace":
        yield Place(item["metadata"], "name", "toJson .Release.Namespace")
    else:
        yield Place(item["metadata"], "namespace", "toJson .Release.Namespace")


def _of_config_map(item: Object) -> Iterator[Place]:
    name = base_name(item)
    yield Place(item["metadata"], "name", f'include "hitmesh.name" (list . "{name}")')
    yield Place(item, "data", f'include "hitmesh.data.{name}" .')


def _of_workload(item: Object) -> Iterator[Place]:
    name = base_name(item)
    spec = pod(item)
    (only,) = spec["containers"]
    yield Place(only, "image", "toJson .Values.image")
    yield Place(only, "resources", f"toJson .Values.{name}.resources")
    if "replicas" in item["spec"]:
        yield Place(item["spec"], "replicas", f"toJson .Values.{name}.replicas")
    references = [source["configMapRef"] for source in only.get("envFrom", [])]
    references += [
        variable["valueFrom"]["configMapKeyRef"]
        for variable in only.get("env", [])
        if "configMapKeyRef" in variable.get("valueFrom", {})
    ]
    references += [volume["configMap"] for volume in spec["volumes"] if "configMap" in volume]
    for reference in references:
        yield Place(reference, "name", f'include "hitmesh.name" (list . "{reference["name"].rpartition("-")[0]}")')


def _of_job(item: Object) -> Iterator[Place]:
    yield from _of_workload(item)
    yield Place(item["spec"], "schedule", f"toJson .Values.{base_name(item)}.schedule")
    for volume in pod(item)["volumes"]:
        if "secret" in volume:
            yield Place(volume["secret"], "secretName", f"toJson .Values.{base_name(item)}.secret")


def _of_autoscaler(item: Object) -> Iterator[Place]:
    for key in ("minReplicas", "maxReplicas"):
        yield Place(item["spec"], key, f"toJson .Values.{base_name(item)}.{key}")


def _of_scaled_object(item: Object) -> Iterator[Place]:
    yield Place(item["spec"], "minReplicaCount", "toJson .Values.processor.minReplicas")
    yield Place(item["spec"], "maxReplicaCount", "toJson .Values.processor.maxReplicas")
    yield Place(item["spec"]["triggers"][0]["metadata"], "bootstrapServers", "toJson .Values.stores.kafka.address")


def _of_service(item: Object) -> Iterator[Place]:
    if "type" in item["spec"]:
        yield Place(item["spec"], "type", "toJson .Values.service.type")


def _of_network_policy(item: Object) -> Iterator[Place]:
    # In the manifests, the four stores have four different ports.
    for rule in item["spec"].get("egress", []):
        if any("hitmesh.io/stores" in str(peer) for peer in rule["to"]):
            for port in rule["ports"]:
                yield Place(port, "port", f"toJson .Values.stores.{STORE_OF_PORT[port['port']]}.port")


STORE_OF_PORT: Final = {9092: "kafka", 9042: "cassandra", 8082: "broker", 8081: "coordinator"}
_RULES: Final[Mapping[str, Callable[[Object], Iterator[Place]]]] = {
    "ConfigMap": _of_config_map,
    "CronJob": _of_job,
    "Deployment": _of_workload,
    "StatefulSet": _of_workload,
    "HorizontalPodAutoscaler": _of_autoscaler,
    "ScaledObject": _of_scaled_object,
    "Service": _of_service,
    "NetworkPolicy": _of_network_policy,
}
