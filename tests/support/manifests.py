"""Render the manifests in k8s/ with kustomize, and read the objects."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dev import kustomize

ROOT: Final = Path(__file__).resolve().parents[2]
K8S: Final = ROOT / "k8s"
WORKLOADS: Final = ("Deployment", "StatefulSet")
PODS: Final = (*WORKLOADS, "CronJob")
"""The kinds whose objects make pods."""
FOREIGN: Final = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1", "cert-manager.io/v1")
"""Versions of kinds that Kubernetes does not have; manifest_traffic and manifest_tls check their fields."""
COMPONENT: Final = "app.kubernetes.io/component"

Object = dict[str, Any]
Objects = list[Object]


@cache
def rendered(directory: str) -> str:
    """Return the objects of a directory in k8s/ as YAML. Skip the test if there is no kustomize."""
    if kustomize.command() is None:
        pytest.skip(kustomize.MISSING)
    return kustomize.build(K8S / directory)


@cache
def _parsed(directory: str) -> Objects:
    return [item for item in yaml.load_all(rendered(directory), Loader=yaml.CSafeLoader) if item]


def combined(place: Path, overlay: str, *components: str) -> Objects:
    """Return the objects of an overlay with components.

    Args:
        place: an empty directory.
        overlay: directory in k8s/.
        components: directories in k8s/components/.
    """
    if kustomize.command() is None:
        pytest.skip(kustomize.MISSING)
    root = os.path.relpath(K8S, place.resolve())
    images = yaml.safe_load((K8S / overlay / "kustomization.yaml").read_text(encoding="utf-8"))["images"]
    text = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{root}/{overlay}"],
        "components": [f"{root}/components/{name}" for name in components],
        "images": images,
    }
    (place / "kustomization.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    return [item for item in yaml.load_all(kustomize.build(place), Loader=yaml.CSafeLoader) if item]


def objects_of(directory: str) -> Objects:
    """Return new objects, which the caller may change."""
    return copy.deepcopy(_parsed(directory))


def kustomize_objects(directory: Path, component: str) -> Objects:
    """Return the objects of the production overlay with another component. Files are written into `directory`."""
    if kustomize.command() is None:
        pytest.skip(kustomize.MISSING)
    (directory / "size").mkdir()
    (directory / "size" / "kustomization.yaml").write_text(component, encoding="utf-8")
    # kustomize refuses absolute paths.
    production = os.path.relpath(K8S / "overlays" / "production", directory)
    overlay = f"resources: [{production}]\ncomponents: [size]\n"
    (directory / "kustomization.yaml").write_text(overlay, encoding="utf-8")
    return [item for item in yaml.load_all(kustomize.build(directory), Loader=yaml.CSafeLoader) if item]


def of_kind(objects: Iterable[Object], *kinds: str) -> Objects:
    return [item for item in objects if item["kind"] in kinds]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """Return the object; the hash at the end of a ConfigMap's name may be left out."""
    (found,) = [item for item in of_kind(objects, kind) if item["metadata"]["name"] in (name, _hashed(item, name))]
    return found


def _hashed(item: Object, name: str) -> str:
    actual: str = item["metadata"]["name"]
    return actual if item["kind"] == "ConfigMap" and actual.rpartition("-")[0] == name else name


def title(item: Object) -> str:
    return f"{item['kind']} {item['metadata']['name']}"


def workload(objects: Iterable[Object], name: str) -> Object:
    (found,) = [item for item in of_kind(objects, *PODS) if item["metadata"]["name"] == name]
    return found


def template(item: Object) -> Object:
    spec: Object = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
    pod: Object = spec["template"]
    return pod


def labels(item: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = template(item)["metadata"]["labels"]
    return found


def containers(item: Object) -> Sequence[Object]:
    found: Sequence[Object] = template(item)["spec"]["containers"]
    return found


def container(item: Object) -> Object:
    (only,) = containers(item)
    return only


def port(item: Object, name: str) -> int:
    """Return the number of a named port of a workload's container."""
    (found,) = [each["containerPort"] for each in container(item)["ports"] if each["name"] == name]
    return int(found)


def matches(selector: Object | None, with_labels: Mapping[str, str]) -> bool:
    """Return whether a label selector selects an object with these labels; the empty selector selects all."""
    selector = selector or {}
    exact = all(with_labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(_fits(rule, with_labels) for rule in selector.get("matchExpressions", []))


def _fits(rule: Object, with_labels: Mapping[str, str]) -> bool:
    assert rule["operator"] == "In", f"the tests know only the operator In: {rule}"
    return with_labels.get(rule["key"]) in rule["values"]


def variables(objects: Iterable[Object], item: Object) -> dict[str, str]:
    """Return the environment that Kubernetes gives to a workload's container; fields of the pod become `pod-0`."""
    known, only = list(objects), container(item)
    found: dict[str, str] = {}
    for source in only.get("envFrom", []):
        found |= named(known, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in only.get("env", []):
        origin = variable.get("valueFrom", {})
        if "configMapKeyRef" in origin:
            reference = origin["configMapKeyRef"]
            found[variable["name"]] = named(known, "ConfigMap", reference["name"])["data"][reference["key"]]
        else:
            found[variable["name"]] = "pod-0" if origin else variable["value"]
    return found


def config_maps_used(item: Object) -> Iterator[str]:
    """Yield the names of the ConfigMaps that a workload uses."""
    for source in container(item).get("envFrom", []):
        yield source["configMapRef"]["name"]
    for variable in container(item).get("env", []):
        if "configMapKeyRef" in variable.get("valueFrom", {}):
            yield variable["valueFrom"]["configMapKeyRef"]["name"]
    for volume in template(item)["spec"].get("volumes", []):
        if "configMap" in volume:
            yield volume["configMap"]["name"]


def amount(quantity: str | int) -> float:
    """Return a quantity such as 500m or 2Gi as a number."""
    units = {"m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "": 1.0}
    text = str(quantity)
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * units[unit]


def pause_s(item: Object) -> float:
    """Return the seconds between the decision to stop a pod and SIGTERM."""
    hook = container(item).get("lifecycle", {}).get("preStop", {})
    return float(hook["exec"]["command"][-1] if "exec" in hook else hook.get("sleep", {}).get("seconds", 0))
