"""Read the recorded entries and the superseded generations of site-days (tables `past_entries`, `superseded`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from hitmesh.adapters.embedded.sqlite import Transaction
from hitmesh.adapters.shared.past_entries import RecordedEntry, past_entries
from hitmesh.adapters.shared.publication import beyond_limit
from hitmesh.model.history import PastEntry, RetiredGeneration, replaced_times
from hitmesh.model.sites import SiteDay

_IN_DAYS: Final = "WHERE site = ? AND day >= ? AND day < ?"
# SQLite compares pairs (site, day) in the order of the index. The condition `site >= ?` excludes all sites that sort
# before the last site on the previous page.
_SITE_DAYS: Final = """SELECT DISTINCT site, day FROM superseded
    WHERE (site, day) > (?, ?) AND site >= ? AND (? IS NULL OR site = ?) ORDER BY site, day LIMIT ?"""
_RETIRED: Final = "SELECT generation, superseded_at FROM superseded WHERE site = ? AND day = ? ORDER BY generation"
# A file can have rows of several site-days and generations. The number of rows in the file is taken from the manifest.
_ROWS: Final = """SELECT generation, file, row_count,
        (SELECT max(of_file.first_row + of_file.row_count) FROM manifest AS of_file
            WHERE of_file.segment = manifest.segment)
    FROM manifest JOIN segments USING (segment)
    WHERE manifest.site = ? AND manifest.source IN ('traffic', 'visits') AND day = ?"""

SizeOf = Callable[[str], int | None]
"""A function that returns the size of a file in bytes; None if the file does not exist."""


def past_of_days(transaction: Transaction, site: str, first_day: int, end_day: int) -> dict[int, Sequence[PastEntry]]:
    """Return the entries of each day that has an entry, in ascending order of sequence."""
    superseded: dict[int, dict[int, int]] = {}
    for day, generation, at in transaction.rows(
        _integers, f"SELECT day, generation, superseded_at FROM superseded {_IN_DAYS}", (site, first_day, end_day)
    ):
        superseded.setdefault(day, {})[generation] = at
    recorded = transaction.rows(
        _day_and_entry,
        f"""SELECT day, sequence, generation, logic_version, published_at FROM past_entries {_IN_DAYS}
        ORDER BY day, sequence""",
        (site, first_day, end_day),
    )
    return {
        day: past_entries([entry for _, entry in of_day], superseded.get(day, {}))
        for day, of_day in groupby(recorded, key=lambda found: found[0])
    }


def retired_of(
    transaction: Transaction, site: str | None, after: SiteDay | None, limit: int, size_of: SizeOf
) -> list[RetiredGeneration]:
    """Return the superseded generations of at most `limit` site-days after `after`, in the order (site, day).

    The size of a generation is its share in the sizes of its files, in proportion to the numbers of rows.
    """
    place = after or SiteDay("", 0)
    page = transaction.rows(SiteDay, _SITE_DAYS, (*place, place.site, site, site, limit))
    found: list[RetiredGeneration] = []
    for site_day in page:
        past = past_of_days(transaction, site_day.site, site_day.day, site_day.day + 1).get(site_day.day, ())
        times: Mapping[int, int] = replaced_times(past)
        stored = _rows_of(transaction, site_day, size_of)
        found += (
            RetiredGeneration(
                site_day, generation, kept_until, times.get(generation), *stored.get(generation, _NO_ROWS)
            )
            for generation, kept_until in transaction.rows(_pair, _RETIRED, site_day)
        )
    return found


class _Rows(NamedTuple):
    """The number of a generation's rows and their size in bytes; None if a number is not known."""

    rows: int | None
    size: int | None


_NO_ROWS: Final = _Rows(None, None)


def _rows_of(transaction: Transaction, site_day: SiteDay, size_of: SizeOf) -> Mapping[int, _Rows]:
    """Return the rows of each generation of a site-day that has rows in files."""
    found: dict[int, _Rows] = {}
    for generation, file, rows, of_file in transaction.rows(_row_columns, _ROWS, site_day):
        before, whole = found.get(generation, _Rows(0, 0)), size_of(file)
        size = None if whole is None or before.size is None else before.size + whole * rows // max(1, of_file)
        found[generation] = _Rows((before.rows or 0) + rows, size)
    return found


def limit_kept(transaction: Transaction, site_day: SiteDay, now: int) -> None:
    """Keep at most MAX_KEPT_GENERATIONS replaced generations of a site-day; the others are superseded from `now` on."""
    replaced = dict(
        transaction.rows(_pair, "SELECT generation, superseded_at FROM superseded WHERE site = ? AND day = ?", site_day)
    )
    transaction.run_many(
        "UPDATE superseded SET superseded_at = ? WHERE site = ? AND day = ? AND generation = ?",
        [(now, *site_day, generation) for generation in sorted(beyond_limit(replaced, now))],
    )


def _integers(day: int, generation: int, at: int) -> tuple[int, int, int]:
    return day, generation, at


def _pair(generation: int, at: int) -> tuple[int, int]:
    return generation, at


def _day_and_entry(
    day: int, sequence: int, generation: int, logic_version: int, published_at: int
) -> tuple[int, RecordedEntry]:
    return day, RecordedEntry(sequence, generation, logic_version, published_at)


def _row_columns(generation: int, file: str, rows: int, of_file: int) -> tuple[int, str, int, int]:
    return generation, file, rows, of_file
