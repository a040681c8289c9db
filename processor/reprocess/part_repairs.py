"""The raw hits that the parts of a repair found missing, in total and for a part that begins again. Pure."""

from __future__ import annotations

from collections.abc import Sequence, Set

from hitmesh.model.reprocessings import MAX_LOST_NAMED, RawRepair
from hitmesh.model.site_buckets import site_bucket


def total(repairs: Sequence[RawRepair]) -> RawRepair | None:
    """Return the findings of all parts together; None without findings."""
    if not repairs:
        return None
    named = sorted((lost for repair in repairs for lost in repair.named), key=lambda lost: lost.site_day)
    return RawRepair(
        sum(repair.restored_records for repair in repairs),
        sum(repair.restored_hits for repair in repairs),
        sum(repair.lost_hits for repair in repairs),
        sum(repair.lost_site_days for repair in repairs),
        tuple(named[:MAX_LOST_NAMED]),
    )


def handed_on(stored: RawRepair, others: Sequence[RawRepair], buckets: Set[int]) -> RawRepair:
    """Return the stored findings that belong to no other part, for a part with these buckets.

    Restored records remain counted even if the part that restored them is interrupted, because a later part does not
    find them missing.
    """
    theirs = total(others) or RawRepair()
    named = tuple(lost for lost in stored.named if site_bucket(lost.site_day.site) in buckets)
    return RawRepair(
        max(0, stored.restored_records - theirs.restored_records),
        max(0, stored.restored_hits - theirs.restored_hits),
        sum(lost.hits for lost in named),
        len(named),
        named,
    )
