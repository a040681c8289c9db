"""Test the manifests in k8s/: render each directory, and check the objects against the code that they run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

import pytest

from control.settings import ControlSettings
from hitmesh.runtime.variables import Secret
from hitmesh.tools.doctor.checks import CHECKS
from tests.support import manifest_rules as rules
from tests.support import manifest_traffic as traffic
from tests.support.manifests import (
    K8S,
    Object,
    Objects,
    combined,
    container,
    named,
    objects_of,
    of_kind,
    template,
    workload,
)

Rule = Callable[[Objects], Iterable[str]]
RULES: Final[dict[str, Rule]] = {
    rule.__name__: rule
    for rule in (
        rules.schema,
        rules.selectors,
        rules.settings,
        rules.secrets,
        rules.commands,
        rules.probes,
        rules.restricted,
        rules.resources,
        rules.config_maps,
        rules.images,
        rules.places,
        traffic.traffic,
        traffic.envoy_clusters,
        traffic.tokens,
        traffic.monitors,
        traffic.scaling,
        traffic.availability,
        traffic.stops,
    )
}
WHOLE: Final = ("base", "overlays/dev", "overlays/production")
# A developer's cluster runs a single pod of each service.
EXCEPT: Final = {("overlays/dev", "availability")}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("directory", WHOLE)
def test_the_objects_of_a_directory_follow_the_rules(directory: str, rule: str) -> None:
    problems = list(RULES[rule](objects_of(directory)))
    assert bool(problems) == ((directory, rule) in EXCEPT), "\n".join(problems)


def pod(objects: Objects, name: str) -> Object:
    found: Object = template(workload(objects, name))["spec"]
    return found


def only(objects: Objects, name: str) -> Object:
    return container(workload(objects, name))


def data(objects: Objects, name: str) -> Object:
    found: Object = named(objects, "ConfigMap", name)["data"]
    return found


def policy(objects: Objects, name: str) -> Object:
    found: Object = named(objects, "NetworkPolicy", name)["spec"]
    return found


def without(objects: Objects, kind: str, name: str) -> None:
    objects.remove(named(objects, kind, name))


def permits_all(objects: Objects, name: str) -> None:
    policy(objects, name)["ingress"].append({})


def changed_envoy(objects: Objects, old: str, new: str) -> None:
    config = data(objects, "envoy")
    assert old in config["envoy.yaml"]
    config["envoy.yaml"] = config["envoy.yaml"].replace(old, new)


SOME_TOKENS: Final = {
    "HITMESH_REPORTER_JWKS": "https://login.example/keys",
    "HITMESH_REPORTER_JWT_ISSUER": "https://login.example",
    "HITMESH_REPORTER_JWT_AUDIENCES": "hitmesh",
}
# Each mutation breaks a copy of the objects; the rule with the name must find it.
MUTATIONS: Final[list[tuple[str, str, Callable[[Objects], object]]]] = [
    ("schema", "unknown field", lambda o: only(o, "collector").update(imagePulPolicy="Always")),
    ("schema", "port is text", lambda o: only(o, "collector")["ports"][0].update(containerPort="grpc")),
    ("schema", "missing field", lambda o: _scaler(o, "settler").pop("maxReplicas")),
    ("schema", "unknown kind", lambda o: o.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}})),
    ("selectors", "other label", lambda o: named(o, "Service", "control")["spec"]["selector"].update(x="y")),
    ("selectors", "port", lambda o: named(o, "Service", "control")["spec"]["ports"][0].update(targetPort="rpc")),
    ("selectors", "two workloads", lambda o: _same_labels(o)),
    ("selectors", "budget", lambda o: named(o, "PodDisruptionBudget", "control")["spec"].update(selector={})),
    ("selectors", "no spread", lambda o: pod(o, "reporter")["topologySpreadConstraints"].pop()),
    ("selectors", "serviceName", lambda o: workload(o, "processor")["spec"].update(serviceName="x")),
    ("settings", "misspelt", lambda o: data(o, "collector").update(HITMESH_COLLECTOR_LISTN="0.0.0.0:1")),
    ("settings", "other port", lambda o: data(o, "control").update(HITMESH_CONTROL_LISTEN="0.0.0.0:50052")),
    ("settings", "loopback", lambda o: data(o, "control").update(HITMESH_CONTROL_LISTEN="127.0.0.1:50051")),
    ("settings", "plaintext", lambda o: data(o, "settler").pop("HITMESH_PROCESSOR_PLAINTEXT_OK")),
    ("settings", "no metrics", lambda o: data(o, "reporter").pop("HITMESH_REPORTER_METRICS_LISTEN")),
    ("settings", "other service", lambda o: data(o, "reporter").update(HITMESH_CONTROL_WORKERS="8")),
    ("settings", "no store", lambda o: only(o, "reporter")["env"].pop(0)),
    ("settings", "role", lambda o: data(o, "settler").update(HITMESH_PROCESSOR_ROLE="stream")),
    ("settings", "node", lambda o: only(o, "processor")["env"].pop(1)),
    ("settings", "open reads", lambda o: data(o, "reporter").update(HITMESH_REPORTER_OPEN_READS="true")),
    ("secrets", "key", lambda o: data(o, "control").update(KEY="hms_" + "a" * 43)),
    ("secrets", "password", lambda o: data(o, "stores").update(url="http://user:pass@host")),
    ("secrets", "object", lambda o: o.append({"kind": "Secret", "metadata": {"name": "x"}})),
    ("commands", "module", lambda o: only(o, "settler").update(command=["python", "-m", "settler"])),
    ("commands", "file", lambda o: only(o, "envoy")["volumeMounts"][0].update(mountPath="/etc/other")),
    ("commands", "no drain", lambda o: only(o, "envoy").pop("lifecycle")),
    ("commands", "other socket", lambda o: only(o, "envoy").update(workingDir="/tmp")),
    ("probes", "name", lambda o: only(o, "collector")["readinessProbe"]["grpc"].update(service="Collector")),
    ("probes", "whole server", lambda o: only(o, "collector")["readinessProbe"]["grpc"].pop("service")),
    ("probes", "kill", lambda o: only(o, "collector")["livenessProbe"]["grpc"].update(service="ready")),
    ("probes", "port", lambda o: only(o, "collector")["livenessProbe"]["grpc"].update(port=9464)),
    ("probes", "no probe", lambda o: only(o, "settler").pop("startupProbe")),
    ("probes", "path", lambda o: only(o, "envoy")["livenessProbe"]["httpGet"].update(path="/healthz")),
    ("restricted", "root", lambda o: pod(o, "control")["securityContext"].pop("runAsNonRoot")),
    ("restricted", "user", lambda o: only(o, "control")["securityContext"].update(runAsUser=0)),
    ("restricted", "seccomp", lambda o: pod(o, "control")["securityContext"].pop("seccompProfile")),
    ("restricted", "escalation", lambda o: only(o, "envoy")["securityContext"].pop("allowPrivilegeEscalation")),
    ("restricted", "privileged", lambda o: only(o, "envoy")["securityContext"].update(privileged=True)),
    ("restricted", "root file system", lambda o: only(o, "envoy")["securityContext"].pop("readOnlyRootFilesystem")),
    ("restricted", "capability", lambda o: only(o, "envoy")["securityContext"]["capabilities"].update(add=["NET_RAW"])),
    ("restricted", "host network", lambda o: pod(o, "envoy").update(hostNetwork=True)),
    ("restricted", "host path", lambda o: pod(o, "envoy")["volumes"].append({"name": "h", "hostPath": {"path": "/"}})),
    ("restricted", "host port", lambda o: only(o, "envoy")["ports"][0].update(hostPort=80)),
    ("restricted", "token", lambda o: pod(o, "reporter").pop("automountServiceAccountToken")),
    ("restricted", "account", lambda o: without(o, "ServiceAccount", "reporter")),
    ("restricted", "links", lambda o: pod(o, "reporter").pop("enableServiceLinks")),
    ("restricted", "volume", lambda o: pod(o, "reporter")["volumes"][0].update(emptyDir={})),
    ("restricted", "namespace", lambda o: _namespace(o)["metadata"]["labels"].clear()),
    ("resources", "no limit", lambda o: only(o, "control")["resources"]["limits"].pop("memory")),
    ("resources", "none", lambda o: only(o, "control").pop("resources")),
    ("resources", "request", lambda o: only(o, "control")["resources"]["requests"].update(memory="9Gi")),
    ("resources", "disk", lambda o: pod(o, "settler")["volumes"][1]["emptyDir"].update(sizeLimit="90Gi")),
    ("resources", "heap", lambda o: only(o, "envoy")["resources"]["limits"].update(memory="1Gi")),
    ("resources", "threads", lambda o: only(o, "envoy")["command"].__setitem__(-1, "16")),
    ("resources", "polars", lambda o: data(o, "settler").update(POLARS_MAX_THREADS="64")),
    ("config_maps", "missing", lambda o: without(o, "ConfigMap", "stores")),
    ("config_maps", "unused", lambda o: only(o, "control")["envFrom"].clear()),
    ("config_maps", "mutable", lambda o: named(o, "ConfigMap", "envoy").pop("immutable")),
    ("images", "two versions", lambda o: only(o, "control").update(image="hitmesh:0.0.9")),
    ("images", "latest", lambda o: [only(o, name).update(image="h:latest") for name in (*rules.SETTINGS, "envoy")]),
    ("places", "namespace", lambda o: workload(o, "control")["metadata"].update(namespace="default")),
    ("places", "label", lambda o: workload(o, "control")["metadata"].pop("labels")),
    ("traffic", "no default", lambda o: _no_policies(o, "control", "default-deny")),
    ("traffic", "no policy", lambda o: without(o, "NetworkPolicy", "control")),
    ("traffic", "operators", lambda o: policy(o, "envoy")["ingress"][1].pop("from")),
    ("traffic", "open service", lambda o: permits_all(o, "collector")),
    (
        "traffic",
        "peers",
        lambda o: policy(o, "reporter")["egress"][0]["ports"].append({"protocol": "TCP", "port": 9092}),
    ),
    ("traffic", "one port less", lambda o: policy(o, "processor")["egress"][0]["ports"].pop()),
    (
        "traffic",
        "store moved",
        lambda o: data(o, "stores").update(url=data(o, "stores")["url"].replace("9042", "9142")),
    ),
    (
        "traffic",
        "everywhere",
        lambda o: policy(o, "settler")["egress"].append({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
    ),
    ("envoy_clusters", "port", lambda o: changed_envoy(o, '"port_value": 50051', '"port_value": 50052')),
    (
        "envoy_clusters",
        "name",
        lambda o: changed_envoy(o, "service_name: hitmesh.api.reporter", "service_name: h.reporter"),
    ),
    ("envoy_clusters", "listener", lambda o: changed_envoy(o, "port_value: 8081", "port_value: 8082")),
    ("envoy_clusters", "not headless", lambda o: named(o, "Service", "reporter")["spec"].pop("clusterIP")),
    ("envoy_clusters", "operators", lambda o: _also_operators(o)),
    ("tokens", "service only", lambda o: data(o, "reporter").update(SOME_TOKENS)),
    ("monitors", "no annotation", lambda o: template(workload(o, "control"))["metadata"].pop("annotations")),
    ("monitors", "port", lambda o: _notes(o, "control").update({"prometheus.io/port": "1"})),
    ("monitors", "path", lambda o: _notes(o, "envoy").pop("prometheus.io/path")),
    ("scaling", "two owners", lambda o: workload(o, "collector")["spec"].update(replicas=3)),
    ("scaling", "no owner", lambda o: workload(o, "control")["spec"].pop("replicas")),
    ("scaling", "too many", lambda o: _scaler(o, "reporter").update(maxReplicas=13)),
    ("scaling", "target", lambda o: _scaler(o, "settler")["scaleTargetRef"].update(name="settlers")),
    ("availability", "single pod", lambda o: workload(o, "control")["spec"].update(replicas=1)),
    ("availability", "single pod of many", lambda o: _scaler(o, "collector").update(minReplicas=1)),
    ("availability", "no budget", lambda o: without(o, "PodDisruptionBudget", "envoy")),
    ("availability", "budget", lambda o: named(o, "PodDisruptionBudget", "envoy")["spec"].update(maxUnavailable=2)),
    ("availability", "update", lambda o: _update(o, "envoy").update(maxUnavailable=1)),
    ("stops", "no pause", lambda o: only(o, "reporter").pop("lifecycle")),
    ("stops", "killed", lambda o: pod(o, "processor").update(terminationGracePeriodSeconds=30)),
]


def _same_labels(objects: Objects) -> None:
    workload(objects, "control")["spec"]["template"]["metadata"] = template(workload(objects, "reporter"))["metadata"]


def _namespace(objects: Objects) -> Object:
    return next(item for item in objects if item["kind"] == "Namespace")


def _no_policies(objects: Objects, *names: str) -> None:
    for name in names:
        without(objects, "NetworkPolicy", name)


def _also_operators(objects: Objects) -> None:
    named(objects, "Service", "hitmesh")["spec"]["ports"].append({"name": "o", "port": 81, "targetPort": "operators"})


def _scaler(objects: Objects, name: str) -> Object:
    found: Object = named(objects, "HorizontalPodAutoscaler", name)["spec"]
    return found


def _notes(objects: Objects, name: str) -> Object:
    found: Object = template(workload(objects, name))["metadata"]["annotations"]
    return found


def _update(objects: Objects, name: str) -> Object:
    found: Object = workload(objects, name)["spec"]["strategy"]["rollingUpdate"]
    return found


@pytest.mark.parametrize(("rule", "why", "mutate"), MUTATIONS, ids=[f"{rule}: {why}" for rule, why, _ in MUTATIONS])
def test_a_rule_finds_objects_that_break_it(rule: str, why: str, mutate: Callable[[Objects], object]) -> None:
    objects = objects_of("base")
    mutate(objects)
    assert list(RULES[rule](objects)), why


def test_envoy_and_the_services_accept_the_same_tokens_in_production() -> None:
    objects = objects_of("overlays/production")
    assert traffic.tokens_of_envoy(objects) is not None
    data(objects, "control").update(HITMESH_CONTROL_JWT_AUDIENCES="other")
    assert list(traffic.tokens(objects))


KEDA: Final[dict[str, Callable[[Object], object]]] = {
    "group": lambda spec: spec["triggers"][0]["metadata"].update(consumerGroup="processor"),
    "idle consumers": lambda spec: spec["triggers"][0]["metadata"].pop("allowIdleConsumers"),
    "more pods than partitions": lambda spec: spec.update(maxReplicaCount=65),
    "other servers": lambda spec: spec["triggers"][0]["metadata"].update(bootstrapServers="kafka:9092"),
    "too quick": lambda spec: spec.update(cooldownPeriod=30),
    "unknown field": lambda spec: spec.update(coolDownPeriod=300),
    "other target": lambda spec: spec["scaleTargetRef"].update(name="collector"),
}


@pytest.mark.parametrize("why", KEDA)
def test_the_scaler_by_lag_measures_the_group_of_the_processor(why: str) -> None:
    objects = objects_of("overlays/production")
    KEDA[why](named(objects, "ScaledObject", "processor")["spec"])
    assert list(traffic.scaling(objects)), why


@pytest.mark.parametrize("component", ["telemetry", "otlp", "doctor", "keda"])
def test_the_development_overlay_with_a_component_follows_the_rules(component: str, tmp_path: Path) -> None:
    objects = combined(tmp_path, "overlays/dev", component)
    for name in RULES.keys() - {"availability"}:
        assert list(RULES[name](objects)) == [], name


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Return the production overlay with telemetry; callers must not change the objects."""
    return combined(tmp_path_factory.mktemp("monitored"), "overlays/production", "telemetry")


