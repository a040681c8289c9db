"""Gathers facts about the mesh's processes: front door, services, Envoy, metrics, contract, freshness.

Every call has a time limit, and the watch names the called address.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from hitmesh.tools.dev.instances import SERVICES
from hitmesh.tools.doctor.facts import (
    ClockReading,
    ContractFile,
    DoorFacts,
    EnvoyFacts,
    EnvoyHost,
    ProcessFacts,
    ServiceHealth,
)
from hitmesh.tools.doctor.findings import Skipped
from hitmesh.tools.doctor.http_calls import CALL_S, clock_reading, get
from hitmesh.tools.doctor.place import Place
from hitmesh.tools.doctor.running import Watch, text_of

DOOR_PATH: Final = "/doctor"
"""A path that no service has, so that Envoy itself answers with HTTP status 404."""
HEALTH_SERVICES: Final[Mapping[str, str]] = {
    "hitmesh.api.collector.v1.CollectorService": "collector",
    "hitmesh.api.control.v1.TraceService": "processor",
    "hitmesh.api.reporter.v1.ReporterService": "reporter",
    "hitmesh.api.control.v1.AdminService": "control",
}
"""A named service of each part, and the part."""
_BUILD: Final = re.compile(r"^hitmesh_process_build_info\{([^}]*)\}", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


def gather_door(place: Place, watch: Watch) -> DoorFacts:
    """Send a request that Envoy answers without any service."""
    if not place.door:
        return DoorFacts(str(place.home), 0, place.door_error)
    watch.on(f"the front door at {place.door}")
    try:
        status, _, _ = get(place.door, DOOR_PATH, watch)
    except (OSError, http.client.HTTPException) as error:
        return DoorFacts(place.door, 0, text_of(error))
    return DoorFacts(place.door, status)


def gather_health(place: Place, watch: Watch) -> list[ServiceHealth]:
    """Ask for the health of a named service of each part, through Envoy, all at once."""
    watch.on(f"health checks through Envoy at {place.door}")
    with grpc.insecure_channel(place.door) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        calls = {
            service: stub.Check.future(health_pb2.HealthCheckRequest(service=service), timeout=watch.left_s(CALL_S))
            for service in HEALTH_SERVICES
        }
        return [_health(service, call) for service, call in calls.items()]


def _health(service: str, call: Any) -> ServiceHealth:
    part = HEALTH_SERVICES[service]
    try:
        answer = call.result()
    except grpc.RpcError as error:
        return ServiceHealth(service, part, error.code().name, error.details() or "")
    return ServiceHealth(service, part, health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def gather_envoy(place: Place, watch: Watch) -> EnvoyFacts | Skipped:
    """Read Envoy's state and clusters from its read-only listener."""
    if not place.envoy:
        return Skipped("the address of Envoy's statistics is unknown: give --metrics envoy=HOST:PORT")
    watch.on(f"Envoy's statistics at {place.envoy}")
    _, _, info = get(place.envoy, "/server_info", watch)
    _, _, clusters = get(place.envoy, "/clusters?format=json", watch)
    return envoy_facts(place.envoy, json.loads(info), json.loads(clusters))


def envoy_facts(address: str, info: Mapping[str, Any], clusters: Mapping[str, Any]) -> EnvoyFacts:
    """Return the facts in Envoy's answers to /server_info and /clusters?format=json."""
    hosts = [
        EnvoyHost(status["name"], _host_address(host), _reasons(host.get("health_status", {})))
        for status in clusters.get("cluster_statuses", ())
        if status["name"] in SERVICES
        for host in status.get("host_statuses", ())
    ]
    return EnvoyFacts(address, str(info.get("state", "unknown")), SERVICES, hosts)


def _host_address(host: Mapping[str, Any]) -> str:
    place = host.get("address", {}).get("socket_address", {})
    return f"{place.get('address', '?')}:{place.get('port_value', '?')}"


def _reasons(health: Mapping[str, Any]) -> list[str]:
    reasons = [name for name, value in health.items() if value is True]
    if health.get("eds_health_status") != "HEALTHY":
        reasons.append(f"eds_health_status {health.get('eds_health_status')}")
    return reasons


def gather_processes(place: Place, watch: Watch) -> list[ProcessFacts] | Skipped:
    """Read the version of every process from its metrics."""
    if not place.processes:
        return Skipped("no address of metrics is known: give --metrics NAME=HOST:PORT")
    return [
        _process(name, address, watch)
        for name, host_port in place.processes.items()
        for name, address in resolved(name, host_port, watch)
    ]


