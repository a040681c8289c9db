"""The Maven artifacts of the servers with their versions, and a digest over all artifacts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

KAFKA: Final = "4.3.1"
CASSANDRA: Final = "5.0.8"
DRUID: Final = "33.0.0"
# Kafka's artifact depends only on a logging API, so a logging implementation is added.
LOG4J: Final = "2.25.4"
JAVA: Final = 17
EXTENSIONS: Final = ("druid-kafka-indexing-service", "druid-datasketches")


@dataclass(frozen=True, slots=True)
class Artifact:
    """Maven artifacts whose jars, with all runtime dependencies, are put into a folder.

    Attributes:
        folder: path below the cache.
        parts: triples (group, name, version), one for each artifact.
        managed: triple (group, name, version) for a bill of materials that sets the versions of dependencies.
        left_out: pairs (group, name) of the dependencies to exclude.
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
    # Sigar is a native library that is missing in public repositories. Only monitors that are disabled here use Sigar.
    Artifact("lib/druid", (("org.apache.druid", "druid-services", DRUID),), _OF_DRUID, (("org.hyperic", "sigar"),)),
    *(
        Artifact(f"extensions/{name}", (("org.apache.druid.extensions", name, DRUID),), _OF_DRUID)
        for name in EXTENSIONS
    ),
)


def digest() -> str:
    """Return 12 hexadecimal digits that change whenever an artifact changes."""
    return hashlib.sha256(repr(ARTIFACTS).encode()).hexdigest()[:12]
