"""Reduce the JSON schema of the Kubernetes API to the kinds that k8s/ uses, and write it for the tests.

The input is the file `_definitions.json` of a `-local-strict` directory in the package kubernetes-validate, which is
too large to be a dependency. Objects in a strict schema have no unknown fields.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
SCHEMA: Final = ROOT / "k8s" / "schema.json"
KINDS: Final = {
    "apps/v1 Deployment": "io.k8s.api.apps.v1.Deployment",
    "apps/v1 StatefulSet": "io.k8s.api.apps.v1.StatefulSet",
    "autoscaling/v2 HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "batch/v1 CronJob": "io.k8s.api.batch.v1.CronJob",
    "networking.k8s.io/v1 NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "policy/v1 PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
    "v1 ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "v1 Namespace": "io.k8s.api.core.v1.Namespace",
    "v1 Service": "io.k8s.api.core.v1.Service",
    "v1 ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
}
"""The definition for each API version and kind."""


def reduced(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions that the kinds need, without descriptions and without the field `status`."""
    kept: dict[str, Any] = {}
    todo = list(KINDS.values())
    while todo:
        name = todo.pop()
        if name not in kept:
            kept[name] = _bare(definitions[name])
            if name in KINDS.values():
                kept[name]["properties"].pop("status", None)
            todo += _references(kept[name])
    return dict(sorted(kept.items()))


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    bare = {key: _bare(value) for key, value in schema.items() if not _is_prose(key, value)}
    if isinstance(bare.get("$ref"), str):
        bare["$ref"] = "#/$defs/" + bare["$ref"].rpartition("/")[2]
    return bare


def _is_prose(key: str, value: Any) -> bool:
    return (key == "description" and isinstance(value, str)) or key.startswith("x-kubernetes")


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def main() -> int:
    """Write the reduced schema; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("definitions", type=Path, help="the file _definitions.json")
    parser.add_argument("version", help="the version of Kubernetes, such as v1.34.0")
    given = parser.parse_args()
    definitions = json.loads(given.definitions.read_bytes())["$defs"]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Kubernetes {given.version}, reduced by dev/make_k8s_schema.py",
        "kinds": KINDS,
        "$defs": reduced(definitions),
    }
    SCHEMA.write_text(json.dumps(schema, separators=(",", ":")) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
