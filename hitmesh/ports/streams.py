"""The ports for several streams at the same time: the table that lists the streams, and each stream's stores."""

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
        """Replace the stored table durably, if its version is one below the new table's version.

        Returns whether the given table is now stored, so a repeated call with the same table returns True.
        """


@dataclass(frozen=True, slots=True)
class StreamStore:
    """The stores of a single stream. No other stream reads or writes the values in these stores.

    Attributes:
        log_reader: returns a reader for a topic, which begins at the stream's committed positions. The caller must
            close the reader.
        outbox: accepts only rows of the stream's generation.
        beginning: an outbox for the stream's first positions; all processes together have a single writer.
        series: stores partials of the stream's generation, and the stream's flushed positions.
        states: stores the stream's snapshots.
        progress: returns the stream's committed positions.
        ingested_through: like MetricStore.ingested_through, but for the rows of this stream.
        forget_positions: removes the committed positions of a shadow's consumer group; must be called only for a
            shadow. Idempotent.
        forget: removes the stream's snapshots and flushed positions, and frees the space of dropped rows; idempotent.
    """

    log_reader: Callable[[Topic], LogReader]
    outbox: Outbox
    beginning: Outbox
    series: SeriesStore
    states: StateStore
    progress: ProgressReader
    ingested_through: Callable[[], Mapping[PartitionId, PartitionProgress]]
    forget_positions: Callable[[], None]
    forget: Callable[[], None]


class OneStream(Protocol):
    """Returns the stores of a stream."""

    def __call__(self, generation: int, *, is_shadow: bool) -> StreamStore:
        """Return the stores for the stream with this generation.

        If `is_shadow` is true, the stores use the positions of the shadow's consumer group. If `is_shadow` is false,
        the stores use the positions of the processor's consumer group, which show the progress of the mesh.
        """
