"""The stream table decides whether reports read the live stream or a shadow stream for unsettled days.

A stream processes the log under a version of the logic. Each stream's rows and partials have a separate generation. The
first stream has the generation STREAM_GENERATION, and later streams have the generations -1, -2, … Two streams
therefore never overwrite each other's values. The stream table is a single stored value, which is replaced as a whole.
Each answer reads the stream table once, so an answer never mixes two streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.limits import CELL_MS, LATENESS_MS
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.zones import DAY_MS

WARM_UP_MS: Final = DAY_MS + LATENESS_MS + 4 * CELL_MS
"""How long before its first day a stream begins to read the log, in ms of log time.

WARM_UP_MS is the sum of a visit's maximum length, the allowed lateness and a margin.
"""

CAUGHT_UP_MS: Final = 60_000
"""A shadow stream has caught up if its lag behind the live stream is at most this value, in ms of log time."""


Progress = Mapping[PartitionId, PartitionProgress]


class ShadowState(StrEnum):
    """The state of a shadow stream.

    RUNNING: no report reads the shadow stream. PUBLISHED: reports read the shadow stream. ADOPTING: reports read the
    shadow stream. The live processor takes over the shadow stream as soon as the live stream and the shadow stream have
    reached the same position.
    """

    RUNNING = "RUNNING"
    PUBLISHED = "PUBLISHED"
    ADOPTING = "ADOPTING"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream.

    Attributes:
        generation: the generation for all its rows and partials; STREAM_GENERATION or less.
        first_day: the stream writes no rows of earlier UTC days.
        starts: the first offset that the stream reads, by partition (both topics); other partitions begin at 0.
        logic: the name of the stream's logic version; empty for the first stream, whose version is the processor's
            setting.
        replaces: the name of the logic version that the stream replaces.
    """

    generation: int
    first_day: int = 0
    starts: Mapping[PartitionId, int] = field(default_factory=dict)
    logic: str = ""
    replaces: str = ""


FIRST: Final = Stream(STREAM_GENERATION)


@dataclass(frozen=True, slots=True)
class Shadow:
    """A shadow stream, which runs beside the live stream.

    `started_at` is the time (UTC ms) at which the shadow was started. `changed_at` is the time (UTC ms) of the shadow's
    last change of state. In the state ADOPTING, `stopped` maps each partition of both topics to the offset at which a
    process stopped the live stream.
    """

    stream: Stream
    state: ShadowState
    started_at: int
    changed_at: int
    stopped: Mapping[PartitionId, int] = field(default_factory=dict)

    @property
    def is_read(self) -> bool:
        """Whether reports read the shadow stream.

        Example:
            >>> Shadow(Stream(-1), ShadowState.PUBLISHED, 0, 0).is_read
            True
        """
        return self.state is not ShadowState.RUNNING


@dataclass(frozen=True, slots=True)
class GoneStream:
    """A stream that reports no longer read, since `at` (UTC ms). The values from `first_day` on will be removed."""

    generation: int
    first_day: int
    at: int


