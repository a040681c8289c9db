"""Test the examples of stores in k8s/components: copies, zones, names, versions and safe flags."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.tools.stack.versions import CASSANDRA, DRUID, EXTENSIONS, KAFKA
from tests.support import manifest_traffic as traffic
from tests.support.manifests import K8S, Object, Objects, objects_of, of_kind

COPIES: Final = 3
ACKNOWLEDGED: Final = 2
ZONE: Final = "topology.kubernetes.io/zone"
STORES: Final = ("strimzi", "k8ssandra", "druid-operator")
KNOWN_NODE_TYPES: Final = {"coordinator", "broker", "historical", "indexer"}


def only(objects: Objects, kind: str) -> Object:
    (found,) = of_kind(objects, kind)
    return found


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line)


def kafka(objects: Objects) -> Iterator[str]:
    """Kafka keeps three copies in three zones, and acknowledges with two."""
    spec = only(objects, "Kafka")["spec"]["kafka"]
    config = spec["config"]
    copies = [config.get(name) for name in config if name.endswith("replication.factor")]
    acknowledged = [config.get(name) for name in config if name.endswith((".min.isr", "min.insync.replicas"))]
    if copies != [COPIES] * 4 or acknowledged != [ACKNOWLEDGED] * 3:
        yield f"copies {copies}, acknowledged by {acknowledged}"
    if (
        config.get("unclean.leader.election.enable") is not False
        or config.get("auto.create.topics.enable") is not False
    ):
        yield "an unclean leader or an unknown topic is possible"
    if spec.get("rack", {}).get("topologyKey") != ZONE:
        yield "replicas are not in different zones"
    if spec["template"]["podDisruptionBudget"]["maxUnavailable"] >= COPIES - ACKNOWLEDGED + 1:
        yield "a drain stops the writes"
    if spec["version"].rpartition(".")[0] != KAFKA.rpartition(".")[0]:
        yield f"version {spec['version']} is not the version of the tests"
    for pool in of_kind(objects, "KafkaNodePool"):
        if pool["spec"]["replicas"] < COPIES or pool["metadata"]["labels"]["strimzi.io/cluster"] != "hitmesh":
            yield f"pool {pool['metadata']['name']} is too small or belongs to another cluster"
        if any(volume["deleteClaim"] for volume in pool["spec"]["storage"]["volumes"]):
            yield "a deletion removes disks"


def cassandra(objects: Objects) -> Iterator[str]:
    """Cassandra has a node in each of three zones, and repairs itself."""
    spec = only(objects, "K8ssandraCluster")["spec"]
    (center,) = spec["cassandra"]["datacenters"]
    zones = {rack.get("nodeAffinityLabels", {}).get(ZONE) for rack in center["racks"]}
    if len(zones) != COPIES or None in zones or center["size"] % COPIES:
        yield f"{center['size']} nodes in the zones {zones}"
    if spec["cassandra"].get("softPodAntiAffinity") is not False:
        yield "two nodes of Cassandra may share a node"
    if not spec.get("reaper", {}).get("autoScheduling", {}).get("enabled"):
        yield "no repairs"
    if spec["cassandra"]["serverVersion"] != CASSANDRA:
        yield "another version than in the tests"


def druid(objects: Objects) -> Iterator[str]:
    """Druid changes a kind of process after the other, keeps its disks, and has several pods of each kind."""
    spec = only(objects, "Druid")["spec"]
    wanted = {"rollingDeploy": True, "disablePVCDeletionFinalizer": True, "deleteOrphanPvc": False}
    wanted |= {"forceDeleteStsPodOnError": False}
    yield from (f"{name} is not {value}" for name, value in wanted.items() if spec.get(name) is not value)
    if spec["image"].rpartition(":")[2] != DRUID:
        yield "another version than in the tests"
    common = properties(spec["common.runtime.properties"])
    if not set(EXTENSIONS) <= set(json.loads(common["druid.extensions.loadList"])):
        yield "an extension of the tests is missing"
    if json.loads(common["druid.indexer.task.default.context"]) != {"useConcurrentLocks": True}:
        yield "compaction stops the reading of late rows"
    if {node["nodeType"] for node in spec["nodes"].values()} != KNOWN_NODE_TYPES:
        yield "not the kinds of processes of the tests"
    for name, node in spec["nodes"].items():
        min_pods = COPIES if node["nodeType"] in ("historical", "indexer") else 2
        if node["replicas"] < min_pods or node["podDisruptionBudgetSpec"] != {"maxUnavailable": 1}:
            yield f"{name}: too few pods, or no budget"
        if re.search(
            r"(password|accessKey|secretKey)=[^{]", node["runtime.properties"] + spec["common.runtime.properties"]
        ):
            yield "a secret in clear"


CHECKS: Final[dict[str, Callable[[Objects], Iterator[str]]]] = dict(zip(STORES, (kafka, cassandra, druid), strict=True))


@pytest.mark.parametrize("name", STORES)
def test_an_example_has_the_settings_that_protect_data(name: str) -> None:
    objects = objects_of(f"components/{name}")
    assert list(CHECKS[name](objects)) == []
    assert all(item["metadata"]["namespace"] == "stores" for item in objects)
    readme = (K8S / "components" / name / "README.md").read_text(encoding="utf-8")
    assert f"kubectl apply --kustomize k8s/components/{name}" in readme


BROKEN: Final[dict[str, tuple[str, Callable[[Objects], Any]]]] = {
    "copies": ("strimzi", lambda o: _kafka(o)["config"].update({"transaction.state.log.replication.factor": 1})),
    "acknowledged": ("strimzi", lambda o: _kafka(o)["config"].update({"min.insync.replicas": 1})),
    "leader": ("strimzi", lambda o: _kafka(o)["config"].pop("unclean.leader.election.enable")),
    "rack": ("strimzi", lambda o: _kafka(o).pop("rack")),
    "drain": ("strimzi", lambda o: _kafka(o)["template"]["podDisruptionBudget"].update(maxUnavailable=2)),
    "pool": ("strimzi", lambda o: of_kind(o, "KafkaNodePool")[0]["spec"].update(replicas=1)),
    "zone": ("k8ssandra", lambda o: _cassandra(o)["datacenters"][0]["racks"][0].pop("nodeAffinityLabels")),
    "size": ("k8ssandra", lambda o: _cassandra(o)["datacenters"][0].update(size=4)),
    "shared node": ("k8ssandra", lambda o: _cassandra(o).update(softPodAntiAffinity=True)),
    "no repairs": ("k8ssandra", lambda o: only(o, "K8ssandraCluster")["spec"].pop("reaper")),
    "at once": ("druid-operator", lambda o: only(o, "Druid")["spec"].pop("rollingDeploy")),
    "disks": ("druid-operator", lambda o: only(o, "Druid")["spec"].update(disablePVCDeletionFinalizer=False)),
    "a single broker": ("druid-operator", lambda o: only(o, "Druid")["spec"]["nodes"]["brokers"].update(replicas=1)),
    "other version": ("druid-operator", lambda o: only(o, "Druid")["spec"].update(image="apache/druid:28.0.0")),
}


def _kafka(objects: Objects) -> Object:
    found: Object = only(objects, "Kafka")["spec"]["kafka"]
    return found


def _cassandra(objects: Objects) -> Object:
    found: Object = only(objects, "K8ssandraCluster")["spec"]["cassandra"]
    return found


@pytest.mark.parametrize("why", BROKEN)
def test_an_example_without_such_a_setting_is_found(why: str) -> None:
    name, mutate = BROKEN[why]
    objects = objects_of(f"components/{name}")
    mutate(objects)
    assert list(CHECKS[name](objects)), why


def test_the_store_url_of_production_names_the_services_that_the_operators_make() -> None:
    """Strimzi makes NAME-kafka-bootstrap, K8ssandra NAME-DATACENTER-service, and druid-operator druid-NAME-NODES."""
    servers = traffic.servers_of(objects_of("overlays/production"))
    listener = only(objects_of("components/strimzi"), "Kafka")["spec"]["kafka"]["listeners"][0]
    assert servers.kafka == f"hitmesh-kafka-bootstrap.stores:{listener['port']}"
    cluster = only(objects_of("components/k8ssandra"), "K8ssandraCluster")
    (center,) = cluster["spec"]["cassandra"]["datacenters"]
    assert servers.cassandra.startswith(f"{cluster['metadata']['name']}-{center['metadata']['name']}-service.stores:")
    assert servers.datacenter == center["metadata"]["name"]
    nodes = only(objects_of("components/druid-operator"), "Druid")["spec"]["nodes"]
    for url, name in ((servers.broker, "brokers"), (servers.coordinator, "coordinators")):
        assert url == f"http://druid-hitmesh-{name}.stores:{nodes[name]['druid.port']}"


def test_the_readme_recommends_the_copies_of_the_examples() -> None:
    text = (K8S / "README.md").read_text(encoding="utf-8")
    assert f"--replication {COPIES} --min-insync {ACKNOWLEDGED}" in text
    assert {"replication", "min_insync"} <= SchemaOptions.__dataclass_fields__.keys()
