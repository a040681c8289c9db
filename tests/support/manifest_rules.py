"""Rules for rendered manifests, part 1: the form of the objects, and the settings, probes and rights of the pods.

Each rule returns the problems that it finds. `manifest_traffic` has the rules for traffic and availability.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator

from collector.service import JSON_SERVICE
from collector.service import SERVICE as COLLECTOR_SERVICE
from collector.settings import CollectorSettings
from control.service import SERVICES as CONTROL_SERVICES
from control.settings import ControlSettings
from hitmesh.model.errors import RefusedError
from hitmesh.runtime.config import ServiceSettings, load
from hitmesh.runtime.described import variables_of
from hitmesh.runtime.health import LIVE, READY, STARTED
from hitmesh.tools.cli.__main__ import COMMANDS
from hitmesh.tools.dev import drain
from hitmesh.tools.dev.door_limits import PRODUCTION
from hitmesh.tools.dev.envoy import ADMIN_SOCKET
from processor.service import SERVICE as PROCESSOR_SERVICE
from processor.settings import ProcessorSettings
from reporter.service import SERVICES as REPORTER_SERVICES
from reporter.settings import ReporterSettings
from tests.support.manifests import (
    FOREIGN,
    K8S,
    PODS,
    WORKLOADS,
    Object,
    Objects,
    amount,
    config_maps_used,
    container,
    containers,
    labels,
    matches,
    named,
    of_kind,
    port,
    template,
    title,
    variables,
    workload,
)

ENVOY: Final = "envoy"
DOCTOR: Final = "doctor"
SETTINGS: Final[Mapping[str, type[ServiceSettings]]] = {
    "collector": CollectorSettings,
    "processor": ProcessorSettings,
    "settler": ProcessorSettings,
    "reporter": ReporterSettings,
    "control": ControlSettings,
}
HEALTH: Final[Mapping[str, tuple[str, ...]]] = {
    "collector": (COLLECTOR_SERVICE, JSON_SERVICE),
    "processor": (PROCESSOR_SERVICE,),
    "settler": (PROCESSOR_SERVICE,),
    "reporter": REPORTER_SERVICES,
    "control": CONTROL_SERVICES,
}
"""The names of gRPC services for which each service's health service answers."""
ENVOY_NEEDS_BYTES: Final = 256 << 20  # beside the heap: docs/limits.md
SECRET_TEXT: Final = re.compile(r"\bhm[sb]_[\w-]{20,}|BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]+:[^/\s@]+@")
HASHED: Final = re.compile(r".+-[a-z0-9]{10}")
PROBES: Final = {"startupProbe": STARTED, "readinessProbe": READY, "livenessProbe": LIVE}


@cache
def _schema() -> Object:
    schema: Object = json.loads((K8S / "schema.json").read_bytes())
    return schema


def schema(objects: Objects) -> Iterator[str]:
    """Every built-in object has the form that Kubernetes's API declares."""
    for item in objects:
        kind = f"{item['apiVersion']} {item['kind']}"
        if item["apiVersion"] in FOREIGN:
            continue
        definition = _schema()["kinds"].get(kind)
        if definition is None:
            yield f"{title(item)}: {kind} is not in k8s/schema.json"
            continue
        checked = Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": _schema()["$defs"]})
        yield from (f"{title(item)}: {error.json_path}: {error.message}" for error in checked.iter_errors(item))


def selectors(objects: Objects) -> Iterator[str]:
    """Every selector selects the pods for which the object exists, and every named port exists."""
    workloads = of_kind(objects, *WORKLOADS)
    for item in workloads:
        of_pod = template(item)["metadata"]["labels"]
        spread = template(item)["spec"].get("topologySpreadConstraints", [])
        if {each["topologyKey"] for each in spread} != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            yield f"{title(item)}: pods are not spread over zones and nodes"
        for selector in (item["spec"]["selector"], *(each["labelSelector"] for each in spread)):
            if not matches(selector, of_pod) or _count(selector, workloads) != 1:
                yield f"{title(item)}: {selector} does not select its own pods only"
    for item in of_kind(objects, "PodDisruptionBudget"):
        if _count(item["spec"]["selector"], workloads) != 1:
            yield f"{title(item)}: does not select one workload"
    for item in of_kind(objects, "Service"):
        selected = [each for each in workloads if matches({"matchLabels": item["spec"]["selector"]}, labels(each))]
        if len(selected) != 1:
            yield f"{title(item)}: selects {len(selected)} workloads"
            continue
        ports = {each["name"] for each in container(selected[0])["ports"]}
        yield from (
            f"{title(item)}: the container has no port {each['targetPort']}"
            for each in item["spec"]["ports"]
            if each["targetPort"] not in ports
        )
    for item in of_kind(workloads, "StatefulSet"):
        services = [each["metadata"]["name"] for each in of_kind(objects, "Service")]
        if item["spec"]["serviceName"] not in services:
            yield f"{title(item)}: its Service does not exist"


