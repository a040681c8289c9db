"""Rules for rendered manifests, part 2: who may call whom, and how pods are scaled, replaced and stopped.

Every service that Envoy calls pauses before its stop, except the processor: only traces come through Envoy, and each
second of waiting delays the handover of partitions (docs/decisions/0117). LONGEST_CALL_S therefore has no processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.settings import CollectorSettings
from control.service import CALL_S
from hitmesh.adapters.factory import PROCESSOR_GROUP
from hitmesh.adapters.kafka.log_reader import group_id
from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.model.positions import Topic
from hitmesh.model.site_buckets import SITE_BUCKETS
from hitmesh.runtime.config import load
from hitmesh.runtime.lifecycle import DRAIN_S
from hitmesh.runtime.token_settings import TokenSettings
from hitmesh.tools.dev.envoy_discovery import DNS_REFRESH_S
from hitmesh.tools.dev.envoy_tokens import CLUSTER as TOKEN_CLUSTER
from hitmesh.tools.dev.envoy_tokens import FILTER as TOKEN_FILTER
from processor.__main__ import ENDS_WITHIN_S
from reporter.settings import QUESTION_S
from tests.support.manifest_rules import DOCTOR, ENVOY, HEALTH, SETTINGS, envoy_config
from tests.support.manifests import (
    PODS,
    WORKLOADS,
    Object,
    Objects,
    labels,
    matches,
    named,
    of_kind,
    pause_s,
    port,
    template,
    title,
    variables,
    workload,
)

# The stores that each service opens (docs/architecture.md): collectors write the log and read sites, keys and quotas;
# reporters read rows; all others use every store.
STORES: Final[Mapping[str, tuple[str, ...]]] = {
    "collector": ("kafka", "cassandra"),
    "processor": ("kafka", "cassandra", "broker", "coordinator"),
    "settler": ("kafka", "cassandra", "broker", "coordinator"),
    "reporter": ("cassandra", "broker", "coordinator"),
    "control": ("kafka", "cassandra", "broker", "coordinator"),
}
BEHIND_ENVOY: Final = ("collector", "processor", "reporter", "control")
READS_TOKENS: Final = ("envoy", "processor", "settler", "reporter", "control")
DNS_PORT: Final = 53
HTTPS_PORT: Final = 443
# The most pods for which a circuit breaker of an Envoy has room (hitmesh/tools/dev/door_limits.py), and the most
# settlers that can have leases.
MOST: Final = {"collector": 64, "reporter": 12, "processor": 64, "control": 16, "settler": SITE_BUCKETS}
# The number of partitions that docs/data-model.md recommends; a further processor would have no partition.
PARTITIONS: Final = 64
# Seconds until no Envoy sends calls to a pod that is about to stop: the DNS server of the cluster keeps an answer for
# up to 5 s, Envoy asks every DNS_REFRESH_S, and the list of endpoints takes about a second.
UNSEEN_S: Final = 5 + DNS_REFRESH_S + 2
# The longest call that must end by itself; collectors end their streams, and clients of Envoy move to another Envoy.
LONGEST_CALL_S: Final = {"collector": 0.0, "reporter": QUESTION_S, "control": CALL_S, "envoy": 0.0}
_COLLECTOR_DRAIN_S: Final = float(CollectorSettings.model_fields["drain_s"].default)
# Seconds from SIGTERM to the end of the process.
STOPS_WITHIN_S: Final = {
    "collector": _COLLECTOR_DRAIN_S + DRAIN_S + _COLLECTOR_DRAIN_S,
    "processor": DRAIN_S + ENDS_WITHIN_S,
    "settler": DRAIN_S + ENDS_WITHIN_S,
    "reporter": DRAIN_S,
    "control": DRAIN_S,
    "envoy": 0.0,
}
Call = tuple[str, str, int]


@dataclass(frozen=True)
class Party:
    """A program that calls or is called: a pod of the mesh, a pod of another namespace, or a server elsewhere."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: Mapping[str, str] = field(default_factory=dict)
    is_ours: bool = False
    is_outside: bool = False


