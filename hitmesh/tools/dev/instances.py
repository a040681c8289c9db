"""The processes of a mesh on a single machine.

Each service has one process, or several processes with additional settlers.

The plan states the name, address and role of each process. The module `dev` starts the processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from hitmesh.runtime.reused_memory import REUSED_MEMORY
from hitmesh.tools.dev.envoy import Address

PROCESSOR: Final = "processor"
SERVICES: Final = ("collector", PROCESSOR, "reporter", "control")
SETTLER: Final = "settler"
BOOTSTRAP: Final = "hitmesh.tools.dev.bootstrap"


@dataclass(frozen=True, slots=True)
class Instance:
    """A process of a service.

    Attributes:
        name: name of the process, for users and for the log file.
        service: name of the service's Python module.
        node: node name, which is passed in the setting NODE.
        address: gRPC listener.
        metrics: metrics listener.
        settings: settings for this instance only, keyed by name without the service's prefix.
    """

    name: str
    service: str
    node: str
    address: Address
    metrics: Address
    settings: Mapping[str, str] = field(default_factory=dict)


def planned(
    free: Iterator[Address], replicas: int, of_processors: Mapping[str, str] = MappingProxyType({})
) -> list[Instance]:
    """Return the processes in the order in which a hit passes them.

    Args:
        free: addresses with free ports.
        replicas: number of instances of each service. If `replicas` is 2 or more, the same number of additional
            processors only settle days, and the other processors only process the stream.
        of_processors: settings for the processors, keyed by name without the service's prefix.
    """
    if replicas == 1:
        return [
            Instance(
                service, service, f"{service}-0", next(free), next(free), of_processors if service == PROCESSOR else {}
            )
            for service in SERVICES
        ]
    several: list[Instance] = []
    for service in SERVICES:
        role = {"ROLE": "stream", **of_processors} if service == PROCESSOR else {}
        for number in range(replicas):
            name = f"{service}-{number}"
            several.append(Instance(name, service, name, next(free), next(free), role))
        if service == PROCESSOR:
            settling = {"ROLE": "settler", **of_processors}
            for name in (f"{SETTLER}-{number}" for number in range(replicas)):
                several.append(Instance(name, PROCESSOR, name, next(free), next(free), settling))
    return several


def count(replicas: int) -> int:
    """Return the number of addresses that the processes of a mesh need."""
    return 2 * (len(SERVICES) * replicas + (replicas if replicas > 1 else 0))


def addresses(instances: Sequence[Instance], service: str) -> tuple[Address, ...]:
    """Return a service's gRPC addresses."""
    return tuple(instance.address for instance in instances if instance.service == service)


def environment(variables: Mapping[str, str], inherited: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment variables of a process.

    The variables of two processes differ only in names that begin with HITMESH_, because libraries read the other
    variables once, when the fork server imports the libraries for all processes.

    Args:
        variables: settings of the process, as environment variables.
        inherited: environment variables of the launcher. The launcher's own settings (HITMESH_…) are left out.
    """
    passed_on = {key: value for key, value in inherited.items() if not key.startswith("HITMESH_")}
    # Thread pools are small and memory arenas are few, because many processes share the machine.
    bounds = {"POLARS_MAX_THREADS": "2", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    return {**passed_on, **bounds, **REUSED_MEMORY, **variables}


def modules(*, on_servers: bool) -> list[str]:
    """Return the modules that the fork server imports: the services, and the adapters of the mesh's store."""
    adapters = ["hitmesh.adapters.on_servers", "hitmesh.adapters.schema", "hitmesh.tools.dev.schema"]
    return [*(f"{service}.__main__" for service in SERVICES), BOOTSTRAP, *(adapters if on_servers else ())]
