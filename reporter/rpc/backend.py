"""What the RPCs of the reporter work with: ports and settings, handed in by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hitmesh.ports import Clock, DirtyDays, Generations, Ledger, MetricStore, ProgressReader, SiteDirectory
from hitmesh.reporter.v1 import reporter_pb2 as pb


@dataclass(frozen=True)
class Backend:
    """Ports and settings of one reporter.

    `open_reads`: whoever reaches the listener may read every site; else a server key of the merchant is needed.
    `new_token`: returns a random text of at least 256 bits in URL-safe characters.
    """

    directory: SiteDirectory
    generations: Generations
    dirty: DirtyDays
    metrics: MetricStore
    progress: ProgressReader
    ledger: Ledger
    clock: Clock
    new_token: Callable[[], str]
    served_by: pb.Store.ValueType = pb.STORE_UNSPECIFIED
    open_reads: bool = False
