"""Divides a reprocessing's work into parts. Several settlers work on parts at the same time. All functions are pure.

A part contains the site-days of all sites in certain buckets. A site's days are all in the same part, because each day
needs the carry from the previous day. The stored reprocessing lists the parts. When the finished parts cover all
buckets, the work is done.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from hitmesh.model.reprocessings import Part, Reprocessing, Work, next_state
from hitmesh.model.site_buckets import site_bucket
from processor.reprocess.part_repairs import handed_on, total


def parts_of(reprocessing: Reprocessing) -> list[Part]:
    """Return the requested work's parts."""
    return [part for part in reprocessing.parts if part.work is reprocessing.work]


def buckets_left(reprocessing: Reprocessing) -> frozenset[int]:
    """Return the buckets that contain the reprocessing's sites and are in no finished part."""
    finished = {bucket for part in parts_of(reprocessing) if part.is_finished for bucket in part.buckets}
    return frozenset(map(site_bucket, reprocessing.sites)) - finished


def loads_of(reprocessing: Reprocessing, held: Set[int]) -> dict[int, int]:
    """Return approximately how many site-days in each bucket are unfinished."""
    left = buckets_left(reprocessing) & held
    per_site = -(-reprocessing.site_days // max(1, len(reprocessing.sites)))
    loads = dict.fromkeys(left, 0)
    for bucket in map(site_bucket, reprocessing.sites):
        if bucket in left:
            loads[bucket] += per_site
    return loads


def narrowed(reprocessing: Reprocessing, part: Part) -> Reprocessing:
    """Return the reprocessing, reduced to the part's sites and to the part's findings about the raw store."""
    sites = tuple(site for site in reprocessing.sites if site_bucket(site) in part.buckets)
    return replace(reprocessing, sites=sites, raw_repair=part.raw_repair)


def new_part(reprocessing: Reprocessing, work: Work, buckets: Set[int], now: int) -> Part:
    """Return a part that a settler begins now.

    If the new part has a bucket in common with an unfinished part, the new part continues the unfinished part, and its
    `began_at` is 0.
    """
    interrupted = any(buckets & set(part.buckets) for part in parts_of(reprocessing))
    repair = None
    if work is Work.RECOMPUTE and reprocessing.raw_repair is not None:
        others = [part.raw_repair for part in _disjoint(reprocessing, buckets) if part.raw_repair is not None]
        repair = handed_on(reprocessing.raw_repair, others, buckets)
    return Part(work, tuple(sorted(buckets)), began_at=0 if interrupted else now, raw_repair=repair)


def with_part(reprocessing: Reprocessing, part: Part, now: int) -> Reprocessing:
    """Return the reprocessing with `part` in place of all parts that have a bucket in common with `part`.

    If the finished parts of the returned reprocessing cover all buckets, the work is done.
    """
    parts = (*_disjoint(reprocessing, set(part.buckets)), part)
    changed = replace(reprocessing, parts=parts, done=sum(each.done for each in parts))
    if part.work is Work.RECOMPUTE:
        changed = replace(
            changed,
            raw_repair=total([each.raw_repair for each in parts if each.raw_repair is not None]),
            following=sum(each.following for each in parts),
            open_hits=sum(each.open_hits for each in parts),
            reach_day=max(reprocessing.reach_day, *(each.reach_day for each in parts)),
        )
    if buckets_left(changed):
        return changed
    began = min(each.began_at for each in parts)
    took_ms = max(now - began, 1) if began and part.work is Work.RECOMPUTE else reprocessing.recompute_ms
    state = next_state(reprocessing.kind, part.work)
    return replace(changed, state=state, work=None, error="", recompute_ms=took_ms, parts=())


def _disjoint(reprocessing: Reprocessing, buckets: Set[int]) -> list[Part]:
    """Return the requested work's parts that contain none of these buckets."""
    return [part for part in parts_of(reprocessing) if buckets.isdisjoint(part.buckets)]
