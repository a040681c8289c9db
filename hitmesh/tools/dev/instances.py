"""Which processes a mesh on one machine has: one of each service, or several of each and the settler apart.

Decides names, addresses and roles; starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hitmesh.tools.dev.envoy import Address

SERVICES: Final = ("collector", "processor", "reporter")
SETTLER: Final = "settler"


@dataclass(frozen=True, slots=True)
class Instance:
    """A process of a service.

    Attributes:
        name: of its log and in lists.
        service: the module that it runs.
        node: what it calls itself.
        address: of its gRPC listener.
        metrics: where its metrics are.
        settings: of its own, without the prefix of the service.
    """

    name: str
    service: str
    node: str
    address: Address
    metrics: Address
    settings: Mapping[str, str] = field(default_factory=dict)


def planned(free: Iterator[Address], replicas: int) -> list[Instance]:
    """Returns the processes in the order of a hit's journey.

    Args:
        free: addresses that nobody listens on.
        replicas: how many of each service; with several, one more processor settles and the others stream.
    """
    if replicas == 1:
        return [Instance(service, service, f"{service}-0", next(free), next(free)) for service in SERVICES]
    several: list[Instance] = []
    for service in SERVICES:
        role = {"ROLE": "stream"} if service == "processor" else {}
        for number in range(replicas):
            name = f"{service}-{number}"
            several.append(Instance(name, service, name, next(free), next(free), role))
        if service == "processor":
            settling = {"ROLE": "settler"}
            several.append(Instance(SETTLER, "processor", SETTLER, next(free), next(free), settling))
    return several


def count(replicas: int) -> int:
    """Returns how many addresses the processes of a mesh need."""
    return 2 * (len(SERVICES) * replicas + (replicas > 1))


def addresses(instances: Sequence[Instance], service: str) -> tuple[Address, ...]:
    """Returns where a service listens."""
    return tuple(one.address for one in instances if one.service == service)
