"""Commit the stream's rows and their log positions to raw.db, on one machine (step 6 of the journey).

Rows and positions are written in the same SQLite transaction. Only the newest writer may write. The module
hitmesh.adapters.embedded.compaction decides when rows are merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.compaction import Compaction
from hitmesh.adapters.embedded.reader_positions import ReaderPositions, committed_positions, save_positions
from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.embedded.stream_rows import Chunk, add_chunks, chunked
from hitmesh.adapters.shared.positions import refuse_rows_behind
from hitmesh.adapters.shared.stream_rows import as_streamed
from hitmesh.model.errors import Fenced
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.stream_values import FoldedRows
from hitmesh.runtime.logs import logger

_START = PartitionProgress(0, 0)


class EmbeddedOutbox:
    """Implements the port Outbox in raw.db.

    Args:
        database: raw.db.
        catalogue: the log of each topic.
        committed: the committed positions of each consumer group.
        group: the consumer group whose positions are committed.
        compaction: merges committed rows of the same stream; runs after every transaction.
        stream: the generation of all rows.
    """

    def __init__(
        self,
        database: Database,
        catalogue: LogCatalogue,
        committed: ReaderPositions,
        group: str,
        compaction: Compaction,
        stream: int = STREAM_GENERATION,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._committed = committed
        self._group = group
        self._compaction = compaction
        self._stream = stream

    def take_over(self) -> int:
        """Fence every earlier writer and return this writer's number. The fence is durable when the call returns."""
        with self._database.writing() as transaction:
            if not transaction.run("UPDATE writers SET newest = newest + 1 WHERE stream = ?", (self._stream,)):
                transaction.run("INSERT INTO writers (newest, stream) VALUES (1, ?)", (self._stream,))
            return _newest_writer(transaction, self._stream)

    def resolve(self, writer: int) -> None:
        """Wait for SQLite's write lock, so that no transaction of this writer is pending when the call returns.

        Raises:
            Fenced: a later writer took over.
        """
        with self._database.writing() as transaction:
            _refuse_others(transaction, writer, self._stream)

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commit rows and positions in a single transaction, then merge some earlier rows.

        Raises:
            Fenced: a later writer took over; nothing was written.
            PartitionsMoved: a transaction with rows has a position that is not beyond the committed position; nothing
                was written.
            CommitInDoubt: the commit itself failed, so the outcome is unknown.
            ValueError: a position is missing, a position belongs to another store's log, or rows have another stream's
                generation.
        """
        by_topic: dict[Topic, dict[PartitionId, PartitionProgress]] = {}
        for partition, progress in positions.items():
            by_topic.setdefault(self._catalogue.topic_of(partition.log), {})[partition] = progress
        committed: dict[PartitionId, PartitionProgress] = {}
        traffic = _chunks([folded_rows.traffic for folded_rows in rows], RowSource.TRAFFIC, self._stream)
        visits = _chunks([folded_rows.visits for folded_rows in rows], RowSource.VISITS, self._stream)
        with self._database.writing(raise_in_doubt=True) as transaction:
            _refuse_others(transaction, writer, self._stream)
            for topic in by_topic:
                committed |= committed_positions(transaction, topic, self._group)
            refuse_rows_behind(rows, positions, committed)
            add_chunks(transaction, [*traffic, *visits], self._stream)
            for topic, of_topic in by_topic.items():
                save_positions(transaction, topic, self._group, of_topic)
        self._compact()

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed position of every declared partition of both topics; (0, 0) without a commit."""
        found: dict[PartitionId, PartitionProgress] = {}
        for topic in Topic:
            saved = self._committed.committed(topic, self._group)
            found |= {partition: saved.get(partition, _START) for partition in self._catalogue.partition_ids(topic)}
        return found

    def _compact(self) -> None:
        """Merge rows. If the merge fails, only log the error, because the stream's transaction is already committed."""
        try:
            self._compaction.run()
        except BaseException as error:  # polars raises a panic as a BaseException
            logger().warning("stream_compaction_failed", error=type(error).__name__, message=str(error))


def _chunks(parts: Sequence[pl.DataFrame], source: RowSource, stream: int) -> list[Chunk]:
    """Return the chunks to store, which hold the rows of all partitions."""
    streamed = [as_streamed(part, source, stream) for part in parts if part.height]
    return chunked(pl.concat(streamed), source) if streamed else []


def _refuse_others(transaction: Transaction, writer: int, stream: int) -> None:
    newest = _newest_writer(transaction, stream)
    if writer != newest:
        raise Fenced(f"writer {writer} must not write any more, because writer {newest} took over")


def _newest_writer(transaction: Transaction, stream: int) -> int:
    return transaction.first(int, "SELECT newest FROM writers WHERE stream = ?", (stream,)) or 0
