"""Which programs run: their Maven artifacts. Decides versions only; one digest names a set of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

KAFKA: Final = "4.3.1"
CASSANDRA: Final = "5.0.8"
DRUID: Final = "33.0.0"
# Kafka's artifact brings an interface for logs and nothing that writes them.
LOG4J: Final = "2.25.4"
JAVA: Final = 17
EXTENSIONS: Final = ("druid-kafka-indexing-service", "druid-datasketches")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A Maven artifact whose jars, with all they need at run time, go into one folder.

    Attributes:
        folder: below the cache.
        parts: (group, name, version) of each artifact.
        managed: (group, name, version) of a bill of materials that decides the other versions.
        left_out: (group, name) of what must not come along.
    """

    folder: str
    parts: tuple[tuple[str, str, str], ...]
    managed: tuple[str, str, str] | None = None
    left_out: tuple[tuple[str, str], ...] = ()


_OF_DRUID: Final = ("org.apache.druid", "druid", DRUID)
_LOGS: Final = "org.apache.logging.log4j"

ARTIFACTS: Final = (
    Artifact(
        "lib/kafka",
        (
            ("org.apache.kafka", "kafka_2.13", KAFKA),
            (_LOGS, "log4j-slf4j-impl", LOG4J),
            (_LOGS, "log4j-core", LOG4J),
        ),
    ),
    Artifact("lib/cassandra", (("org.apache.cassandra", "cassandra-all", CASSANDRA),)),
    # Sigar is a native library that no public repository has; only monitors that are off would use it.
    Artifact("lib/druid", (("org.apache.druid", "druid-services", DRUID),), _OF_DRUID, (("org.hyperic", "sigar"),)),
    *(
        Artifact(f"extensions/{name}", (("org.apache.druid.extensions", name, DRUID),), _OF_DRUID)
        for name in EXTENSIONS
    ),
)


def digest() -> str:
    """Returns 12 hexadecimal digits that change with any artifact."""
    return hashlib.sha256(repr(ARTIFACTS).encode()).hexdigest()[:12]
