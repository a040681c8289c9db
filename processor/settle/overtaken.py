"""Handles settlements that were overtaken: the site's lease has ended, or reports read another stream."""

from __future__ import annotations

from collections.abc import Iterable

from hitmesh.model.errors import StaleGeneration
from hitmesh.model.sites import SiteDay
from hitmesh.model.streams import StreamTable
from hitmesh.ports import DirtyDays, Generations, Streams
from processor.settle.settlement_marks import SettlementMarks
from processor.settle.share import Share


def refuse_lost_lease(share: Share, site_day: SiteDay) -> None:
    """Raise an error if the lease on the site has ended.

    Raises:
        StaleGeneration: the lease has ended, or will end before a publication could finish.
    """
    if not share.holds(site_day.site):
        raise StaleGeneration(f"{site_day}: the lease on the site has ended; another settler continues")


def refuse_changed_streams(streams: Streams, seen: StreamTable) -> None:
    """Raise an error if reports began to read another stream after a day's first settlement was computed.

    The first settlement uses the logic that belongs to the stream that reports read when the settlement begins.

    Raises:
        StaleGeneration: the stream table has changed since it was read.
    """
    version = streams.read().version
    if version != seen.version:
        raise StaleGeneration(
            f"version {version} of the stream table has replaced version {seen.version}; settle again"
        )


def mark_if_overtaken(
    generations: Generations,
    dirty: DirtyDays,
    marks: SettlementMarks,
    site_day: SiteDay,
    sequence: int,
    disturbed: Iterable[int],
) -> None:
    """If the site had another publication after `sequence`, mark the site-day and the disturbed days dirty.

    This settler has just set duplicate flags, and may have replaced flags from a later settlement of the site-day. The
    site-day's next settlement corrects the flags (rule D3). Disturbed days' settlements may have read the flags
    before this settler set them.

    Args:
        generations: the published generations.
        dirty: stores the marks.
        marks: creates the marks.
        site_day: the site-day.
        sequence: the sequence number of the site-day's publication.
        disturbed: the site's days that depend on the flags.
    """
    if generations.sequence(site_day.site) != sequence:
        dirty.mark(marks.on(site_day.site, {site_day.day, *disturbed}))
