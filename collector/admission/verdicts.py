"""Collects the verdicts on hits that cause a warning, are refused, or must be sent again.

A verdict has an outcome, a reason, a field and a message. Only the first refusal of a hit counts. A refused hit has no
warnings. A message names the value, the rule and the remedy. Messages are built only for faulty hits. Senders control
the number of refusals, so a refusal must be cheap. Verdicts are therefore stored as columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.errors import Variable
from hitmesh.model.reasons import HitReason

Message = str | Callable[[int], str]
ValueT = TypeVar("ValueT")
MAX_SHOWN_CHARS = 60
NO_VARIABLES: Final[Mapping[str, Variable]] = MappingProxyType({})
_NO_ROWS: Final[I64Array] = np.zeros(0, dtype=np.int64)


class Outcome(StrEnum):
    """The outcome of a hit; the names are the names in hitmesh.api.collector.v1.Outcome, without the prefix."""

    WARNED = "WARNED"
    REJECTED = "REJECTED"
    RETRY = "RETRY"


class Issue(NamedTuple):
    """A warning, refusal or retry for a single hit, or for a whole batch (index -1).

    `outcome` and `reason` are values of Outcome and HitReason; `variables` holds the variable parts of a whole batch's
    message. There may be as many issues as hits. Issues are tuples because tuples are cheap.
    """

    frame: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nothing calls on an issue
    hit_id: str
    outcome: str
    reason: str
    field: str
    message: str
    variables: Mapping[str, Variable] = NO_VARIABLES


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict on several rows for the same cause.

    `messages` is one message for all rows, or a list with a message per row.
    """

    rows: I64Array
    outcome: Outcome
    reason: HitReason
    field: str
    messages: str | list[str]
    variables: Mapping[str, Variable] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notes:
    """Verdicts in the form of notes, one per row and cause, sorted by row.

    A note becomes an issue when the note's frame, index and hit id are added.

    Attributes:
        rows: each note's row, in ascending order.
        causes: each note's cause, as an index into outcomes, reasons, fields and variables.
        outcomes, reasons, fields, variables: one entry for each cause.
        messages: each note's message.
    """

    rows: I64Array
    causes: I64Array
    outcomes: list[str]
    reasons: list[str]
    fields: list[str]
    variables: list[Mapping[str, Variable]]
    messages: list[str]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> Notes:
        """Return all verdicts as notes, sorted by row."""
        rows = np.concatenate([each.rows for each in verdicts]) if verdicts else np.zeros(0, dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        causes = np.repeat(np.arange(len(verdicts)), [len(each.rows) for each in verdicts])
        messages: list[str] = []
        for each in verdicts:
            messages += each.messages if isinstance(each.messages, list) else [each.messages] * len(each.rows)
        return cls(
            rows[order],
            causes[order],
            [each.outcome.value for each in verdicts],
            [each.reason.value for each in verdicts],
            [each.field for each in verdicts],
            [each.variables for each in verdicts],
            [messages[at] for at in order.tolist()],
        )

    def of_causes(self, values: list[ValueT]) -> list[ValueT]:
        """Return, for each note, the value of the note's cause; `values` has an entry for each cause."""
        return [values[cause] for cause in self.causes.tolist()]


class Verdicts:
    """Collects refusals and warnings for the rows of a micro-batch, or for some of the rows (`among`)."""

    def __init__(self, height: int) -> None:
        self._rows: npt.NDArray[np.integer] | None = None
        self._refused: BoolArray = np.zeros(height, dtype=np.bool_)
        self._refusals: list[Verdict] = []
        self._warnings: list[Verdict] = []

    def among(self, rows: npt.NDArray[np.integer]) -> Verdicts:
        """Return a view of the given rows: position i in the view stands for rows[i].

        The same row may occur several times in `rows`.
        """
        view = Verdicts(0)
        view._rows = rows if self._rows is None else self._rows[rows]
        view._refused, view._refusals, view._warnings = self._refused, self._refusals, self._warnings
        return view

    @property
    def refused(self) -> BoolArray:
        """For each position, whether its row is already refused."""
        return self._refused if self._rows is None else self._refused[self._rows]

    def refuse(
        self,
        at_fault: BoolArray,
        reason: HitReason,
        field: str,
        message: Message,
        variables: Mapping[str, Variable] = NO_VARIABLES,
    ) -> None:
        """Refuse the faulty rows that are not refused yet.

        If `message` is callable, it is called with the row's position.
        """
        positions = self._still_taken(at_fault)
        if not len(positions):
            return
        rows = positions
        if self._rows is not None:
            rows, first = np.unique(self._rows[positions], return_index=True)
            positions = positions[first]
        refusal = _verdict(rows, Outcome.REJECTED, reason, field, message, positions)
        self._refusals.append(replace(refusal, variables=variables) if variables else refusal)
        self._refused[rows] = True

    def warn(self, at_fault: BoolArray, reason: HitReason, field: str, message: Message) -> None:
        """Warn the senders of the faulty rows that a value was corrected."""
        positions = self._still_taken(at_fault)
        if len(positions):
            rows = positions if self._rows is None else self._rows[positions]
            self._warnings.append(_verdict(rows, Outcome.WARNED, reason, field, message, positions))

    def _still_taken(self, at_fault: BoolArray) -> I64Array:
        """Return the faulty positions whose rows are not refused yet."""
        return np.flatnonzero(at_fault & ~self.refused) if at_fault.any() else _NO_ROWS

    @property
    def refusals(self) -> Notes:
        """The refusals, as one note per refused row."""
        return Notes.of(self._refusals)

    @property
    def warnings(self) -> Notes:
        """The warnings about rows that are not refused."""
        return Notes.of([kept for warning in self._warnings if len((kept := _without(warning, self._refused)).rows)])


def _verdict(
    rows: npt.NDArray[np.integer],
    outcome: Outcome,
    reason: HitReason,
    field: str,
    message: Message,
    positions: I64Array,
) -> Verdict:
    messages = message if isinstance(message, str) else [message(position) for position in positions.tolist()]
    return Verdict(rows.astype(np.int64), outcome, reason, field, messages)


def _without(verdict: Verdict, refused: BoolArray) -> Verdict:
    kept = np.flatnonzero(~refused[verdict.rows])
    if len(kept) == len(verdict.rows):
        return verdict
    messages = verdict.messages if isinstance(verdict.messages, str) else [verdict.messages[at] for at in kept.tolist()]
    return replace(verdict, rows=verdict.rows[kept], messages=messages)


def shown(value: object) -> str:
    """Return a value as text for messages. Strings are quoted and escaped, and the text is cut to MAX_SHOWN_CHARS."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
