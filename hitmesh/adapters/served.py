"""The parts of a store that the health of a process may depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum


class Served(StrEnum):
    """The part of the stores that a question about health concerns. The value names the part in causes."""

    FILES = "the data directory"
    LOG = "Kafka"
    TABLES = "Cassandra"
    ROWS = "Druid"


Probes = Mapping[str, Callable[[], None]]
"""A function for each part of the stores, by a value of Served.

The function returns when the part has answered, or raises an error.
"""


def only(probes: Probes, *parts: Served) -> Probes:
    """Return the probes of some parts. A part without a probe is left out."""
    return {part: probe for part, probe in probes.items() if part in parts}
