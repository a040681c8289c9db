"""What is said of hits that are not plainly accepted: outcome, reason, field, message.

Decides that the first refusal of a hit is the one that counts and that a refused hit carries no warnings; refuses to
know why anything is refused. Messages name value, rule and cure, and are made only for hits at fault. Notes are
columns: a sender decides how many hits are refused, so each must be cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Message = str | Callable[[int], str]
MAX_SHOWN_CHARS = 60
_NO_ROWS: Final[npt.NDArray[np.int64]] = np.zeros(0, dtype=np.int64)


class Outcome(StrEnum):
    """What became of a hit; names of hitmesh.api.collector.v1.Outcome without their prefix."""

    WARNED = "WARNED"
    REJECTED = "REJECTED"
    RETRY = "RETRY"


class Reason(StrEnum):
    """Why; names of hitmesh.api.collector.v1.Reason without their prefix."""

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


class Issue(NamedTuple):
    """One hit, or with index -1 one whole batch, that is not plainly accepted.

    `outcome` and `reason` are values of Outcome and Reason. There may be as many as hits, so it is a tuple.
    """

    frame: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nothing calls on an issue
    hit_id: str
    outcome: str
    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of several rows for one cause; a message for each, or one for all."""

    rows: npt.NDArray[np.int64]
    outcome: Outcome
    reason: Reason
    field: str
    messages: str | list[str]


@dataclass(frozen=True, slots=True)
class Notes:
    """What is said of rows, by row: issues before frame, index and id of the hit are looked up.

    Attributes:
        rows: one for each note, ascending.
        causes: for each note, the position of its cause in the other three.
        outcomes, reasons, fields: of each cause.
        messages: one for each note.
    """

    rows: npt.NDArray[np.int64]
    causes: npt.NDArray[np.int64]
    outcomes: list[str]
    reasons: list[str]
    fields: list[str]
    messages: list[str]

    @classmethod
    def of(cls, said: Sequence[Said]) -> Notes:
        """Return the notes of all rows."""
        rows = np.concatenate([each.rows for each in said]) if said else np.zeros(0, dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        causes = np.repeat(np.arange(len(said)), [len(each.rows) for each in said])
        messages: list[str] = []
        for each in said:
            messages += each.messages if isinstance(each.messages, list) else [each.messages] * len(each.rows)
        return cls(
            rows[order],
            causes[order],
            [each.outcome.value for each in said],
            [each.reason.value for each in said],
            [each.field for each in said],
            [messages[at] for at in order.tolist()],
        )

    def of_causes(self, values: list[str]) -> list[str]:
        """Return for each note the value of its cause."""
        return [values[cause] for cause in self.causes.tolist()]


class Verdicts:
    """Collects refusals and warnings of the rows of one micro-batch, or of a part of them (`among`)."""

    def __init__(self, height: int) -> None:
        self._rows: npt.NDArray[np.integer] | None = None
        self._refused: Mask = np.zeros(height, dtype=np.bool_)
        self._refusals: list[Said] = []
        self._warnings: list[Said] = []

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
        positions = self._still_taken(at_fault)
        if not len(positions):
            return
        rows = positions
        if self._rows is not None:
            rows, first = np.unique(self._rows[positions], return_index=True)
            positions = positions[first]
        self._refusals.append(_said(rows, Outcome.REJECTED, reason, field, message, positions))
        self._refused[rows] = True

    def warn(self, at_fault: Mask, reason: Reason, field: str, message: Message) -> None:
        """Says of the rows at fault that something was mended."""
        positions = self._still_taken(at_fault)
        if len(positions):
            rows = positions if self._rows is None else self._rows[positions]
            self._warnings.append(_said(rows, Outcome.WARNED, reason, field, message, positions))

    def _still_taken(self, at_fault: Mask) -> npt.NDArray[np.int64]:
        """Returns the positions at fault whose rows are not refused."""
        return np.flatnonzero(at_fault & ~self.refused) if at_fault.any() else _NO_ROWS

    @property
    def refusals(self) -> Notes:
        """One note per refused row."""
        return Notes.of(self._refusals)

    @property
    def warnings(self) -> Notes:
        """The warnings of rows that were taken."""
        return Notes.of([kept for said in self._warnings if len((kept := _without(said, self._refused)).rows)])


def _said(
    rows: npt.NDArray[np.integer],
    outcome: Outcome,
    reason: Reason,
    field: str,
    message: Message,
    positions: npt.NDArray[np.int64],
) -> Said:
    messages = message if isinstance(message, str) else [message(position) for position in positions.tolist()]
    return Said(rows.astype(np.int64), outcome, reason, field, messages)


def _without(said: Said, refused: Mask) -> Said:
    kept = np.flatnonzero(~refused[said.rows])
    if len(kept) == len(said.rows):
        return said
    messages = said.messages if isinstance(said.messages, str) else [said.messages[at] for at in kept.tolist()]
    return replace(said, rows=said.rows[kept], messages=messages)


def shown(value: object) -> str:
    """Returns a value as messages show it: quoted and escaped if it is text, and cut."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