def _count(selector: Object, workloads: Objects) -> int:
    return sum(matches(selector, labels(item)) for item in workloads)


def settings(objects: Objects) -> Iterator[str]:
    """Every service accepts its environment, listens on the ports of its container, and gets no secret in clear."""
    for name, declared in SETTINGS.items():
        item = workload(objects, name)
        given = variables(objects, item)
        try:
            loaded = load(declared, given)
        except RefusedError as error:
            yield f"{title(item)}: {error.message}"
            continue
        prefix = str(declared.model_config["env_prefix"])
        yield from (
            f"{title(item)}: {variable} belongs to another service"
            for variable in given
            if variable.startswith("HITMESH_") and not variable.startswith(prefix)
        )
        for listen, of_container in ((loaded.listen, "grpc"), (loaded.metrics_listen, "metrics")):
            if listen != f"0.0.0.0:{port(item, of_container)}":
                yield f"{title(item)}: listens on {listen}, but the port {of_container} is {port(item, of_container)}"
        if isinstance(loaded, ProcessorSettings) and loaded.role != {"processor": "stream", "settler": "settler"}[name]:
            yield f"{title(item)}: role {loaded.role}"
        if loaded.node != "pod-0":
            yield f"{title(item)}: the name of the node is not the name of the pod"
        secret = {variable.name for variable in variables_of(declared, prefix) if variable.is_secret}
        referring = [each for each in container(item).get("env", []) if "secretKeyRef" in each.get("valueFrom", {})]
        in_clear = (secret & given.keys()) - {each["name"] for each in referring}
        yield from (f"{title(item)}: {variable} is a secret in clear" for variable in sorted(in_clear))
        if getattr(loaded, "open_reads", False):
            yield f"{title(item)}: reads are open to everybody"


def secrets(objects: Objects) -> Iterator[str]:
    """No object contains a key, a password or a private key."""
    yield from (f"{title(item)}: secrets belong outside of the repository" for item in of_kind(objects, "Secret"))
    for item in of_kind(objects, "ConfigMap", *PODS):
        if SECRET_TEXT.search(json.dumps(item)):
            yield f"{title(item)}: contains a secret"


def commands(objects: Objects) -> Iterator[str]:
    """Every command exists, and Envoy reads the file that is mounted."""
    for item in of_kind(objects, *PODS):
        command = container(item)["command"]
        if item["metadata"]["name"] == ENVOY:
            place = next(each["mountPath"] for each in container(item)["volumeMounts"] if each["name"] == "config")
            if command[:3] != ["envoy", "--config-path", f"{place}/envoy.yaml"]:
                yield f"{title(item)}: {command} does not read {place}/envoy.yaml"
            drains = container(item).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
            socket = f"{container(item)['workingDir']}/{ADMIN_SOCKET}"
            if drains[:4] != ["python", "-m", drain.__name__, socket]:
                yield f"{title(item)}: {drains} does not drain Envoy"
        elif item["kind"] == "CronJob":
            if command[0] != "hitmesh" or command[1] not in {*COMMANDS, DOCTOR}:
                yield f"{title(item)}: {command} is no command"
        elif command[:2] != ["python", "-m"] or not _is_program(command[2]):
            yield f"{title(item)}: {command} does not exist"


def _is_program(module: str) -> bool:
    has_package = importlib.util.find_spec(module) is not None
    return has_package and importlib.util.find_spec(f"{module}.__main__") is not None


def probes(objects: Objects) -> Iterator[str]:
    """Probes ask the port of the service, each for its own name of the health service."""
    for item in of_kind(objects, *WORKLOADS):
        name, only = item["metadata"]["name"], container(item)
        for probe in PROBES:
            action = only.get(probe, {}).get("httpGet" if name == ENVOY else "grpc")
            if "exec" in only.get(probe, {}):  # with certificates: manifest_tls
                continue
            if action is None:
                yield f"{title(item)}: {probe} is missing"
            elif name == ENVOY:
                path = action["path"]
                if action["port"] != "stats" or not re.fullmatch(_stats_paths(objects), path):
                    yield f"{title(item)}: {probe}: the listener stats does not serve {path}"
            else:
                if action["port"] != port(item, "grpc") or action.get("service") != PROBES[probe]:
                    yield f"{title(item)}: {probe}: {action} is no health check of {name}"


def envoy_config(objects: Objects) -> Any:
    """Return the configuration that the pods of Envoy read."""
    return _parsed(named(objects, "ConfigMap", ENVOY)["data"]["envoy.yaml"])


@cache
def _parsed(text: str) -> Any:
    # Both listeners define the same anchors, as YAML permits. The parser here refuses a second definition.
    public, mark, rest = text.partition("  - name: operators\n")
    for anchor in re.findall(r"&(\w+)", public):
        rest = re.sub(rf"([&*]){anchor}\b", rf"\g<1>{anchor}_again", rest)
    return yaml.load(public + mark + rest, Loader=yaml.CSafeLoader)