def test_production_with_telemetry_follows_the_rules(monitored: Objects) -> None:
    assert len(of_kind(monitored, "PodMonitor")) == 2
    for name, rule in RULES.items():
        assert list(rule(monitored)) == [], name


MONITORS: Final[dict[str, Callable[[Objects], object]]] = {
    "no monitor": lambda o: without(o, "PodMonitor", "envoy"),
    "other port": lambda o: _endpoint(o, "services").update(port="grpc"),
    "other path": lambda o: _endpoint(o, "envoy").update(path="/metrics"),
    "unknown field": lambda o: named(o, "PodMonitor", "envoy")["spec"].update(jobLable="x"),
    "twice": lambda o: template(workload(o, "control"))["metadata"].update(
        annotations={"prometheus.io/scrape": "true", "prometheus.io/port": "9464"}
    ),
}


def _endpoint(objects: Objects, name: str) -> Object:
    (found,) = named(objects, "PodMonitor", name)["spec"]["podMetricsEndpoints"]
    endpoint: Object = found
    return endpoint


@pytest.mark.parametrize("why", MONITORS)
def test_a_monitor_that_does_not_read_each_pod_once_is_found(why: str, monitored: Objects) -> None:
    objects = copy.deepcopy(monitored)
    MONITORS[why](objects)
    assert list(traffic.monitors(objects)), why


