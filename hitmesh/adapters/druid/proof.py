"""Marks asked for within a question: the proof that its answer saw all rows that were there before (decision A12).

Decides how a query asks for the marks that count, beside its own rows, and refuses an answer that lacks one. A mark is
the last row of a transaction and lies where the transaction's rows lie, so a server that the broker does not see takes
both out of the same answer. A look before or behind the question could miss that moment. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hitmesh.adapters.druid.columns import MARK, MARK_OFFSET
from hitmesh.adapters.druid.intervals import mark_intervals
from hitmesh.adapters.druid.rows import mark_of
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.zones import DAY_MS

Json = dict[str, Any]

_RETRY_S: Final = 5.0
# Of groups: the marks of a partition stand on as many days as pass since the first of them. Of a scan: one row for
# each transaction since.
_GROUPS_A_MARK: Final = 32
_ROWS_A_MARK: Final = 2_000


@dataclass(frozen=True, slots=True)
class Proof:
    """The marks that an answer must show; without any, every answer is taken.

    Attributes:
        marks: the counted position by the name of its mark.
        intervals: where these marks and later ones stand.
    """

    marks: Mapping[str, PartitionProgress]
    intervals: tuple[str, ...]

    def asked_in(self, query: Json) -> Json:
        """Returns a query (groupBy or scan) that asks for its own rows and for the marks."""
        if not self.marks:
            return query
        own = {"type": "interval", "dimension": "__time", "intervals": query["intervals"]}
        asked = {
            **query,
            "intervals": [*query["intervals"], *self.intervals],
            "filter": {
                "type": "or",
                "fields": [{"type": "and", "fields": [query["filter"], own]}, *map(_at_least, self.marks.items())],
            },
        }
        if query["queryType"] == "scan":
            room = _ROWS_A_MARK * len(self.marks)
            return {**asked, "columns": [*query["columns"], MARK], "limit": query["limit"] + room}
        asked["dimensions"] = [*query["dimensions"], {"type": "default", "dimension": MARK, "outputName": MARK}]
        if "limitSpec" in query:
            room = _GROUPS_A_MARK * len(self.marks)
            asked["limitSpec"] = {**query["limitSpec"], "limit": query["limitSpec"]["limit"] + room}
        if "having" in query:
            is_mark = {"type": "filter", "filter": {"type": "not", "field": {"type": "null", "column": MARK}}}
            asked["having"] = {"type": "or", "havingSpecs": [query["having"], is_mark]}
        return asked

    def checked(self, query: Json, answer: Sequence[Any]) -> list[Any]:
        """Returns the answer without its marks, as the query alone would have been answered.

        Args:
            query: the query before it asked for marks.
            answer: of the query that asked for them too.

        Raises:
            Unavailable: a mark is missing, and rows may be missing with it.
        """
        if not self.marks:
            return list(answer)
        seen: set[str] = set()
        if query["queryType"] == "scan":
            rows = [{**batch, "events": _parted(batch["events"], len(query["columns"]), seen)} for batch in answer]
        else:
            rows = _parted(answer, len(query["dimensions"]), seen)
        missing = sorted(self.marks.keys() - seen)
        if missing:
            raise Unavailable(
                f"Druid's answer lacks rows that Druid had before: the mark of {missing[0]} is not in it; ask again",
                retry_after_s=_RETRY_S,
            )
        return rows


def proof_of(counted: Mapping[PartitionId, PartitionProgress], now_ms: int) -> Proof:
    """Returns the proof that an answer has all rows before these positions; (0, 0) needs none.

    Args:
        counted: the marks that count.
        now_ms: the time; marks stand at the beginning of a day, at most a day ahead of it.
    """
    known = {mark_of(partition): done for partition, done in counted.items() if done.next_offset}
    if not known:
        return Proof({}, ())
    first_day = min(done.log_time for done in known.values()) // DAY_MS
    return Proof(known, tuple(mark_intervals(first_day, now_ms)))


def _at_least(mark: tuple[str, PartitionProgress]) -> Json:
    name, done = mark
    return {
        "type": "and",
        "fields": [
            {"type": "equals", "column": MARK, "matchValueType": "STRING", "matchValue": name},
            {"type": "range", "column": MARK_OFFSET, "matchValueType": "LONG", "lower": done.next_offset},
        ],
    }


def _parted(rows: Sequence[Sequence[Any]], at: int, seen: set[str]) -> list[Any]:
    """Returns rows without the value at `at`, those of marks left out: their names go to `seen`."""
    own: list[Any] = []
    for row in rows:
        if row[at] is None:
            own.append([*row[:at], *row[at + 1 :]])
        else:
            seen.add(row[at])
    return own