OTHERS: Final = (
    Party("stranger", namespace={"kubernetes.io/metadata.name": "shop"}),
    Party("operator", namespace={"kubernetes.io/metadata.name": "ops", "hitmesh.io/operators": "true"}),
    Party("metrics", namespace={"kubernetes.io/metadata.name": "prometheus", "hitmesh.io/metrics": "true"}),
    Party("telemetry", namespace={"kubernetes.io/metadata.name": "telemetry", "hitmesh.io/telemetry": "true"}),
    Party("stores", namespace={"kubernetes.io/metadata.name": "stores", "hitmesh.io/stores": "true"}),
    Party("dns", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"}),
    Party("outside", is_outside=True),
)


def servers_of(objects: Objects) -> Servers:
    """Return the stores that the pods use."""
    return parse_servers(named(objects, "ConfigMap", "stores")["data"]["url"])


def wanted_calls(objects: Objects) -> set[Call]:
    """Return the calls of docs/architecture.md and docs/security.md."""
    servers = servers_of(objects)
    calls = {(ENVOY, name, port(workload(objects, name), "grpc")) for name in BEHIND_ENVOY}
    for name, stores in STORES.items():
        calls |= {(name, "stores", _port_of(getattr(servers, store))) for store in stores}
        calls.add(("metrics", name, port(workload(objects, name), "metrics")))
    envoy = workload(objects, ENVOY)
    calls |= {(party.name, ENVOY, port(envoy, "door")) for party in OTHERS}
    calls |= {("operator", ENVOY, port(envoy, "operators")), ("metrics", ENVOY, port(envoy, "stats"))}
    if any(item["metadata"]["name"] == DOCTOR for item in of_kind(objects, "CronJob")):
        calls |= {(DOCTOR, ENVOY, port(envoy, name)) for name in ("door", "operators", "stats")}
        calls |= {(DOCTOR, name, port(workload(objects, name), "metrics")) for name in STORES}
        calls |= {(DOCTOR, "stores", _port_of(getattr(servers, store))) for store in STORES["control"]}
    for name, declared in SETTINGS.items():
        otlp = load(declared, variables(objects, workload(objects, name))).otlp_endpoint
        if otlp:
            calls.add((name, "telemetry", _port_of(otlp)))
    calls |= {(item["metadata"]["name"], "dns", DNS_PORT) for item in of_kind(objects, *PODS)}
    if any(each["name"] == TOKEN_CLUSTER for each in envoy_config(objects)["static_resources"]["clusters"]):
        calls |= {(name, "outside", HTTPS_PORT) for name in READS_TOKENS}
    return calls


def _port_of(address: str) -> int:
    return int(address.split(",")[0].rpartition(":")[2])


def traffic(objects: Objects) -> Iterator[str]:
    """NetworkPolicies permit exactly the calls that the mesh needs."""
    ours = [Party(item["metadata"]["name"], labels(item), is_ours=True) for item in of_kind(objects, *PODS)]
    wanted, parties = wanted_calls(objects), (*ours, *OTHERS)
    ports = {number for _, _, number in wanted} | {22, 80, HTTPS_PORT, 6443}
    permitted = {
        (caller.name, called.name, number)
        for caller in parties
        for called in parties
        for number in ports
        if (caller.is_ours or called.is_ours) and _is_permitted(objects, caller, called, number)
    }
    yield from (f"{caller} cannot call {called}:{number}" for caller, called, number in sorted(wanted - permitted))
    yield from (f"{caller} may call {called}:{number}" for caller, called, number in sorted(permitted - wanted))


def _is_permitted(objects: Objects, caller: Party, called: Party, number: int) -> bool:
    leaves = not caller.is_ours or _passes(objects, caller, called, number, "Egress", "to")
    return leaves and (not called.is_ours or _passes(objects, called, caller, number, "Ingress", "from"))


def _passes(objects: Objects, party: Party, other: Party, number: int, direction: str, peers: str) -> bool:
    """Return whether a policy of `party` permits traffic with `other`; without a policy, all traffic passes."""
    policies = [item["spec"] for item in of_kind(objects, "NetworkPolicy")]
    selecting = [each for each in policies if matches(each["podSelector"], party.labels)]
    selecting = [each for each in selecting if direction in each.get("policyTypes", ["Ingress"])]
    rules = [rule for each in selecting for rule in each.get(direction.lower(), [])]
    return not selecting or any(
        _has_port(rule, number) and (peers not in rule or any(_is_peer(peer, other) for peer in rule[peers]))
        for rule in rules
    )


def _has_port(rule: Object, number: int) -> bool:
    return "ports" not in rule or any(each["port"] == number for each in rule["ports"])


def _is_peer(peer: Object, party: Party) -> bool:
    if "ipBlock" in peer:
        return party.is_outside
    if party.is_outside:
        return False
    if "namespaceSelector" not in peer:
        return party.is_ours and matches(peer["podSelector"], party.labels)
    return matches(peer["namespaceSelector"], party.namespace) and matches(peer.get("podSelector"), party.labels)


def envoy_clusters(objects: Objects) -> Iterator[str]:
    """Envoy's clusters are headless Services, with the names of their health services; its listeners have ports."""
    config = envoy_config(objects)["static_resources"]
    for cluster in config["clusters"]:
        if cluster["name"] not in HEALTH:
            continue
        for group in cluster["load_assignment"]["endpoints"]:
            for each in group["lb_endpoints"]:
                address = each["endpoint"]["address"]["socket_address"]
                service = named(objects, "Service", address["address"])
                ports = {item["port"] for item in service["spec"]["ports"] if item["targetPort"] == "grpc"}
                if service["spec"].get("clusterIP") != "None" or address["port_value"] not in ports:
                    yield f"cluster {cluster['name']}: {address} is no port of a headless Service"
        health_names = [check["grpc_health_check"].get("service_name", "") for check in cluster["health_checks"]]
        if any(name not in ("", *HEALTH[cluster["name"]]) for name in health_names):
            yield f"cluster {cluster['name']}: no service answers for {health_names}"
    for listener in config["listeners"]:
        address = listener["address"]["socket_address"]
        if address["port_value"] != port(workload(objects, ENVOY), listener["name"]) or address["address"] != "0.0.0.0":
            yield f"listener {listener['name']}: {address} is not the port of the container"
    ports_of = {service: _targets(objects, service) for service in ("hitmesh", "hitmesh-operators")}
    if ports_of != {"hitmesh": {"door"}, "hitmesh-operators": {"operators"}}:
        yield f"the two listeners are not apart: {ports_of}"


def _targets(objects: Objects, service: str) -> set[str]:
    return {each["targetPort"] for each in named(objects, "Service", service)["spec"]["ports"]}


def tokens(objects: Objects) -> Iterator[str]:
    """Envoy and the services accept the same tokens."""
    wanted = tokens_of_envoy(objects)
    for name, declared in SETTINGS.items():
        loaded = load(declared, variables(objects, workload(objects, name)))
        if isinstance(loaded, TokenSettings):
            found = (loaded.jwks, loaded.jwt_issuer, loaded.audiences) if loaded.jwks else None
            if found != wanted:
                yield f"{name} accepts the tokens of {found}, and Envoy those of {wanted}"


def tokens_of_envoy(objects: Objects) -> tuple[str, str, frozenset[str]] | None:
    """Return the URL with the issuer's keys, the issuer and the audiences that the public listener accepts."""
    door = envoy_config(objects)["static_resources"]["listeners"][0]
    filters = door["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    for each in filters:
        if each["name"] == TOKEN_FILTER:
            (provider,) = each["typed_config"]["providers"].values()
            uri = provider["remote_jwks"]["http_uri"]["uri"]
            return uri, provider["issuer"], frozenset(provider["audiences"])
    return None


def scaling(objects: Objects) -> Iterator[str]:
    """Each workload has a single owner of its number of pods, within the limits of Envoy, leases and partitions."""
    owners = [*of_kind(objects, "HorizontalPodAutoscaler"), *of_kind(objects, "ScaledObject")]
    for item in of_kind(objects, *WORKLOADS):
        name = item["metadata"]["name"]
        scalers = [each for each in owners if _target(each) == (item["kind"], name)]
        if len(scalers) + ("replicas" in item["spec"]) != 1:
            yield f"{title(item)}: replicas and autoscalers: exactly one must decide the number of pods"
        most = max([item["spec"].get("replicas", 0), *(_bounds(each)[1] for each in scalers)])
        if most > MOST.get(name, most):
            yield f"{title(item)}: {most} pods are more than the {MOST[name]} that the mesh can use"
    targets = {(item["kind"], item["metadata"]["name"]) for item in of_kind(objects, *WORKLOADS)}
    yield from (f"{title(each)}: its target does not exist" for each in owners if _target(each) not in targets)
    for each in of_kind(objects, "ScaledObject"):
        yield from (f"{title(each)}: {problem}" for problem in _keda_problems(each["spec"], servers_of(objects)))


def _target(owner: Object) -> tuple[str, str]:
    reference = owner["spec"]["scaleTargetRef"]
    return reference["kind"], reference["name"]


def _bounds(owner: Object) -> tuple[int, int]:
    spec = owner["spec"]
    names = ("minReplicas", "maxReplicas") if owner["kind"] == "HorizontalPodAutoscaler" else _KEDA_BOUNDS
    return spec[names[0]], spec[names[1]]


_KEDA_BOUNDS: Final = ("minReplicaCount", "maxReplicaCount")


def _keda_problems(spec: Object, servers: Servers) -> Iterator[str]:
    fields = {"scaleTargetRef", "pollingInterval", "cooldownPeriod", *_KEDA_BOUNDS, "triggers", "advanced"}
    yield from (f"{name} is no field" for name in spec.keys() - fields)
    if spec["cooldownPeriod"] < 300 or spec["maxReplicaCount"] > PARTITIONS:
        yield "scales in too soon, or to more pods than partitions"
    (trigger,) = spec["triggers"]
    wanted = {
        "bootstrapServers": servers.kafka,
        "consumerGroup": group_id(servers, PROCESSOR_GROUP, Topic.HITS),
        "topic": servers.topic(Topic.HITS),
        "allowIdleConsumers": "false",
    }
    differing = {
        key: trigger["metadata"].get(key) for key, value in wanted.items() if trigger["metadata"].get(key) != value
    }
    if trigger["type"] != "kafka" or differing or int(trigger["metadata"]["lagThreshold"]) < 1:
        yield f"the trigger does not measure the lag of the processor: {differing}"


def availability(objects: Objects) -> Iterator[str]:
    """At least two pods run, a node can be drained, and a change never lowers the number of ready pods to zero."""
    owners = [*of_kind(objects, "HorizontalPodAutoscaler"), *of_kind(objects, "ScaledObject")]
    budgets = of_kind(objects, "PodDisruptionBudget")
    for item in of_kind(objects, *WORKLOADS):
        scalers = [_bounds(each)[0] for each in owners if _target(each) == (item["kind"], item["metadata"]["name"])]
        fewest = min([item["spec"].get("replicas", 1_000), *scalers])
        disrupted = [each for each in budgets if matches(each["spec"]["selector"], labels(item))]
        if len(disrupted) != 1:
            yield f"{title(item)}: needs one PodDisruptionBudget"
        elif not 0 < disrupted[0]["spec"].get("maxUnavailable", 0) < fewest:
            yield f"{title(item)}: a budget of {disrupted[0]['spec']} does not fit to {fewest} pods"
        if item["kind"] == "Deployment" and item["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            yield f"{title(item)}: an update takes pods away before others are ready"


def stops(objects: Objects) -> Iterator[str]:
    """A pod stops after Envoy has stopped sending calls, and has the time that its code takes to stop."""
    for item in of_kind(objects, *WORKLOADS):
        name = item["metadata"]["name"]
        if name in LONGEST_CALL_S and pause_s(item) < UNSEEN_S + LONGEST_CALL_S[name]:
            yield f"{title(item)}: stops while Envoy may still send calls, or while a call may still run"
        given_s = template(item)["spec"]["terminationGracePeriodSeconds"]
        if given_s < pause_s(item) + STOPS_WITHIN_S[name] + 1:
            yield f"{title(item)}: is killed after {given_s} s, before it has stopped"


def monitors(objects: Objects) -> Iterator[str]:
    """Each pod of the services and of Envoy is read by one PodMonitor, or else has annotations for Prometheus."""
    found = of_kind(objects, "PodMonitor")
    for item in found:
        unknown = item["spec"].keys() - {"selector", "podTargetLabels", "podMetricsEndpoints"}
        yield from (f"{title(item)}: {name} is no field" for name in unknown)
    for item in of_kind(objects, *WORKLOADS):
        reading = [each for each in found if matches(each["spec"]["selector"], labels(item))]
        notes = template(item)["metadata"].get("annotations", {})
        if len(reading) + ("prometheus.io/scrape" in notes) != 1:
            yield f"{title(item)}: {len(reading)} monitors, annotations {notes}"
        is_envoy = item["metadata"]["name"] == ENVOY
        name, path = ("stats", "/stats/prometheus") if is_envoy else ("metrics", "/metrics")
        for each in reading:
            (endpoint,) = each["spec"]["podMetricsEndpoints"]
            if (endpoint["port"], endpoint["path"]) != (name, path):
                yield f"{title(each)}: {endpoint} is not {name}{path}"
        wanted = (str(port(item, name)), path)
        if notes and (notes["prometheus.io/port"], notes.get("prometheus.io/path", "/metrics")) != wanted:
            yield f"{title(item)}: annotations {notes}"