@pytest.mark.parametrize("why", ["no policy", "other port"])
def test_services_that_cannot_send_their_telemetry_are_found(why: str, tmp_path: Path) -> None:
    objects = combined(tmp_path, "overlays/dev", "otlp")
    assert not list(traffic.traffic(objects))
    if why == "no policy":
        without(objects, "NetworkPolicy", "telemetry")
    else:
        data(objects, "control").update(HITMESH_CONTROL_OTLP_ENDPOINT="http://otel-collector.telemetry:4318")
    assert list(traffic.traffic(objects))


# Mutations of the doctor, which the base does not have.
OF_DOCTOR: Final[dict[str, tuple[str, Callable[[Objects], object]]]] = {
    "no command": ("commands", lambda o: only(o, "doctor").update(command=["hitmesh", "physician"])),
    "root": ("restricted", lambda o: pod(o, "doctor")["securityContext"].update(runAsUser=0)),
    "token": ("restricted", lambda o: pod(o, "doctor").pop("automountServiceAccountToken")),
    "no limit": ("resources", lambda o: only(o, "doctor")["resources"].pop("limits")),
    "other stores": (
        "config_maps",
        lambda o: only(o, "doctor")["env"][3]["valueFrom"]["configMapKeyRef"].update(name="x"),
    ),
    "other image": ("images", lambda o: only(o, "doctor").update(image="hitmesh:0")),
    "key in clear": ("secrets", lambda o: only(o, "doctor")["env"][0].update(value="hms_" + "a" * 43)),
    "operators' listener": ("traffic", lambda o: without(o, "NetworkPolicy", "doctor-asks-envoy")),
    "metrics": ("traffic", lambda o: without(o, "NetworkPolicy", "doctor-asks-services")),
    "everywhere": ("traffic", lambda o: policy(o, "doctor")["egress"].append({})),
    "unknown field": ("schema", lambda o: workload(o, "doctor")["spec"].update(scedule="* * * * *")),
}


