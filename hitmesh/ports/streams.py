"""The ports for streams beside each other: the table that names them, and the stores for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.streams import StreamTable
from hitmesh.ports.log import LogReader
from hitmesh.ports.reporting import ProgressReader
from hitmesh.ports.streaming import Outbox, SeriesStore, StateStore


class Streams(Protocol):
    """Stores the stream table (hitmesh.model.streams) as a whole."""

    def read(self) -> StreamTable:
        """Return the stored table; an empty table before the first change.

        Raises:
            StoreCorrupt: the stored value does not decode.
        """

    def replace(self, table: StreamTable) -> bool:
        """Replace the stored table whose version is one below the given version, durably; return whether it succeeded.

        A repeated call with the same table returns True.
        """


@dataclass(frozen=True, slots=True)
class StreamStore:
    """A single stream's stores. No other stream reads or writes these values.

    Attributes:
        log_reader: returns a reader of a topic at the stream's committed positions; the caller must close it.
        outbox: accepts rows of the stream's generation.
        series: accepts partials of the stream's generation, and notes the stream's flushed positions.
        states: the stream's snapshots.
        progress: the stream's committed positions.
        ingested_through: as MetricStore.ingested_through, for the stream's rows.
        forget_positions: removes the committed positions of a shadow's group; idempotent, and only for a shadow.
        forget: removes snapshots and flushed positions, and frees the room of dropped rows; idempotent.
    """

    log_reader: Callable[[Topic], LogReader]
    outbox: Outbox
    series: SeriesStore
    states: StateStore
    progress: ProgressReader
    ingested_through: Callable[[], Mapping[PartitionId, PartitionProgress]]
    forget_positions: Callable[[], None]
    forget: Callable[[], None]


class OneStream(Protocol):
    """Returns a stream's stores."""

    def __call__(self, generation: int, *, is_shadow: bool) -> StreamStore:
        """Return the stores for the stream with this generation.

        With `is_shadow`, the positions are those in the shadow's consumer group; otherwise those in the
        processor's group, whose positions are the system's progress.
        """