def _process(name: str, address: str, watch: Watch) -> ProcessFacts:
    watch.on(f"the metrics of {name} at {address}")
    url = f"http://{address}/metrics"
    part = next((part for part in SERVICES if name.startswith(part)), name)
    try:
        _, _, body = get(address, "/metrics", watch, most_s=2.0)
    except (OSError, http.client.HTTPException) as error:
        return ProcessFacts(name, url, part, error=text_of(error))
    found = _BUILD.search(body.decode(errors="replace"))
    labels = dict(_LABEL.findall(found[1])) if found else {}
    return ProcessFacts(name, url, part, labels.get("version", ""))


def resolved(name: str, host_port: str, watch: Watch) -> Iterator[tuple[str, str]]:
    """Yield a name and host:port for each address of a host, because a headless service has many addresses.

    A pod with an address in both families counts once: IPv6 addresses are used only without an IPv4 address.
    """
    watch.on(f"the name service for {host_port}")
    host, _, port = host_port.rpartition(":")
    families = (socket.AF_INET, socket.AF_INET6)
    addresses = next(filter(None, (_addresses(host.strip("[]"), int(port), family) for family in families)), [])
    if not addresses:
        yield name, host_port
    for address in addresses:
        shown = f"[{address}]" if ":" in address else address
        yield (name if len(addresses) == 1 else f"{name} {address}"), f"{shown}:{port}"


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    """Return the addresses of a host in an address family; none if the name service knows none."""
    try:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)})
    except OSError:
        return []


def gather_contract(place: Place, watch: Watch) -> list[ContractFile] | Skipped:
    """Compare the protos that reflection serves with the protos of this program."""
    watch.on(f"reflection through Envoy at {place.door}")
    with grpc.insecure_channel(place.door) as channel:
        try:
            served = ProtoReflectionDescriptorDatabase(channel)
            return [_compared(file, served) for file in _public_files()]
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return Skipped("the mesh serves no reflection")
            raise


def _public_files() -> list[FileDescriptor]:
    from hitmesh.api.collector.v1 import collector_pb2, json_pb2
    from hitmesh.api.control.v1 import admin_pb2, operations_pb2, rejected_hits_pb2, reprocessing_pb2, trace_pb2
    from hitmesh.api.hit.v1 import hit_pb2
    from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2

    modules = (
        hit_pb2,
        collector_pb2,
        json_pb2,
        reporter_pb2,
        export_pb2,
        admin_pb2,
        operations_pb2,
        trace_pb2,
        rejected_hits_pb2,
        reprocessing_pb2,
    )
    return [module.DESCRIPTOR for module in modules]


def _compared(file: FileDescriptor, served: ProtoReflectionDescriptorDatabase) -> ContractFile:
    mine = FileDescriptorProto()
    file.CopyToProto(mine)
    try:
        theirs = served.FindFileByName(file.name)
    except KeyError:
        return ContractFile(file.name, "missing in the mesh")
    return ContractFile(file.name, "same" if theirs == mine else "different")


def gather_clocks(place: Place, watch: Watch) -> list[ClockReading] | Skipped:
    """Read the clocks of Envoy, of the processes and of the stores."""
    addresses = {"Envoy": place.door, **place.processes}
    readings = [*_clocks_of(place, addresses, watch), *_clocks_of_stores(place, watch)]
    return readings or Skipped("no process answers with its time")


def _clocks_of(place: Place, addresses: Mapping[str, str], watch: Watch) -> Iterator[ClockReading]:
    for name, host_port in addresses.items():
        for source, address in resolved(name, host_port, watch):
            watch.on(f"the clock of {source} at {address}")
            before = place.clock.now()
            try:
                _, headers, _ = get(address, DOOR_PATH if name == "Envoy" else "/metrics", watch, most_s=2.0)
            except (OSError, http.client.HTTPException):
                continue  # the checks of door and processes report a process that does not answer
            reading = clock_reading(source, headers, before, place.clock.now())
            if reading is not None:
                yield reading


def _clocks_of_stores(place: Place, watch: Watch) -> Iterable[ClockReading]:
    if not place.is_on_servers:
        return ()
    from hitmesh.tools.doctor.gather_servers import clocks_of_servers

    return clocks_of_servers(place, watch)
