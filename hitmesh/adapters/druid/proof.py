"""Prove, with progress marks in each query, that an answer has all rows that existed before (architecture A12).

Each query selects, besides the rows for the question, the counted progress marks (hitmesh.adapters.druid.marks). If an
answer lacks a counted mark, the answer is rejected. A mark is the last row in a transaction and is stored with the
transaction's rows. If the broker does not see the server that holds the rows, the answer lacks both the rows and the
mark. A separate query for marks would prove nothing, because a server that the first query missed may answer the
separate query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydruid.utils.dimensions import DimensionSpec
from pydruid.utils.filters import Filter, Interval
from pydruid.utils.having import Having

from hitmesh.adapters.druid.intervals import mark_intervals
from hitmesh.adapters.druid.native import SCAN, TIME, Native, equals_text, every, in_range, is_null, some
from hitmesh.adapters.shared.druid_columns import MARK, MARK_OFFSET
from hitmesh.adapters.shared.druid_rows import mark_of
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.zones import DAY_MS

_RETRY_S: Final = 5.0
# A query's limit is raised, because an answer also contains marks. For each mark, a group-by query's limit is raised by
# `_GROUPS_A_MARK` groups, and a scan's limit by `_ROWS_A_MARK` rows. For each partition, a group-by query returns an
# additional group for every day since the counted mark. A scan returns an additional row for every transaction since
# the counted mark.
_GROUPS_A_MARK: Final = 32
_ROWS_A_MARK: Final = 2_000


@dataclass(frozen=True, slots=True)
class Proof:
    """The marks that a complete answer contains; without marks, every answer is accepted.

    Attributes:
        marks: the position of each counted mark, keyed by the mark's name.
        intervals: the intervals that contain the counted marks and all later marks.
    """

    marks: Mapping[str, PartitionProgress]
    intervals: tuple[str, ...]

    def with_marks(self, query: Native) -> Native:
        """Return the query, extended so that its answer also includes the marks."""
        if not self.marks:
            return query
        parts = query.parts
        rows = every([parts["filter"], Interval(TIME, parts["intervals"])])
        extended = query.with_parts(
            intervals=[*parts["intervals"], *self.intervals],
            filter=some([rows, *map(_at_least, self.marks.items())]),
        )
        if query.kind == SCAN:
            room = _ROWS_A_MARK * len(self.marks)
            return extended.with_parts(columns=[*parts["columns"], MARK], limit=parts["limit"] + room)
        extended = extended.with_parts(dimensions=[*parts["dimensions"], DimensionSpec(MARK, MARK)])
        if "limit_spec" in parts:
            room = _GROUPS_A_MARK * len(self.marks)
            limit = {**parts["limit_spec"], "limit": parts["limit_spec"]["limit"] + room}
            extended = extended.with_parts(limit_spec=limit)
        if "having" in parts:
            is_mark = Having(type="filter", filter=Filter.build_filter(~is_null(MARK)))
            extended = extended.with_parts(having=parts["having"] | is_mark)
        return extended

    def checked(self, query: Native, answer: Sequence[Any]) -> list[Any]:
        """Check that an answer has all marks. Return the answer without the marks, which is the answer to `query`.

        Args:
            query: the query without marks.
            answer: the answer to the query with marks.

        Raises:
            Unavailable: a mark is missing from the answer, so rows may be missing too.
        """
        if not self.marks:
            return list(answer)
        seen: set[str] = set()
        if query.kind == SCAN:
            at = len(query.parts["columns"])
            rows = [{**batch, "events": _parted(batch["events"], at, seen)} for batch in answer]
        else:
            rows = _parted(answer, len(query.parts["dimensions"]), seen)
        missing = sorted(self.marks.keys() - seen)
        if missing:
            raise Unavailable(
                f"Druid's answer lacks rows that were queryable before: the progress mark of {missing[0]} is missing; "
                "try again",
                retry_after_s=_RETRY_S,
                missing=str(missing[0]),
            )
        return rows


def proof_of(counted: Mapping[PartitionId, PartitionProgress], now_ms: int) -> Proof:
    """Return the progress marks that a complete answer must contain.

    An answer that contains a mark has all rows that were sent before the mark.

    Args:
        counted: each partition's counted mark; a partition at (0, 0) needs no mark.
        now_ms: the current time in UTC ms; no mark is more than a day later than this time.
    """
    known = {mark_of(partition): done for partition, done in counted.items() if done.next_offset}
    if not known:
        return Proof({}, ())
    first_day = min(done.log_time for done in known.values()) // DAY_MS
    return Proof(known, tuple(mark_intervals(first_day, now_ms)))


def _at_least(mark: tuple[str, PartitionProgress]) -> Filter:
    name, done = mark
    return every([equals_text(MARK, name), in_range(MARK_OFFSET, done.next_offset)])


def _parted(rows: Sequence[Sequence[Any]], at: int, seen: set[str]) -> list[Any]:
    """Return the rows that are not marks, without the column at index `at`; add the marks' names to `seen`."""
    unmarked: list[Any] = []
    for row in rows:
        if row[at] is None:
            unmarked.append([*row[:at], *row[at + 1 :]])
        else:
            seen.add(row[at])
    return unmarked
