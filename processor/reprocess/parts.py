"""The parts of a reprocessing's work, which several settlers do at the same time (reprocessing). Pure.

A part has the site-days whose sites are in certain buckets. A site's days are always in the same part, because each day
hands its carry to the next. The stored reprocessing lists the parts, and the work is done when the finished parts have
all buckets.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import replace

from hitmesh.model.reprocessings import NEXT_STATE, Part, Reprocessing, Work
from hitmesh.model.site_buckets import site_bucket


def parts_of(reprocessing: Reprocessing) -> list[Part]:
    """Return the parts of the requested work."""
    return [part for part in reprocessing.parts if part.work is reprocessing.work]


def buckets_left(reprocessing: Reprocessing) -> frozenset[int]:
    """Return the buckets that have sites of the reprocessing and are in no finished part."""
    finished = {bucket for part in parts_of(reprocessing) if part.is_finished for bucket in part.buckets}
    return frozenset(map(site_bucket, reprocessing.sites)) - finished


def loads_of(reprocessing: Reprocessing, held: Set[int]) -> dict[int, int]:
    """Return how many site-days wait, by bucket, approximately: each bucket counts as far as its sites are left."""
    left = buckets_left(reprocessing) & held
    per_site = -(-reprocessing.site_days // max(1, len(reprocessing.sites)))
    loads = dict.fromkeys(left, 0)
    for bucket in map(site_bucket, reprocessing.sites):
        if bucket in left:
            loads[bucket] += per_site
    return loads


def narrowed(reprocessing: Reprocessing, buckets: Collection[int]) -> Reprocessing:
    """Return the reprocessing with only the sites of these buckets."""
    return replace(reprocessing, sites=tuple(site for site in reprocessing.sites if site_bucket(site) in buckets))


def new_part(reprocessing: Reprocessing, work: Work, buckets: Set[int], now: int) -> Part:
    """Return a part that a settler begins now; `began_at` is 0 if a part that was not finished had some buckets."""
    interrupted = any(buckets & set(part.buckets) for part in parts_of(reprocessing))
    return Part(work, tuple(sorted(buckets)), began_at=0 if interrupted else now)


def with_part(reprocessing: Reprocessing, part: Part, now: int) -> Reprocessing:
    """Return the reprocessing with a part in place of all parts that share a bucket; the last finished part ends it."""
    others = [other for other in parts_of(reprocessing) if set(other.buckets).isdisjoint(part.buckets)]
    parts = (*others, part)
    changed = replace(reprocessing, parts=parts, done=sum(each.done for each in parts))
    if buckets_left(changed):
        return changed
    began = min(each.began_at for each in parts)
    took_ms = max(now - began, 1) if began and part.work is Work.RECOMPUTE else reprocessing.recompute_ms
    return replace(changed, state=NEXT_STATE[part.work], work=None, error="", recompute_ms=took_ms, parts=())
