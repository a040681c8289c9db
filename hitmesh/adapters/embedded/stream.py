"""Make the stores of a stream on one machine: the rows in raw.db and state.db that have the stream's generation."""

from __future__ import annotations

from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.compaction import Compaction
from hitmesh.adapters.embedded.log_reader import EmbeddedLogReader
from hitmesh.adapters.embedded.outbox import EmbeddedOutbox
from hitmesh.adapters.embedded.progress import EmbeddedProgress
from hitmesh.adapters.embedded.reader_positions import ReaderPositions
from hitmesh.adapters.embedded.series import EmbeddedSeriesStore
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.embedded.states import EmbeddedStateStore
from hitmesh.adapters.shared.catalogue import shadow_group
from hitmesh.model.positions import Topic
from hitmesh.ports import StreamStore


class EmbeddedOneStream:
    """Implements the port OneStream.

    Args:
        log_file: log.db.
        raw_file: raw.db.
        state_file: state.db.
        catalogue: each topic's log.
        committed: the positions of all consumer groups.
        group: the processor's consumer group.
    """

    def __init__(
        self,
        log_file: Database,
        raw_file: Database,
        state_file: Database,
        catalogue: LogCatalogue,
        committed: ReaderPositions,
        group: str,
    ) -> None:
        self._log_file = log_file
        self._raw_file = raw_file
        self._state_file = state_file
        self._catalogue = catalogue
        self._committed = committed
        self._group = group

    def __call__(self, generation: int, *, is_shadow: bool) -> StreamStore:
        """Return the stores for the stream with this generation."""
        group = shadow_group(generation) if is_shadow else self._group
        catalogue, committed = self._catalogue, self._committed
        compaction = Compaction(self._raw_file, generation)
        series = EmbeddedSeriesStore(self._raw_file, generation)
        states = EmbeddedStateStore(self._state_file, generation)
        outbox = EmbeddedOutbox(self._raw_file, catalogue, committed, group, compaction, generation)
        progress = EmbeddedProgress(catalogue, committed, group)

        def forget() -> None:
            states.forget()
            series.forget()
            compaction.finish()

        return StreamStore(
            log_reader=lambda topic: EmbeddedLogReader(self._log_file, catalogue, committed, topic, group),
            outbox=outbox,
            beginning=outbox,  # the same outbox, because a single process writes the stream
            series=series,
            states=states,
            progress=progress,
            ingested_through=lambda: progress.progress(Topic.HITS),
            forget_positions=lambda: committed.forget(shadow_group(generation)),
            forget=forget,
        )
