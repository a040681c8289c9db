"""Commit the stream's rows, progress marks and positions in one Kafka transaction (step 6 of the journey).

Only this node's newest writer may write, and only as a member of the consumer group to which the partitions belong. The
module hitmesh.adapters.kafka.rollups decides the target topics and partitions. The module
hitmesh.adapters.kafka.transactions handles failed transactions.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer

from hitmesh.adapters.kafka.connection import CertificateWatch, connection, new_client
from hitmesh.adapters.kafka.log_reader import group_id
from hitmesh.adapters.kafka.members import GroupMembers
from hitmesh.adapters.kafka.offsets import committed_by, is_newer, offset_of
from hitmesh.adapters.kafka.rollups import RollupTopics
from hitmesh.adapters.kafka.transactions import Message, Offsets, TransactionalProducer
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.catalogue import Catalogue, Progress, Writers, log_of_stream
from hitmesh.adapters.shared.positions import refuse_rows_behind
from hitmesh.adapters.shared.stream_rows import as_streamed
from hitmesh.model.errors import CommitInDoubt, Fenced, HitmeshError, PartitionsMoved
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.stream_values import FoldedRows
from hitmesh.runtime.logs import logger

_START: Final = PartitionProgress(0, 0)


class KafkaOutbox:
    """Implements the port Outbox in Kafka. A single thread must call all methods except `committed`.

    Args:
        servers: addresses of Kafka and topic names.
        catalogue: the current log of each topic.
        group: the consumer group whose positions are committed.
        node: name of this instance; a later process with the same name fences this process.
        members: the consumer group memberships of this process's readers.
        progress: receives the applied positions for reports.
        writers: issues writer numbers.
        stream: the generation of all rows.
        shadow: the generation of the shadow stream whose progress marks are written; 0 for the marks of the processor.
    """

    def __init__(
        self,
        servers: Servers,
        catalogue: Catalogue,
        group: str,
        node: str,
        members: GroupMembers,
        progress: Progress,
        writers: Writers,
        *,
        stream: int = STREAM_GENERATION,
        shadow: int = 0,
    ) -> None:
        self._servers = servers
        self._catalogue = catalogue
        self._group = group
        self._members = members
        self._progress = progress
        self._writers = writers
        self._stream = stream
        self._shadow = shadow
        self._topics = RollupTopics(servers)
        self._producer = TransactionalProducer(servers, f"{servers.name}-{group}-{node}")
        self._certificates = CertificateWatch(servers)
        self._lock = threading.Lock()
        self._strangers: dict[Topic, Consumer] = {}
        self._done: dict[PartitionId, PartitionProgress] = {}
        self._unpublished: dict[PartitionId, PartitionProgress] = {}
        self._writer = 0

    def take_over(self) -> int:
        """Fence every earlier writer of this node; return a writer number that is greater than every earlier number."""
        # The new number is stored before earlier writers are fenced. If Kafka fenced the writers first, a fenced writer
        # would find no newer number and would fence this writer in return.
        self._writer = self._writers.next(self._producer.transactional_id)
        self._done = {}
        self._producer.begin_anew()
        return self._writer

    def resolve(self, writer: int) -> None:
        """Block until this writer has no pending transaction.

        Raises:
            Fenced: a later writer of this node took over.
        """
        self._check(writer)
        self._done = {}
        if not self._producer.is_unused:
            # A new producer ends the old producer's transaction. If a broker died during the transaction, the old
            # producer may wait forever for the coordinator, despite all time-outs.
            self._producer.begin_anew()

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commit rows, progress marks and positions in a single transaction, then publish the progress to reports.

        Raises:
            Fenced: a later writer took over; nothing was written.
            PartitionsMoved: a partition now belongs to another reader, or a transaction with rows has a position that
                is not beyond the committed position. Nothing was written.
            CommitInDoubt: the outcome is unknown.
            ValueError: a position is missing, a position belongs to another store's log, or rows have another stream's
                generation.
        """
        newer = self._newer(rows, positions)
        messages = self._messages(rows, newer)
        if writer != self._writer:
            raise Fenced(f"writer {writer} must not write any more, because writer {self._writer} took over")
        if not self._producer.is_ready:
            self.resolve(writer)
        try:
            self._producer.send(messages, self._offsets(newer))
        except HitmeshError as error:
            self._done = {}
            raise self._error_of(writer, error) from error
        self._done |= newer
        self._publish(newer)

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed position of every declared partition of both topics; (0, 0) without a commit."""
        found: dict[PartitionId, PartitionProgress] = {}
        for topic in Topic:
            partitions = self._catalogue.partition_ids(topic)
            found |= committed_by(self._stranger(topic), self._servers.topic(topic), partitions)
        return found

    def close(self) -> None:
        """Close the producer and consumers. A second call changes nothing."""
        self._producer.discard()
        strangers, self._strangers = self._strangers, {}
        for consumer in strangers.values():
            consumer.close()

    def _check(self, writer: int) -> None:
        newest = self._writers.newest(self._producer.transactional_id)
        if writer != newest:
            raise Fenced(f"writer {writer} must not write any more, because writer {newest} took over")

    def _error_of(self, writer: int, error: HitmeshError) -> HitmeshError:
        """Return the error to raise in place of `error`.

        If Kafka fenced this writer although no writer is newer, the error is CommitInDoubt. Kafka fences even the
        newest writer after a transaction that took too long.
        """
        if isinstance(error, Fenced) and self._writers.newest(self._producer.transactional_id) == writer:
            return CommitInDoubt(
                f"writer {writer}: {error.message}; in fact, no writer is newer, and the transaction took too long",
                writer=str(writer),
                cause=error.message,
            )
        return error

    def _newer(
        self, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> dict[PartitionId, PartitionProgress]:
        """Return those of `positions` that are beyond the committed positions.

        If there are rows and any position is not beyond the committed position, raise PartitionsMoved. A transaction
        with rows must also commit positions, because only then does Kafka check the group membership.
        """
        by_topic: dict[Topic, list[PartitionId]] = {}
        for partition in positions:
            topic = self._catalogue.topic_of(partition.log)
            if partition not in self._done:
                by_topic.setdefault(topic, []).append(partition)
        for topic, unknown in by_topic.items():
            self._done |= committed_by(self._stranger(topic), self._servers.topic(topic), unknown)
        try:
            refuse_rows_behind(rows, positions, self._done)
        except PartitionsMoved:
            self._done = {}
            raise
        return {
            partition: done
            for partition, done in positions.items()
            if is_newer(done, self._done.get(partition, _START))
        }

    def _messages(
        self, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> list[Message]:
        messages: list[Message] = []
        for folded_rows in rows:
            streamed = {
                RowSource.TRAFFIC: as_streamed(folded_rows.traffic, RowSource.TRAFFIC, self._stream),
                RowSource.VISITS: as_streamed(folded_rows.visits, RowSource.VISITS, self._stream),
            }
            messages += self._topics.messages(folded_rows.partition.partition, streamed)
        for partition, done in positions.items():
            named = PartitionId(log_of_stream(partition.log, self._shadow), partition.partition)
            messages += self._topics.marks(named, done)
        return messages

    def _offsets(self, positions: Mapping[PartitionId, PartitionProgress]) -> Offsets:
        by_topic: dict[Topic, list[Any]] = {}
        for partition, done in positions.items():
            topic = self._catalogue.topic_of(partition.log)
            by_topic.setdefault(topic, []).append(offset_of(self._servers.topic(topic), partition, done))
        return [(offsets, self._membership(topic)) for topic, offsets in by_topic.items()]

    def _membership(self, topic: Topic) -> Any:
        """Return the membership of this process's reader.

        If this process has not opened a reader yet, return a separate consumer's membership.
        """
        metadata = self._members.metadata(topic, self._group)
        return self._stranger(topic).consumer_group_metadata() if metadata is None else metadata

    def _stranger(self, topic: Topic) -> Consumer:
        """Return a consumer that reads the consumer group's committed positions, but never joins the group."""
        with self._lock:
            if self._certificates.has_changed():
                self._certificates.note()
                self._strangers = {}
            if topic not in self._strangers:
                self._strangers[topic] = new_client(
                    Consumer,
                    {
                        **connection(self._servers),
                        "group.id": group_id(self._servers, self._group, topic),
                        "isolation.level": "read_committed",
                        "enable.auto.commit": False,
                    },
                )
            return self._strangers[topic]

    def _publish(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Publish positions as the progress that reports read; log any error.

        The transaction has already committed, so an error must not be raised. If the publication fails, the positions
        are published again with the next transaction. If the positions were not published again, reports would see an
        old position for a long time in a partition that gets no further record.
        """
        self._unpublished |= positions
        try:
            self._progress.publish(self._unpublished)
        except HitmeshError as error:
            logger().warning("progress_not_published", reason=error.reason, message=error.message)
        else:
            self._unpublished = {}