@pytest.mark.parametrize("why", OF_DOCTOR)
def test_a_rule_finds_a_doctor_that_breaks_it(why: str) -> None:
    rule, mutate = OF_DOCTOR[why]
    objects = objects_of("overlays/production")
    assert not list(RULES[rule](objects))
    mutate(objects)
    assert list(RULES[rule](objects)), why


def test_the_doctor_reads_the_metrics_of_every_service_and_of_envoy() -> None:
    objects = objects_of("overlays/production")
    given = {each["name"]: each.get("value") for each in only(objects, "doctor")["env"]}
    arguments = [each for each in only(objects, "doctor")["args"] if each.startswith("--metrics=")]
    pairs = dict(part.removeprefix("--metrics=").split("=") for part in arguments)
    assert pairs.keys() == {*rules.SETTINGS, "envoy"}
    for name, address in (*pairs.items(), ("", given["HITMESH_ENDPOINT"]), ("", given["HITMESH_OPERATOR_ENDPOINT"])):
        host, _, number = address.partition(":")
        spec = named(objects, "Service", host)["spec"]
        assert int(number) in {each["port"] for each in spec["ports"]}
        assert name in ("", spec["selector"]["app.kubernetes.io/component"])
    (mount,) = [each for each in only(objects, "doctor")["volumeMounts"] if each["name"] == "keys"]
    assert given["HITMESH_OPERATOR_KEY_FILE"] == f"{mount['mountPath']}/operator.key"


