"""Read the processor's progress on one machine. The progress consists of the committed positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.reader_positions import ReaderPositions
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic

_START: Final = PartitionProgress(0, 0)


class EmbeddedProgress:
    """Implements the port ProgressReader for the committed positions of the processor's group."""

    def __init__(self, catalogue: LogCatalogue, committed: ReaderPositions, group: str) -> None:
        self._catalogue = catalogue
        self._committed = committed
        self._group = group

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed progress of every declared partition; (0, 0) before the first commit."""
        saved = self._committed.committed(topic, self._group)
        return {partition: saved.get(partition, _START) for partition in self._catalogue.partition_ids(topic)}
