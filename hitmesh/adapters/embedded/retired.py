"""Read the recorded entries and the superseded generations of site-days (tables `past_entries`, `superseded`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

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
_RETIRED: Final = """SELECT superseded.generation, superseded_at, sum(row_count) FROM superseded
    LEFT JOIN manifest USING (site, day, generation)
    WHERE superseded.site = ? AND superseded.day = ? GROUP BY superseded.generation ORDER BY superseded.generation"""


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
    transaction: Transaction, site: str | None, after: SiteDay | None, limit: int
) -> list[RetiredGeneration]:
    """Return the superseded generations of at most `limit` site-days after `after`, in the order (site, day)."""
    place = after or SiteDay("", 0)
    page = transaction.rows(SiteDay, _SITE_DAYS, (*place, place.site, site, site, limit))
    found: list[RetiredGeneration] = []
    for site_day in page:
        past = past_of_days(transaction, site_day.site, site_day.day, site_day.day + 1).get(site_day.day, ())
        times: Mapping[int, int] = replaced_times(past)
        found += (
            RetiredGeneration(site_day, generation, kept_until, times.get(generation), rows)
            for generation, kept_until, rows in transaction.rows(_retired_columns, _RETIRED, site_day)
        )
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


def _retired_columns(generation: int, kept_until: int, rows: int | None) -> tuple[int, int, int | None]:
    return generation, kept_until, rows