def test_every_rule_has_an_object_that_breaks_it() -> None:
    assert {rule for rule, _, _ in MUTATIONS} == set(RULES)


def test_every_directory_has_a_readme_and_is_checked() -> None:
    directories = sorted(str(file.parent.relative_to(K8S)) for file in K8S.rglob("kustomization.yaml"))
    assert [name for name in directories if not name.startswith("components/")] == sorted(WHOLE)
    assert all((K8S / name / "README.md").is_file() for name in directories)


class GuardedSettings(ControlSettings):
    """Settings with a secret, which no service has yet."""

    password: Annotated[str, Secret()] = ""


CLEAR: Final[dict[str, Callable[[Objects], object]]] = {
    "of envFrom": lambda o: data(o, "control").update(HITMESH_CONTROL_PASSWORD="x"),
    "of env": lambda o: only(o, "control")["env"].append({"name": "HITMESH_CONTROL_PASSWORD", "value": "x"}),
}


@pytest.mark.parametrize("place", CLEAR)
def test_a_secret_setting_in_clear_is_found(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SETTINGS", {**rules.SETTINGS, "control": GuardedSettings})
    objects = objects_of("base")
    reference = {"secretKeyRef": {"name": "passwords", "key": "control"}}
    only(objects, "control")["env"].append({"name": "HITMESH_CONTROL_PASSWORD", "valueFrom": reference})
    assert not list(rules.settings(objects))
    only(objects, "control")["env"].pop()
    CLEAR[place](objects)
    assert list(rules.settings(objects)) == ["Deployment control: HITMESH_CONTROL_PASSWORD is a secret in clear"]


def test_the_scheduled_doctor_runs_all_checks_except_the_one_that_reads_raw_hits() -> None:
    arguments = only(objects_of("overlays/production"), "doctor")["args"]
    chosen = [each.removeprefix("--check=") for each in arguments if each.startswith("--check=")]
    assert chosen == [check.name for check in CHECKS if check.name != "history"]
