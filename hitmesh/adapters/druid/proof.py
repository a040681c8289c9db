"""Proof, by marks queried within a question, that the answer saw all rows that existed before (decision A12).

A query asks for the marks that count, beside its own rows; an answer that lacks a mark is rejected. A mark is the last
row in a transaction and is stored with the transaction's rows, so a server that the broker does not see removes both
from an answer. A separate query before or after could miss that moment. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hitmesh.adapters.druid.intervals import mark_intervals
from hitmesh.adapters.shared.druid_columns import MARK, MARK_OFFSET
from hitmesh.adapters.shared.druid_rows import mark_of
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.zones import DAY_MS

Json = dict[str, Any]

_RETRY_S: Final = 5.0
# Extra room in limits. Groups: a partition's marks cover as many days as have passed since the first mark. Scans: a row
# for each transaction since.
_GROUPS_A_MARK: Final = 32
_ROWS_A_MARK: Final = 2_000


@dataclass(frozen=True, slots=True)
class Proof:
    """The marks that an answer must show; without marks, every answer is accepted.

    Attributes:
        marks: the counted position, keyed by mark name.
        intervals: the times of these and later marks.
    """

    marks: Mapping[str, PartitionProgress]
    intervals: tuple[str, ...]

    def asked_in(self, query: Json) -> Json:
        """Return the query (groupBy or scan) extended to ask for the marks too."""
        if not self.marks:
            return query
        in_range = {"type": "interval", "dimension": "__time", "intervals": query["intervals"]}
        extended = {
            **query,
            "intervals": [*query["intervals"], *self.intervals],
            "filter": {
                "type": "or",
                "fields": [{"type": "and", "fields": [query["filter"], in_range]}, *map(_at_least, self.marks.items())],
            },
        }
        if query["queryType"] == "scan":
            room = _ROWS_A_MARK * len(self.marks)
            return {**extended, "columns": [*query["columns"], MARK], "limit": query["limit"] + room}
        extended["dimensions"] = [*query["dimensions"], {"type": "default", "dimension": MARK, "outputName": MARK}]
        if "limitSpec" in query:
            room = _GROUPS_A_MARK * len(self.marks)
            extended["limitSpec"] = {**query["limitSpec"], "limit": query["limitSpec"]["limit"] + room}
        if "having" in query:
            is_mark = {"type": "filter", "filter": {"type": "not", "field": {"type": "null", "column": MARK}}}
            extended["having"] = {"type": "or", "havingSpecs": [query["having"], is_mark]}
        return extended

    def checked(self, query: Json, answer: Sequence[Any]) -> list[Any]:
        """Return the answer without its marks, as the query alone would have been answered.

        Args:
            query: the query before the extension by marks.
            answer: the answer to the extended query.

        Raises:
            Unavailable: a mark is missing, and rows may be missing too.
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
                f"Druid's answer lacks rows that were queryable before: the mark of {missing[0]} is missing; ask again",
                retry_after_s=_RETRY_S,
            )
        return rows


def proof_of(counted: Mapping[PartitionId, PartitionProgress], now_ms: int) -> Proof:
    """Return the proof that an answer has all rows before these positions; (0, 0) needs no proof.

    Args:
        counted: the marks that count.
        now_ms: the current time; marks stand at the start of a day, at most a day ahead.
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
    """Return the rows without the value at `at`; remove marks and add their names to `seen`."""
    unmarked: list[Any] = []
    for row in rows:
        if row[at] is None:
            unmarked.append([*row[:at], *row[at + 1 :]])
        else:
            seen.add(row[at])
    return unmarked
