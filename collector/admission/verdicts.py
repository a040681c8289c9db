"""What is said of hits that are not plainly accepted: outcome, reason, field, message.

Decides that the first refusal of a hit is the one that counts and that a refused hit carries no warnings; refuses to
know why anything is refused. Messages name value, rule and cure, and are made only for hits at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Message = str | Callable[[int], str]
MAX_SHOWN_CHARS = 60


class Outcome(StrEnum):
    """What became of a hit; names of hitmesh.collector.v1.Outcome without their prefix."""

    WARNED = "WARNED"
    REJECTED = "REJECTED"
    RETRY = "RETRY"


class Reason(StrEnum):
    """Why; names of hitmesh.collector.v1.Reason without their prefix."""

    UNKNOWN_KEY = "UNKNOWN_KEY"
    KEY_REVOKED = "KEY_REVOKED"
    ORIGIN_NOT_ALLOWED = "ORIGIN_NOT_ALLOWED"
    QUOTA = "QUOTA"
    HIT_TOO_LARGE = "HIT_TOO_LARGE"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_FIELD = "INVALID_FIELD"
    DECODE = "DECODE"
    UNSUPPORTED_TYPE = "UNSUPPORTED_TYPE"
    TIME_FUTURE = "TIME_FUTURE"
    TIME_TOO_OLD = "TIME_TOO_OLD"
    UNKNOWN_CURRENCY = "UNKNOWN_CURRENCY"
    CONSENT_DENIED = "CONSENT_DENIED"
    TRUNCATED = "TRUNCATED"
    CLOCK_SKEW = "CLOCK_SKEW"
    BATCH_OUT_OF_SEQUENCE = "BATCH_OUT_OF_SEQUENCE"
    UNKNOWN_SITE = "UNKNOWN_SITE"
    LOG_FULL = "LOG_FULL"


@dataclass(frozen=True, slots=True)
class Issue:
    """One hit, or with index -1 one whole batch, that is not plainly accepted.

    `outcome` and `reason` are values of Outcome and Reason.
    """

    frame: int
    index: int
    hit_id: str
    outcome: str
    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Note:
    """An issue of a row, before frame, index and id of the hit are looked up."""

    row: int
    outcome: Outcome
    reason: Reason
    field: str
    message: str


class Verdicts:
    """Collects refusals and warnings of the rows of one micro-batch, or of a part of them (`among`)."""

    def __init__(self, height: int) -> None:
        self._rows: npt.NDArray[np.integer] | None = None
        self._refused: Mask = np.zeros(height, dtype=np.bool_)
        self._refusals: list[Note] = []
        self._warnings: list[Note] = []

    def among(self, rows: npt.NDArray[np.integer]) -> Verdicts:
        """Returns a view in which position i is row rows[i]; a row may stand at several positions."""
        view = Verdicts(0)
        view._rows = rows if self._rows is None else self._rows[rows]
        view._refused, view._refusals, view._warnings = self._refused, self._refusals, self._warnings
        return view

    @property
    def refused(self) -> Mask:
        """Per position, whether its row is refused so far."""
        return self._refused if self._rows is None else self._refused[self._rows]

    def refuse(self, at_fault: Mask, reason: Reason, field: str, message: Message) -> None:
        """Refuses the rows at fault that are not refused yet; `message` may be made from the position."""
        for position, row in self._still_taken(at_fault):
            if not self._refused[row]:
                self._refusals.append(Note(row, Outcome.REJECTED, reason, field, _text(message, position)))
                self._refused[row] = True

    def warn(self, at_fault: Mask, reason: Reason, field: str, message: Message) -> None:
        """Says of the rows at fault that something was mended."""
        for position, row in self._still_taken(at_fault):
            self._warnings.append(Note(row, Outcome.WARNED, reason, field, _text(message, position)))

    def _still_taken(self, at_fault: Mask) -> Iterator[tuple[int, int]]:
        if not at_fault.any():
            return iter(())
        positions = np.flatnonzero(at_fault & ~self.refused)
        rows = positions if self._rows is None else self._rows[positions]
        return zip(positions.tolist(), rows.tolist(), strict=True)

    @property
    def refusals(self) -> list[Note]:
        """One note per refused row, by row."""
        return sorted(self._refusals, key=lambda note: note.row)

    @property
    def notes(self) -> list[Note]:
        """All refusals, and the warnings of rows that were taken, by row."""
        kept = [note for note in self._warnings if not self._refused[note.row]]
        return sorted(self._refusals + kept, key=lambda note: note.row)


def shown(value: object) -> str:
    """Returns a value as messages show it: quoted and escaped if it is text, and cut."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


def _text(message: Message, row: int) -> str:
    return message if isinstance(message, str) else message(row)
