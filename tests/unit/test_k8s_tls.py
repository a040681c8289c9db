"""Test the component for certificates: on an overlay whose Envoy has `"tls": true`, as its README describes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml

from dev import kustomize, make_k8s
from hitmesh.tools.dev.envoy_tls import secrets
from tests.support import manifest_rules as rules
from tests.support import manifest_traffic as traffic
from tests.support.manifest_tls import certificates
from tests.support.manifests import K8S, Object, Objects, combined, container, named, of_kind, template, workload


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Return the development overlay with certificates."""
    place = tmp_path_factory.mktemp("tls")
    combined(place, "overlays/dev", "tls")
    values = json.loads((K8S / "base" / make_k8s.VALUES).read_bytes()) | {"tls": True}
    (place / make_k8s.VALUES).write_text(json.dumps(values), encoding="utf-8")
    assert make_k8s.main([str(place)]) == 0
    file = place / "kustomization.yaml"
    text = yaml.safe_load(file.read_text(encoding="utf-8"))
    files = [make_k8s.CONFIG, *(each.name for each in secrets(make_k8s.TLS))]
    text["configMapGenerator"] = [{"name": "envoy", "behavior": "replace", "files": files}]
    text["generatorOptions"] = {"immutable": True}
    file.write_text(yaml.safe_dump(text), encoding="utf-8")
    return [item for item in yaml.load_all(kustomize.build(place), Loader=yaml.CSafeLoader) if item]


@pytest.fixture
def objects(rendered: Objects) -> Objects:
    return copy.deepcopy(rendered)


def test_every_part_has_its_certificate_and_is_probed_with_it(objects: Objects) -> None:
    assert list(certificates(objects)) == []
    for rule in (rules.schema, rules.settings, rules.secrets, rules.commands, rules.probes, rules.restricted):
        assert list(rule(objects)) == []
    for rule in (rules.config_maps, rules.places, traffic.traffic, traffic.envoy_clusters, traffic.tokens):
        assert list(rule(objects)) == []


def _data(objects: Objects, name: str) -> Object:
    found: Object = named(objects, "ConfigMap", name)["data"]
    return found


def _volume(objects: Objects, name: str) -> Object:
    (found,) = [each for each in template(workload(objects, name))["spec"]["volumes"] if "secret" in each]
    secret: Object = found["secret"]
    return secret


def _certificate(objects: Objects, name: str) -> Object:
    found: Object = named(objects, "Certificate", name)["spec"]
    return found


BROKEN: Final[dict[str, Callable[[Objects], object]]] = {
    "certificate of another part": lambda o: _volume(o, "reporter").update(secretName="control-tls"),
    "other URI": lambda o: _certificate(o, "envoy").update(uris=["spiffe://hitmesh/collector"]),
    "no client": lambda o: _certificate(o, "envoy")["usages"].remove("client auth"),
    "no certificate": lambda o: o.remove(named(o, "Certificate", "control")),
    "everybody": lambda o: _data(o, "collector").update(HITMESH_COLLECTOR_TLS_PEERS="spiffe://hitmesh/client"),
    "other directory": lambda o: _data(o, "collector").update(HITMESH_COLLECTOR_TLS_DIR="/tls"),
    "probe without a certificate": lambda o: container(workload(o, "settler"))["livenessProbe"].pop("exec"),
    "probe of another service": lambda o: container(workload(o, "control"))["readinessProbe"]["exec"][
        "command"
    ].__setitem__(-1, "hitmesh.Other"),
    "plaintext in Envoy": lambda o: _data(o, "envoy").update(
        {"envoy.yaml": _data(o, "envoy")["envoy.yaml"].replace("spiffe://hitmesh/reporter", "spiffe://x/reporter")}
    ),
    "no SDS file": lambda o: _data(o, "envoy").pop("sds-own-certificate.json"),
}


@pytest.mark.parametrize("why", BROKEN)
def test_a_missing_or_wrong_certificate_is_found(why: str, objects: Objects) -> None:
    BROKEN[why](objects)
    assert list(certificates(objects)), why


def test_settlers_share_the_certificate_of_processors(objects: Objects) -> None:
    assert _volume(objects, "settler")["secretName"] == _certificate(objects, "processor")["secretName"]
    assert len(of_kind(objects, "Certificate")) == 5


def test_the_readme_names_the_files_of_envoy() -> None:
    text = (K8S / "components" / "tls" / "README.md").read_text(encoding="utf-8")
    names = [make_k8s.CONFIG, *(Path(file).name for file in secrets(make_k8s.TLS))]
    assert f"`files: [{', '.join(names)}]`" in text
