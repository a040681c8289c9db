"""Configuration and command of a member's Kafka process, which is both broker and controller.

Everything in this module is pure, except for the health check.
"""

from __future__ import annotations

import base64
import uuid
from functools import partial
from typing import Final

from hitmesh.tools.stack.health import kafka_answers
from hitmesh.tools.stack.members import Member
from hitmesh.tools.stack.server import Place, Server, jvm, log4j

MEMBER_HEAP: Final = ("-Xms128m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxDirectMemorySize=128m")
HEAP: Final = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:MaxDirectMemorySize=256m")
# Maximum time for which a transaction stays open. A transaction is open while a window is processed, or until an
# unknown commit is resolved. Kafka must retain a consumer group's committed offsets even if the mesh is stopped for
# years.
_TRANSACTION_MAX_MS: Final = 15 * 60_000
_OFFSETS_KEPT_MIN: Final = 10 * 365 * 24 * 60


def kafka(place: Place, member: Member) -> Server:
    """Return the server."""
    name = member.name("kafka")
    conf = place.conf / name
    file, logging, data = conf / "server.properties", conf / "log4j2.xml", place.data / name
    program = (f"-Dlog4j2.configurationFile={logging}", "-cp", place.class_path(jars="lib/kafka"))
    storage_tool = (place.java, "-Xmx128m", *program, "kafka.tools.StorageTool", "format", "-c", str(file))
    return Server(
        name=name,
        port=place.ports["kafka"],
        host=member.host,
        needs=(),
        files={file: _properties(place, member), logging: log4j("warn")},
        folders=(data,),
        command=(
            *member.within,
            *jvm(place, name, *(MEMBER_HEAP if place.is_replicated else HEAP)),
            *(*program, "kafka.Kafka", str(file)),
        ),
        is_healthy=partial(kafka_answers, place.ports["kafka"], member.host),
        prepare=(*storage_tool, "-t", _cluster_of(place)),
        prepared=data / "meta.properties",
    )


def _cluster_of(place: Place) -> str:
    # All members must have the same id. The path of the data makes it differ between homes.
    return cluster_id(uuid.uuid5(uuid.NAMESPACE_URL, str(place.data)) if place.is_replicated else uuid.uuid4())


def cluster_id(number: uuid.UUID) -> str:
    """Return a new cluster id without "-", because the storage tool takes a leading "-" as the start of an option."""
    return base64.urlsafe_b64encode(number.bytes).decode().rstrip("=").replace("-", "A")


def _properties(place: Place, member: Member) -> str:
    controller, kafka = place.address("kafka-controller", member), place.address("kafka", member)
    voters = ",".join(f"{each.number}@{place.address('kafka-controller', each)}" for each in place.members)
    copies, in_sync = (3, 2) if place.is_replicated else (1, 1)
    return f"""process.roles=broker,controller
node.id={member.number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{kafka},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{kafka}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={place.data / member.name("kafka")}
num.network.threads=2
num.io.threads=4
log.segment.bytes={64 << 20}
log.cleaner.dedupe.buffer.size={2 << 20}
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={copies}
offsets.retention.minutes={_OFFSETS_KEPT_MIN}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.max.timeout.ms={_TRANSACTION_MAX_MS}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
controlled.shutdown.enable=true
# All listeners are on {member.host}, so other machines cannot connect.
"""
