"""Decides which facts about the mesh's services are findings. Pure.

Knows nothing of how facts are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hitmesh import __version__
from hitmesh.model.plurals import counted
from hitmesh.tools.doctor import kinds
from hitmesh.tools.doctor.facts import (
    ContractFile,
    DoorFacts,
    EnvoyFacts,
    EnvoyHost,
    FreshnessFacts,
    ProcessFacts,
    ServiceHealth,
)
from hitmesh.tools.doctor.findings import Finding, Verdict
from hitmesh.tools.doctor.limits import Limits

_SERVING: Final = "SERVING"
_LIVE: Final = "LIVE"
_STATEFUL: Final = ("processor", "settler")
"""Services that are StatefulSets in Kubernetes; the others are Deployments."""
_SERVER_ERROR: Final = 500


def judge_door(facts: DoorFacts, _: Limits) -> Verdict:
    """Judge the front door's answer to a request without a key."""
    if facts.error:
        cause = f"{facts.address} does not answer"
        return Verdict(cause, [kinds.DOOR_CLOSED.about(f"door {facts.address}", cause, facts.error)])
    if facts.status >= _SERVER_ERROR:
        evidence = f"HTTP status {facts.status} for a request that Envoy answers itself"
        cause = "Envoy refuses requests, for example because its memory is full"
        return Verdict(evidence, [kinds.DOOR_FAILS.about(f"door {facts.address}", cause, evidence)])
    return Verdict(f"{facts.address} answers")


def judge_health(facts: Sequence[ServiceHealth], _: Limits) -> Verdict:
    """Judge the services' answers to health checks through Envoy."""
    findings = [
        kinds.NOT_SERVING.about(
            each.service,
            f"the {each.part} does not serve calls",
            f"health check through Envoy: {each.status}{f' ({each.detail})' if each.detail else ''}",
            part=each.part,
        )
        for each in facts
        if each.status != _SERVING
    ]
    return Verdict(f"{len(facts) - len(findings)} of {counted(len(facts), 'service')} serving", findings)


def judge_envoy(facts: EnvoyFacts, _: Limits) -> Verdict:
    """Judge Envoy's state, and its view of the services' instances."""
    findings = [*_state_findings(facts), *_cluster_findings(facts)]
    healthy = sum(not host.reasons for host in facts.hosts)
    return Verdict(f"{facts.state}, {healthy} of {counted(len(facts.hosts), 'instance')} healthy", findings)


def _state_findings(facts: EnvoyFacts) -> Iterator[Finding]:
    if facts.state != _LIVE:
        evidence = f"GET http://{facts.address}/server_info: state {facts.state}"
        yield kinds.ENVOY_NOT_LIVE.about("envoy", f"Envoy is in the state {facts.state}", evidence)


def _cluster_findings(facts: EnvoyFacts) -> Iterator[Finding]:
    for cluster in facts.clusters:
        hosts = [host for host in facts.hosts if host.cluster == cluster]
        bad = [host for host in hosts if host.reasons]
        if len(bad) == len(hosts):
            evidence = "; ".join(map(_reason_text, bad)) or "Envoy knows no instance"
            cause = f"no instance of the {cluster} is healthy"
            yield kinds.NO_HEALTHY_INSTANCE.about(f"cluster {cluster}", cause, evidence, part=cluster)
            continue
        for host in bad:
            cause = f"{len(bad)} of {len(hosts)} instances of the {cluster} are not healthy"
            yield kinds.UNHEALTHY_INSTANCE.about(f"{cluster} {host.address}", cause, _reason_text(host), part=cluster)


def _reason_text(host: EnvoyHost) -> str:
    return f"{host.address}: {', '.join(host.reasons)}"


def judge_processes(facts: Sequence[ProcessFacts], _: Limits) -> Verdict:
    """Judge whether every process answers, and whether all processes and this command have the same version."""
    silent = [
        kinds.PROCESS_SILENT.about(
            f"process {each.name}",
            f"{each.name} does not serve its metrics",
            f"GET {each.url}: {each.error}",
            part=each.part or each.name,
        )
        for each in facts
        if each.error
    ]
    versions = {each.name: each.version for each in facts if each.version}
    answering = f"{len(facts) - len(silent)} of {counted(len(facts), 'metrics listener')} answering"
    found = ", ".join(sorted(set(versions.values())))
    summary = f"{answering}, version {found}" if found else answering
    return Verdict(summary, [*silent, *_version_findings(facts, versions)])


def _version_findings(facts: Sequence[ProcessFacts], versions: dict[str, str]) -> Iterator[Finding]:
    found = sorted(set(versions.values()))
    evidence = ", ".join(f"{name} {version}" for name, version in versions.items())
    if len(found) > 1:
        part = next(each.part or each.name for each in facts if each.version == found[0])
        cause = f"the processes have {len(found)} versions: {', '.join(found)}"
        workload = f"{'statefulset' if part in _STATEFUL else 'deployment'}/{part}"
        yield kinds.MIXED_VERSIONS.about("versions", cause, evidence, workload=workload)
    elif found and found[0] != __version__:
        cause = f"the mesh has version {found[0]}, and this command {__version__}"
        yield kinds.OTHER_VERSION.about("versions", cause, evidence)


def judge_contract(facts: Sequence[ContractFile], _: Limits) -> Verdict:
    """Judge whether the mesh serves the same protos as this command line."""
    different = [each for each in facts if each.state != "same"]
    summary = f"{len(facts) - len(different)} of {counted(len(facts), 'proto')} equal"
    if not different:
        return Verdict(summary)
    evidence = ", ".join(f"{each.name}: {each.state}" for each in different)
    cause = f"{counted(len(different), 'proto')} differ between the mesh and this command"
    return Verdict(summary, [kinds.OTHER_CONTRACT.about("contract", cause, evidence)])


def judge_freshness(facts: FreshnessFacts, limits: Limits) -> Verdict:
    """Judge how old reports are, and whether log partitions make progress."""
    lag = "unknown" if facts.lag_s is None else f"{facts.lag_s:,.1f} s"
    evidence = f"GetFreshness of {facts.site}: state {facts.state}, lag {lag}"
    findings = [
        kinds.LOG_TIME_AHEAD.about(f"partition {text.partition(' ')[0]}", "the log time is in the future", text)
        for text in facts.ahead
    ]
    if facts.stalled:
        cause = facts.cause or "partitions make no progress"
        findings.append(kinds.STALLED.about(f"partitions {', '.join(facts.stalled)}", cause, evidence))
    elif facts.state != _LIVE or (facts.lag_s is not None and facts.lag_s > limits.lag_s):
        cause = facts.cause or f"reports are {lag} old, more than {limits.lag_s:g} s"
        findings.append(kinds.DELAYED.about("freshness", cause, evidence))
    return Verdict(f"{facts.state}, lag {lag}", findings)
