"""Adds up the restored records and lost hits that a repair's parts have found. All functions are pure.

If an interrupted part begins again, `handed_on` returns the findings that remain valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from hitmesh.model.reprocessings import MAX_LOST_NAMED, MAX_RESTORED_NAMED, RawRepair, RestoredRecord
from hitmesh.model.site_buckets import site_bucket


def total(repairs: Sequence[RawRepair]) -> RawRepair | None:
    """Return all parts' findings, added up, or None if no part has findings.

    If a record has hits of several sites, several parts may restore the record. Each part lists the first
    MAX_RESTORED_NAMED records that it restores. A listed record counts once, even if several parts list the record. If
    a part restores a record but does not list the record, the record counts separately for this part.
    """
    if not repairs:
        return None
    named = sorted((lost for repair in repairs for lost in repair.named), key=lambda lost: lost.site_day)
    every = [record for repair in repairs for record in repair.restored]
    restored = sorted(set(every))
    return RawRepair(
        sum(repair.restored_records for repair in repairs) - len(every) + len(restored),
        sum(repair.restored_hits for repair in repairs) - _hits(every) + _hits(restored),
        sum(repair.lost_hits for repair in repairs),
        sum(repair.lost_site_days for repair in repairs),
        tuple(named[:MAX_LOST_NAMED]),
        tuple(restored[:MAX_RESTORED_NAMED]),
    )


def _hits(records: Iterable[RestoredRecord]) -> int:
    return sum(record.hits for record in records)


def handed_on(stored: RawRepair, others: Sequence[RawRepair], buckets: Set[int]) -> RawRepair:
    """Return the stored findings that belong to a part with the given buckets, and to no other part.

    If a part was interrupted, the records that it restored still count, because no later part restores these records
    again.
    """
    theirs = total(others) or RawRepair()
    named = tuple(lost for lost in stored.named if site_bucket(lost.site_day.site) in buckets)
    return RawRepair(
        max(0, stored.restored_records - theirs.restored_records),
        max(0, stored.restored_hits - theirs.restored_hits),
        sum(lost.hits for lost in named),
        len(named),
        named,
        tuple(record for record in stored.restored if record not in theirs.restored),
    )