@dataclass(frozen=True, slots=True)
class StreamTable:
    """All streams.

    Attributes:
        version: the number of changes so far; 0 before the first change.
        adopted: the shadow streams that the live processor took over, the oldest first.
        shadow: the shadow stream that runs beside the live stream; None if there is no shadow stream.
        gone: streams whose values have not been removed yet.
        newest: the newest stream's generation, which is the lowest generation.
    """

    version: int = 0
    adopted: tuple[Stream, ...] = ()
    shadow: Shadow | None = None
    gone: tuple[GoneStream, ...] = ()
    newest: int = STREAM_GENERATION

    @property
    def live(self) -> Stream:
        """The stream that stores raw records, dirty marks, claims and the ledger.

        Example:
            >>> StreamTable(adopted=(Stream(-1),)).live.generation
            -1
        """
        return self.adopted[-1] if self.adopted else FIRST

    @property
    def current(self) -> Stream:
        """The stream that reports read for days that are not settled.

        Example:
            >>> StreamTable(shadow=Shadow(Stream(-1), ShadowState.PUBLISHED, 0, 0)).current.generation
            -1
        """
        return self.shadow.stream if self.shadow is not None and self.shadow.is_read else self.live

    def generation(self, day: int) -> int:
        """Return the generation that reports read for a UTC day without a settled generation.

        Example:
            >>> shadow = Shadow(Stream(-1, first_day=20), ShadowState.PUBLISHED, 0, 0)
            >>> [StreamTable(shadow=shadow).generation(day) for day in (19, 20)]
            [0, -1]
        """
        read = (*self.adopted, self.current)
        return next((stream.generation for stream in reversed(read) if day >= stream.first_day), STREAM_GENERATION)

    def generations(self) -> tuple[int, ...]:
        """Return the generations of all streams whose rows may be stored, beginning with the current stream.

        Example:
            >>> StreamTable(shadow=Shadow(Stream(-1), ShadowState.RUNNING, 0, 0)).generations()
            (0, -1)
        """
        shadow = () if self.shadow is None else (self.shadow.stream.generation,)
        adopted = (stream.generation for stream in reversed(self.adopted))
        found = (self.current.generation, *shadow, *adopted, STREAM_GENERATION)
        return tuple(dict.fromkeys(found))

    def live_logic(self, setting: str) -> str:
        """Return the name of the live stream's logic version.

        While a shadow stream runs, the live stream keeps the version that the shadow stream replaces, whatever the
        processor's setting is: otherwise a rollback would lead to other numbers. Without a shadow stream, if the
        setting names a version that an adopted stream replaced, the adopted stream's version is returned.

        Example:
            >>> table = StreamTable(adopted=(Stream(-1, logic="v1", replaces="v0"),))
            >>> table.live_logic("v0"), table.live_logic("v2")
            ('v1', 'v2')
            >>> table.started(Stream(-2, logic="v2"), 5).replacing("v1").live_logic("v2")
            'v1'
        """
        if self.shadow is not None and self.shadow.stream.replaces:
            return self.shadow.stream.replaces
        name = setting
        for stream in self.adopted:
            name = stream.logic if stream.replaces == name else name
        return name

    def current_logic(self, setting: str) -> str:
        """Return the name of the logic version for days without a settled generation.

        Example:
            >>> StreamTable(shadow=Shadow(Stream(-1, logic="v1"), ShadowState.PUBLISHED, 0, 0)).current_logic("v0")
            'v1'
        """
        is_read = self.shadow is not None and self.shadow.is_read
        return self.current.logic if is_read else self.live_logic(setting)

    def started(self, stream: Stream, now: int) -> StreamTable:
        """Return the table with a new shadow stream.

        Example:
            >>> StreamTable().started(Stream(-1), 5).newest
            -1
        """
        return self._changed(shadow=Shadow(stream, ShadowState.RUNNING, now, now), newest=stream.generation)

    def moved(self, state: ShadowState, now: int) -> StreamTable:
        """Return the table in which the shadow stream has another state.

        Raises:
            ValueError: there is no shadow stream.

        Example:
            >>> StreamTable().started(Stream(-1), 5).moved(ShadowState.PUBLISHED, 6).current.generation
            -1
        """
        if self.shadow is None:
            raise ValueError("there is no shadow stream")
        return self._changed(shadow=replace(self.shadow, state=state, changed_at=now))

    def replacing(self, logic: str) -> StreamTable:
        """Return the table that records which logic version the shadow stream replaces.

        Raises:
            ValueError: there is no shadow stream.

        Example:
            >>> StreamTable().started(Stream(-1), 5).replacing("v0").shadow.stream.replaces
            'v0'
        """
        if self.shadow is None:
            raise ValueError("there is no shadow stream")
        return self._changed(shadow=replace(self.shadow, stream=replace(self.shadow.stream, replaces=logic)))

    def stopped(self, at: Mapping[PartitionId, int]) -> StreamTable:
        """Return the table with the positions at which the live stream was stopped.

        Raises:
            ValueError: there is no shadow stream.

        Example:
            >>> StreamTable().started(Stream(-1), 5).stopped({PartitionId("hits", 0): 7}).shadow.stopped
            {PartitionId(log='hits', partition=0): 7}
        """
        if self.shadow is None:
            raise ValueError("there is no shadow stream")
        return self._changed(shadow=replace(self.shadow, stopped=dict(at)))

    def ended(self, now: int) -> StreamTable:
        """Return the table without the shadow stream.

        In state ADOPTING, the live processor takes over the shadow stream, and the values of the former live stream
        will be removed. In any other state, the values of the shadow stream will be removed.

        Raises:
            ValueError: there is no shadow stream.

        Example:
            >>> table = StreamTable().started(Stream(-1, first_day=20), 5)
            >>> table.ended(9).gone
            (GoneStream(generation=-1, first_day=20, at=9),)
            >>> table.moved(ShadowState.ADOPTING, 6).ended(9).gone
            (GoneStream(generation=0, first_day=20, at=9),)
        """
        if self.shadow is None:
            raise ValueError("there is no shadow stream")
        stream, is_adopted = self.shadow.stream, self.shadow.state is ShadowState.ADOPTING
        loser = self.live.generation if is_adopted else stream.generation
        return self._changed(
            adopted=(*self.adopted, stream) if is_adopted else self.adopted,
            shadow=None,
            gone=(*self.gone, GoneStream(loser, stream.first_day, now)),
        )

    def without(self, gone: GoneStream) -> StreamTable:
        """Return the table after the removal of a stream's values.

        Example:
            >>> table = StreamTable().started(Stream(-1), 5).ended(9)
            >>> table.without(table.gone[0]).gone
            ()
        """
        return self._changed(gone=tuple(other for other in self.gone if other != gone))

    def _changed(self, **fields: object) -> StreamTable:
        return replace(self, version=self.version + 1, **fields)  # type: ignore[arg-type]  # fields of this class


def lag_ms(live: Progress, shadow: Progress) -> int:
    """Return the shadow stream's lag in log time, in the partition with the largest lag.

    Example:
        >>> p, q = PartitionId("hits", 0), PartitionId("hits", 1)
        >>> live = {p: PartitionProgress(9, 7_000), q: PartitionProgress(5, 7_000)}
        >>> lag_ms(live, {p: PartitionProgress(9, 7_000), q: PartitionProgress(4, 5_000)})
        2000
    """
    behind = [
        reached.log_time - (shadow[partition].log_time if partition in shadow else 0)
        for partition, reached in live.items()
        if partition not in shadow or reached.next_offset > shadow[partition].next_offset
    ]
    return max(behind, default=0)


NO_SHADOW: Final = StreamTable()
"""The stream table of a mesh that never had a shadow stream."""


def reads_from(first_day: int) -> int:
    """Return the log time from which a stream must read the log to have complete rows from `first_day` on.

    Example:
        >>> (2 * DAY_MS - reads_from(2)) // 3_600_000
        26
    """
    return max(0, first_day * DAY_MS - WARM_UP_MS)
