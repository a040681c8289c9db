"""Configuration and command of Kafka as a single process, which is both broker and controller.

Everything in this module is pure, except for the health check.
"""

from __future__ import annotations

import base64
import uuid
from functools import partial
from typing import Final

from hitmesh.tools.stack.health import kafka_answers
from hitmesh.tools.stack.server import HOST, Place, Server, jvm, log4j

HEAP: Final = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:MaxDirectMemorySize=256m")
# Maximum time for which a transaction stays open. A transaction is open while a window is processed, or until an
# unknown commit is resolved. Kafka must retain a consumer group's committed offsets even if the mesh is stopped for
# years.
_TRANSACTION_MAX_MS: Final = 15 * 60_000
_OFFSETS_KEPT_MIN: Final = 10 * 365 * 24 * 60


def kafka(place: Place) -> Server:
    """Return the server."""
    conf = place.conf / "kafka"
    file, logging, data = conf / "server.properties", conf / "log4j2.xml", place.data / "kafka"
    program = (f"-Dlog4j2.configurationFile={logging}", "-cp", place.class_path(jars="lib/kafka"))
    storage_tool = (place.java, "-Xmx128m", *program, "kafka.tools.StorageTool", "format", "-c", str(file))
    return Server(
        name="kafka",
        port=place.ports["kafka"],
        needs=(),
        files={file: _properties(place), logging: log4j("warn")},
        folders=(data,),
        command=(*jvm(place, "kafka", *HEAP), *program, "kafka.Kafka", str(file)),
        is_healthy=partial(kafka_answers, place.ports["kafka"]),
        prepare=(*storage_tool, "-t", cluster_id(uuid.uuid4())),
        prepared=data / "meta.properties",
    )


def cluster_id(number: uuid.UUID) -> str:
    """Return a new cluster id without "-", because the storage tool takes a leading "-" as the start of an option."""
    return base64.urlsafe_b64encode(number.bytes).decode().rstrip("=").replace("-", "A")


def _properties(place: Place) -> str:
    controller, kafka = place.address("kafka-controller"), place.address("kafka")
    return f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{kafka},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{kafka}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={place.data / "kafka"}
num.network.threads=2
num.io.threads=4
log.segment.bytes={64 << 20}
log.cleaner.dedupe.buffer.size={2 << 20}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
offsets.retention.minutes={_OFFSETS_KEPT_MIN}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.max.timeout.ms={_TRANSACTION_MAX_MS}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
controlled.shutdown.enable=true
# All listeners are on {HOST}, so other machines cannot connect.
"""