def _stats_paths(objects: Objects) -> str:
    (listener,) = [each for each in envoy_config(objects)["static_resources"]["listeners"] if each["name"] == "stats"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    host = next(each for each in manager["route_config"]["virtual_hosts"] if each["name"] == "stats")
    found: str = host["routes"][0]["match"]["safe_regex"]["regex"]
    return found


def restricted(objects: Objects) -> Iterator[str]:
    """Pods meet the profile `restricted`, and get no token of the API server."""
    accounts = {item["metadata"]["name"]: item for item in of_kind(objects, "ServiceAccount")}
    for item in of_kind(objects, "Namespace"):
        if item["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{title(item)}: does not enforce restricted"
    for item in of_kind(objects, *PODS):
        pod = template(item)["spec"]
        yield from (f"{title(item)}: {problem}" for problem in _pod_problems(pod))
        for each in (*containers(item), *pod.get("initContainers", [])):
            yield from (f"{title(item)}: {problem}" for problem in _container_problems(each))
        if accounts.get(pod.get("serviceAccountName"), {}).get("automountServiceAccountToken") is not False:
            yield f"{title(item)}: its account does not exist or mounts a token"


def _pod_problems(pod: Object) -> Iterator[str]:
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    yield from (f"has {field}" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field))
    if pod.get("automountServiceAccountToken") is not False:
        yield "mounts a token"
    if pod.get("enableServiceLinks") is not False:
        yield "gets variables for Service objects, which may have the prefix of a setting"
    for volume in pod.get("volumes", []):
        if not {"configMap", "emptyDir", "secret", "projected"} & volume.keys():
            yield f"volume {volume['name']} is not permitted"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} has no limit"


def _container_problems(each: Object) -> Iterator[str]:
    context = each.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may get more privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "has capabilities"
    if context.get("runAsUser", 1) == 0 or context.get("runAsNonRoot") is False:
        yield "runs as root"
    if any("hostPort" in used for used in each.get("ports", [])):
        yield "uses a port of the node"


def resources(objects: Objects) -> Iterator[str]:
    """Every container has requests and limits that agree with its volumes, its threads and the limits of Envoy."""
    for item in of_kind(objects, *PODS):
        requests, limits = (container(item).get("resources", {}).get(kind, {}) for kind in ("requests", "limits"))
        missing = [
            kind for kind in ("cpu", "memory", "ephemeral-storage") if kind not in requests or kind not in limits
        ]
        if missing:
            yield f"{title(item)}: no request or no limit for {', '.join(missing)}"
            continue
        yield from (
            f"{title(item)}: requests more {kind} than its limit" for kind in requests if _over(requests, limits, kind)
        )
        volumes = template(item)["spec"].get("volumes", [])
        disk = sum(amount(volume["emptyDir"].get("sizeLimit", 0)) for volume in volumes if "emptyDir" in volume)
        if disk > amount(limits["ephemeral-storage"]):
            yield f"{title(item)}: its volumes may grow beyond the limit of ephemeral-storage"
        cores = amount(limits["cpu"])
        if item["metadata"]["name"] == ENVOY:
            if amount(limits["memory"]) < PRODUCTION.max_heap_bytes + ENVOY_NEEDS_BYTES:
                yield f"{title(item)}: the limit of memory is too low for the heap"
            if float(container(item)["command"][-1]) > cores:
                yield f"{title(item)}: more threads than cores"
        elif float(variables(objects, item).get("POLARS_MAX_THREADS", "inf")) > cores:
            yield f"{title(item)}: more threads of Polars than cores"


def _over(requests: Object, limits: Object, kind: str) -> bool:
    return amount(requests[kind]) > amount(limits[kind])


def config_maps(objects: Objects) -> Iterator[str]:
    """Pods use ConfigMaps that exist, cannot change, and have a hash of their content in the name."""
    existing = {item["metadata"]["name"]: item for item in of_kind(objects, "ConfigMap")}
    used = {name for item in of_kind(objects, *PODS) for name in config_maps_used(item)}
    yield from (f"ConfigMap {name} does not exist" for name in used - existing.keys())
    for name, item in existing.items():
        if name not in used:
            yield f"ConfigMap {name} is not used"
        if item.get("immutable") is not True or not HASHED.fullmatch(name):
            yield f"ConfigMap {name} may change without a restart of its pods"


def images(objects: Objects) -> Iterator[str]:
    """All containers run the same version."""
    found = {each["image"] for item in of_kind(objects, *PODS) for each in containers(item)}
    if len(found) != 1 or any(not re.search(r":(?!latest$)[\w.-]+$|@sha256:[0-9a-f]{64}$", image) for image in found):
        yield f"the images are not one version: {sorted(found)}"


def places(objects: Objects) -> Iterator[str]:
    """All objects are in the namespace, which is one of the objects, and have the label of the project."""
    (space,) = of_kind(objects, "Namespace")
    for item in objects:
        if item is not space and item["metadata"].get("namespace") != space["metadata"]["name"]:
            yield f"{title(item)}: not in {title(space)}"
        if item["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "hitmesh":
            yield f"{title(item)}: has no label part-of"
