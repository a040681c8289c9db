"""Write a plan as a kustomize patch for `k8s/overlays/production`. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

from hitmesh.tools.capacity.sizes import MIN_PODS, Pods, Sizes

AUTOSCALED: Final = ("envoy", "collector", "settler", "reporter")
"""Services whose number of pods a HorizontalPodAutoscaler owns (`k8s/base`)."""
_GIB: Final = 2**30
_OTHER_GIB: Final = 1
"""Disk of a processor for everything but kept hits."""


def component_for(sizes: Sizes) -> dict[str, Any]:
    """Return a kustomize component that gives the services the planned pods, memory and disk.

    A service with an autoscaler keeps it: the planned pods become the autoscaler's maximum, and the pods that the mean
    rate needs become its minimum. The component never sets the number of pods that an autoscaler owns. The maximum of
    processors is the number of hits partitions.

    Example:
        >>> from hitmesh.tools.capacity.load import Load
        >>> from hitmesh.tools.capacity.sizes import sizes_for
        >>> component = component_for(sizes_for(Load(2e9, 1e6, 400)))
        >>> component["patches"][0]["target"]
        {'kind': 'HorizontalPodAutoscaler', 'name': 'envoy'}
    """
    patches = [patch for pods in sizes.pods for patch in _patches_of(pods, sizes)]
    return {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "patches": patches}


def _patches_of(pods: Pods, sizes: Sizes) -> list[dict[str, Any]]:
    low = max(MIN_PODS, math.ceil(pods.pods / sizes.load.peak))
    if pods.name in AUTOSCALED:
        values: dict[str, Any] = {"/spec/minReplicas": low, "/spec/maxReplicas": max(pods.pods, low)}
        return [_patch("HorizontalPodAutoscaler", pods.name, values)]
    if pods.name == "processor":
        values = {"/spec/minReplicaCount": low, "/spec/maxReplicaCount": sizes.hits_partitions}
        return [_patch("ScaledObject", pods.name, values), _patch("StatefulSet", pods.name, _state_of(pods))]
    return []


def _state_of(pods: Pods) -> dict[str, Any]:
    resources = "/spec/template/spec/containers/0/resources"
    memory, cache = math.ceil(pods.memory_bytes / _GIB), math.ceil(pods.cache_bytes / _GIB)
    # The limits leave room for the pages of kept hits in memory, and for files that are being merged.
    return {
        f"{resources}/requests/memory": f"{memory}Gi",
        f"{resources}/limits/memory": f"{2 * memory}Gi",
        f"{resources}/requests/ephemeral-storage": f"{cache + _OTHER_GIB}Gi",
        f"{resources}/limits/ephemeral-storage": f"{math.ceil(1.5 * cache) + 2 * _OTHER_GIB}Gi",
        "/spec/template/spec/volumes/1/emptyDir/sizeLimit": f"{math.ceil(1.5 * cache) + _OTHER_GIB}Gi",
    }


def _patch(kind: str, name: str, values: dict[str, Any]) -> dict[str, Any]:
    operations = "".join(f"- {{op: replace, path: {path}, value: {value}}}\n" for path, value in values.items())
    return {"target": {"kind": kind, "name": name}, "patch": operations}
