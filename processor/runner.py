"""Steps 4 and 6 of the journey: poll the log, store what it brought, commit.

Decides nothing about hits; `store` is the one place that says in which order effects become durable. Each of them
may be done twice, so a crash or an unavailable store at any point costs only the work of doing it again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hitmesh.errors import RetryError
from hitmesh.logs import logger
from hitmesh.ports import (
    DirtyDays,
    LoggedRecord,
    LogReader,
    OrderClaims,
    PartitionId,
    PartitionProgress,
    RawStore,
    RejectedStore,
)
from processor.intake import Intake, take_in

MAX_HITS: Final = 20_000


@dataclass(frozen=True, slots=True)
class IntakeStores:
    """Where a poll's effects go."""

    raw: RawStore
    rejected: RejectedStore
    dirty: DirtyDays
    claims: OrderClaims


class Runner:
    """Reads both topics and stores what they hold. Confined to one thread."""

    def __init__(self, hits: LogReader, rejected: LogReader, stores: IntakeStores, *, max_hits: int = MAX_HITS) -> None:
        self._readers = (hits, rejected)
        self._stores = stores
        self._max_hits = max_hits
        self._committed: list[Mapping[PartitionId, PartitionProgress]] = [{}, {}]
        self._polled: Sequence[LoggedRecord] = ()

    def step(self, timeout_s: float) -> int:
        """Store the next records and commit; return how many there were.

        After an error the same records are stored again by the next call: a reader hands out a record once.

        Raises:
            RetryError: a store does not answer; call again.
        """
        if not self._polled:
            hits, rejected = self._readers
            # Kept before the second poll, which may fail.
            self._polled = hits.poll(self._max_hits, timeout_s)
            self._polled = [*self._polled, *rejected.poll(self._max_hits, 0.0)]
        store(take_in(self._polled), self._stores)
        stored, self._polled = len(self._polled), ()
        self._commit()
        return stored

    def run(self, stop: threading.Event, *, poll_s: float = 0.2) -> None:
        """Step until `stop` is set; wait where a store asks to be tried later."""
        while not stop.is_set():
            try:
                self.step(poll_s)
            except RetryError as error:
                logger().warning("intake_waits", reason=error.reason, message=error.message)
                stop.wait(error.retry_after_s)

    def _commit(self) -> None:
        """Commit what was read; heartbeats move only the log time, and that is progress too (rule L1)."""
        for index, reader in enumerate(self._readers):
            positions = reader.positions()
            if positions != self._committed[index]:
                reader.commit(positions)
                self._committed[index] = dict(positions)


def store(intake: Intake, stores: IntakeStores) -> None:
    """Make a poll's effects durable, in the only order that loses nothing.

    Raw records first: a mark says that there is something to scan. Claims before the positions are committed: a
    settlement scans what is below them, and must find every claim of it. Positions last, by the caller.
    """
    if intake.raw:
        stores.raw.put(intake.raw)
    if intake.rejected:
        stores.rejected.put(intake.rejected)
    if intake.marks:
        stores.dirty.mark(intake.marks)
    if intake.claims:
        stores.claims.claim(intake.claims)
