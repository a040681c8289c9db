"""Kafka's adapters, composed as in a mesh with two processes, and functions that read the topics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from hitmesh.adapters.cassandra.logs import DeclaredLogs
from hitmesh.adapters.cassandra.progress import CassandraProgress
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.cassandra.writers import Writers
from hitmesh.adapters.kafka.log import KafkaEventLog
from hitmesh.adapters.kafka.log_reader import MAX_SILENCE_S, KafkaLogReader
from hitmesh.adapters.kafka.log_scan import KafkaLogScan
from hitmesh.adapters.kafka.members import GroupMembers
from hitmesh.adapters.kafka.outbox import KafkaOutbox
from hitmesh.adapters.servers import Servers
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.stream_values import FoldedRows
from tests.support.opened import NOON
from tests.support.stored_rows import a_row
from tests.support.stream_builders import signed

GROUP = "processor"


def a_record(value: bytes = b"value", collected: int = NOON) -> Record:
    return Record(RecordKind.HITS, value, 1, 1, 2, collected, 1, "collector-0", "lists-1")


class Parts:
    """The adapters of several processes. Each node name stands for a process."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.session = CassandraSession(servers)
        self.catalogue = DeclaredLogs(self.session)
        self.log = KafkaEventLog(servers, self.catalogue)
        self.scan = KafkaLogScan(servers, self.catalogue)
        self.members: dict[str, GroupMembers] = {}
        self._closing: list[Callable[[], None]] = [self.session.close, self.log.close]

    def reader(
        self,
        node: str,
        topic: Topic = Topic.HITS,
        members: GroupMembers | None = None,
        *,
        group: str = GROUP,
        max_silence_s: float = MAX_SILENCE_S,
    ) -> KafkaLogReader:
        group_members = members or self.members.setdefault(node, GroupMembers())
        reader = KafkaLogReader(
            self.servers, self.catalogue, topic, group, node, group_members, max_silence_s=max_silence_s
        )
        self._closing.append(reader.close)
        return reader

    def outbox(self, node: str) -> KafkaOutbox:
        members = self.members.setdefault(node, GroupMembers())
        progress = CassandraProgress(self.session, self.catalogue)
        outbox = KafkaOutbox(self.servers, self.catalogue, GROUP, node, members, progress, Writers(self.session))
        self._closing.append(outbox.close)
        return outbox

    def partition(self, number: int = 0, topic: Topic = Topic.HITS) -> PartitionId:
        return PartitionId(self.catalogue.log_id(topic), number)

    def append(self, number: int, *values: bytes) -> list[Position]:
        futures = [self.log.append(Topic.HITS, number, a_record(value)) for value in values]
        return [future.result(10).position for future in futures]

    def rows(self, number: int = 0, hits: int = 1) -> FoldedRows:
        traffic = signed(RowSource.TRAFFIC, a_row(hits=hits))
        return FoldedRows(self.partition(number), traffic, signed(RowSource.VISITS))

    def produce(
        self, topic: str, partition: int, *messages: tuple[bytes, list[tuple[str, str | bytes | None]]]
    ) -> None:
        """Produce messages directly, without the adapter."""
        producer = Producer({"bootstrap.servers": self.servers.kafka})
        for value, headers in messages:
            producer.produce(topic, value, partition=partition, headers=headers)
        assert producer.flush(10) == 0

    def lines(self, source: RowSource, *, committed: bool = True) -> list[list[Mapping[str, Any]]]:
        """Return the rows and marks of each partition of the rollups topic, in order."""
        topic = self.servers.rollups(source)
        level = "read_committed" if committed else "read_uncommitted"
        return [
            [json.loads(line) for message in _messages(self.servers, topic, number, level) for line in _split(message)]
            for number in range(2)
        ]

    def hits(self) -> int:
        """Return the sum of `hits` over all committed rows in the rollups topic."""
        return sum(line.get("hits", 0) for partition_lines in self.lines(RowSource.TRAFFIC) for line in partition_lines)

    def close(self) -> None:
        for close in reversed(self._closing):
            close()


def polled(reader: KafkaLogReader, count: int) -> list[LoggedRecord]:
    """Return the next `count` records that the reader polls."""
    found: list[LoggedRecord] = []
    while len(found) < count:
        more = reader.poll(count, 10.0)
        assert more
        found += more
    return found


def ends_of(records: list[LoggedRecord]) -> dict[PartitionId, PartitionProgress]:
    """Return, for each partition, the position just after the last of the given records."""
    return {
        PartitionId(logged.position.log, logged.position.partition): PartitionProgress(
            logged.position.offset + 1, logged.log_time
        )
        for logged in records
    }


def _split(message: Message) -> list[bytes]:
    return (message.value() or b"").splitlines()


def _messages(servers: Servers, topic: str, partition: int, level: str) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": servers.kafka,
            "group.id": "look",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": level,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Message] = []
    while True:
        message = consumer.poll(10.0)
        assert message is not None
        if message.error() is not None:  # the end of the partition is reported as an error
            consumer.close()
            return found
        found.append(message)
