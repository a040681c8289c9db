"""The implementations of hitmesh.ports, and the settings, that the composition root passes to the reporter's RPCs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hitmesh.access.callers import TokenReader
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.ports import (
    Clock,
    DirtyDays,
    Erasures,
    Generations,
    Ledger,
    MetricStore,
    OneStream,
    ProgressReader,
    SeriesStore,
    SiteDirectory,
    Streams,
)
from hitmesh.runtime.clock import SystemClock
from reporter.answer.breaker import Breakers
from reporter.answer.known_streams import KnownStreams
from reporter.answer.lanes import Lanes
from reporter.answer.report_budget import ReportBudget
from reporter.answer.route import Path
from reporter.answer.standing import Books, LastKnown


@dataclass(frozen=True)
class Backend:
    """The objects that all RPCs share: implementations of hitmesh.ports, settings, and state that outlives a call.

    `open_reads`: if true, every caller may read every site; otherwise a caller needs a server key of the site's
    merchant.
    `new_token`: returns a random text with at least 256 bits, in URL-safe characters.
    `served_by`: for each path, the store that an answer names as its source.
    `checkpoint`: the current call's checkpoint, called between steps.
    `tokens`: reads the tokens of callers; None if tokens are refused.
    `lanes`: queues that keep small questions from waiting behind expensive questions.
    `budget`: the quotas of report units, per merchant.
    """

    directory: SiteDirectory
    generations: Generations
    dirty: DirtyDays
    metrics: MetricStore
    series: SeriesStore
    progress: ProgressReader
    ledger: Ledger
    erasures: Erasures
    streams: Streams
    stream: OneStream
    clock: Clock
    new_token: Callable[[], str]
    served_by: Mapping[Path, pb.Store.ValueType] = field(default_factory=dict)
    open_reads: bool = False
    tokens: TokenReader | None = None
    checkpoint: Checkpoint = unwatched
    breakers: Breakers = field(default_factory=Breakers)
    known: LastKnown = field(default_factory=LastKnown)
    known_streams: KnownStreams = field(default_factory=KnownStreams)
    lanes: Lanes = field(default_factory=Lanes)
    budget: ReportBudget = field(default_factory=lambda: ReportBudget(clock=SystemClock()))

    @property
    def books(self) -> Books:
        """The implementations of hitmesh.ports that provide settlement state."""
        return Books(self.dirty, self.generations, self.progress, self.erasures, self.streams, self.stream)

    def store_of(self, path: Path) -> pb.Store.ValueType:
        """Return the store that serves a path."""
        return self.served_by.get(path, pb.STORE_UNSPECIFIED)
