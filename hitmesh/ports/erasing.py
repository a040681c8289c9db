"""The ports that erasing a visitor uses: erasure marks, and changes to log records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hitmesh.model.erasures import ErasureMark
from hitmesh.model.positions import Position
from hitmesh.model.records import LoggedRecord


class Erasures(Protocol):
    """Stores erasure marks.

    A mark is never removed, because an import or a replay may send the erased hits again at any later time.
    """

    def put(self, marks: Sequence[ErasureMark]) -> None:
        """Store marks durably. For each visitor, reads return only the mark with the latest `until`. Idempotent."""

    def of(self, site: str) -> Sequence[ErasureMark]:
        """Return the site's marks, ordered by digest."""

    def since(self, created_at: int) -> Sequence[ErasureMark]:
        """Return all marks with `created_at` at or after this time (UTC ms), ordered by site and digest."""


class LogEraser(Protocol):
    """Removes values from records that the log still retains, if the log can change records."""

    def record(self, position: Position) -> LoggedRecord | None:
        """Return the retained record at a position; None if the log no longer retains the record."""

    def replace(self, logged: LoggedRecord, seen: bytes | None = None) -> bool:
        """Replace a retained record's value and event times durably; keep its position, log time and other headers.

        The header with the latest collect time gets a new value: the start of the 15-minute cell that contains the
        time. The exact collect time would show when the erased hit arrived, and the ledger needs only the cell. The
        blank row of an erased hit therefore has the start of the cell as its collect time.

        Returns False if the log cannot change records, if the log no longer retains the record, or if `seen` is given
        and differs from the stored value.
        """

    def overwrite(self) -> None:
        """Overwrite replaced and deleted values in the files of an embedded store; do nothing in other stores."""

    def kept_until(self, log_time: int) -> int:
        """Return the time (UTC ms) until which the log may hold a record with this log time.

        If `replace` can change the log's records, return 0.
        """
