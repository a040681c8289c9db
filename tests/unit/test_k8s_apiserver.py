"""Test that a real API server accepts the manifests, changes nothing at the second time, and refuses broken objects.

HITMESH_KUBE_APISERVER names the binary, which dev/kube/build.sh builds. The tests also need etcd and kubectl.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.kube import Kube, running
from tests.support.manifests import (
    FOREIGN,
    PODS,
    Object,
    Objects,
    combined,
    container,
    objects_of,
    of_kind,
    template,
    workload,
)

VARIABLE: Final = "HITMESH_KUBE_APISERVER"
# An overlay, and components that are added.
PLACES: Final = (
    "overlays/dev",
    "overlays/production",
    "overlays/dev doctor",
    "overlays/dev telemetry",
    "overlays/dev otlp",
    "overlays/dev keda",
    "overlays/production telemetry",
)
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    binary = os.environ.get(VARIABLE, "")
    if not binary:
        pytest.skip(f"{VARIABLE} names no binary: dev/kube/build.sh builds one in 7 minutes")
    missing = [program for program in ("etcd", "kubectl") if shutil.which(program) is None]
    assert not missing, f"{VARIABLE} is set, but {', '.join(missing)} is missing"
    with running(Path(binary), tmp_path_factory.mktemp("kube")) as server:
        yield server


def built_in(place: str, directory: Path | None = None) -> Objects:
    """Return the objects of an overlay, after a blank also those of a component, without kinds of other operators."""
    overlay, *components = place.split()
    objects = combined(directory, overlay, *components) if directory and components else objects_of(overlay)
    return [item for item in objects if item["apiVersion"] not in FOREIGN]


def pods_of(objects: Objects) -> Objects:
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": item["metadata"]["name"], "namespace": item["metadata"]["namespace"]},
            "spec": template(item)["spec"],
        }
        for item in of_kind(objects, *PODS)
    ]


@pytest.mark.parametrize("place", PLACES)
def test_objects_are_accepted_and_applied_twice_without_a_difference(kube: Kube, place: str, tmp_path: Path) -> None:
    objects = built_in(place, tmp_path)
    first = kube.apply(of_kind(objects, "Namespace"))
    assert first.returncode == 0, first.stderr
    tried = kube.apply(objects, "--dry-run=server")
    assert tried.returncode == 0, tried.stderr
    assert "Warning" not in tried.stderr
    applied = kube.apply(objects)
    assert applied.returncode == 0, applied.stderr
    difference = kube.kubectl("diff", "--server-side", "--force-conflicts", "-f", "-", objects=objects)
    assert difference.returncode == 0, difference.stdout


def test_pods_of_all_services_are_admitted_by_the_profile_restricted(kube: Kube) -> None:
    objects = built_in("overlays/production")
    assert len(pods_of(objects)) == 7
    kube.apply(of_kind(objects, "Namespace"))
    tried = kube.apply(pods_of(objects), "--dry-run=server")
    assert tried.returncode == 0, tried.stderr


VIOLATIONS: Final[dict[str, Callable[[Object], object]]] = {
    "root": lambda pod: pod["spec"]["securityContext"].update(runAsUser=0, runAsNonRoot=False),
    "seccomp": lambda pod: pod["spec"]["securityContext"].pop("seccompProfile"),
    "host path": lambda pod: pod["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    "privileges": lambda pod: pod["spec"]["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
    "capabilities": lambda pod: pod["spec"]["containers"][0]["securityContext"].pop("capabilities"),
}


@pytest.mark.parametrize("name", ["collector", "doctor"])
@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_pod_that_violates_restricted_is_refused(kube: Kube, violation: str, name: str) -> None:
    objects = built_in("overlays/production")
    kube.apply(of_kind(objects, "Namespace"))
    (pod,) = [each for each in pods_of(objects) if each["metadata"]["name"] == name]
    VIOLATIONS[violation](pod)
    refused = kube.apply([pod], "--dry-run=server")
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted' in refused.stderr


BROKEN: Final[dict[str, tuple[Callable[[Objects], object], str]]] = {
    "unknown field": (lambda o: container(workload(o, "control")).update(imagePulPolicy="Always"), "imagePulPolicy"),
    "port": (lambda o: container(workload(o, "control"))["ports"][0].update(containerPort=70_000), "containerPort"),
    "quantity": (lambda o: container(workload(o, "control"))["resources"]["limits"].update(memory="1 GB"), "quantit"),
    "schedule": (lambda o: workload(o, "doctor")["spec"].update(schedule="every hour"), "schedule"),
    "selector": (lambda o: template(workload(o, "control"))["metadata"].update(labels={"x": "y"}), "selector"),
}


@pytest.mark.parametrize("why", BROKEN)
def test_an_object_with_a_broken_field_is_refused(kube: Kube, why: str) -> None:
    objects = built_in("overlays/production")
    kube.apply(of_kind(objects, "Namespace"))
    mutate, named_in_error = BROKEN[why]
    mutate(objects)
    refused = kube.apply([workload(objects, name) for name in ("control", "doctor")], "--dry-run=server")
    assert refused.returncode != 0
    assert named_in_error in refused.stderr
