"""Dirty site-days, generations and what settlement found: values of the settler and of reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.sites import SiteDay

# Marks that settlement itself makes (a changed carry, a changed order winner) come from this log.
SETTLEMENT_LOG = "settlement"


@dataclass(frozen=True, slots=True)
class DirtyMark:
    """Says that a record at `position` changed what is known of a site-day.

    `hits` of the record are of the site-day, with Σ and ⊕ of their hit_hash (rule D5, pending).
    """

    site_day: SiteDay
    position: Position
    log_time: int
    hits: int = 0
    sum64: int = 0
    xor64: int = 0


@dataclass(frozen=True, slots=True)
class MarkRange:
    """The marks of one partition on one site-day: [first_offset, last_offset], both marked."""

    partition: PartitionId
    first_offset: int
    last_offset: int
    first_log_time: int


@dataclass(frozen=True, slots=True)
class DirtySiteDay:
    """A site-day that waits to be settled, with the marks as they were when it was taken.

    One that only waited for its day to close has no marks.
    """

    site_day: SiteDay
    marks: tuple[MarkRange, ...]


@dataclass(frozen=True, slots=True)
class GenerationEntry:
    """A published generation of a site-day. The highest sequence wins (decision A9)."""

    generation: int
    sequence: int
    logic_version: int
    read_through: Mapping[PartitionId, int]  # the scan saw every record below these offsets
    published_at: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What became of the accepted hits of a site-day in a generation (rule D5), with checksums over hash64(hit)."""

    accepted: int
    counted: int
    duplicate: int
    excluded: int
    sum64: int
    xor64: int


@dataclass(frozen=True, slots=True)
class Drift:
    """How a settled site-day differs from what the stream said of it (decision A8): 0 where nothing came late.

    Attributes:
        confirmed: whether the stream's own rows were published.
        rows_differ: whether any row differs, by the digest over all rows.
        sketch_provisional: whether a visitor left a sketch it could not be taken from (rule S8).
        measures: settled − stream, of excluded and other rows together; those that are not 0. Without what refunds of
            whole orders got, which the stream cannot know.
        row_measures: rows in the metric store − stream, likewise: rows of the stream were lost or doubled there.
        full_refunds: what refunds that named no amount got from their orders, all currencies together (rule D3).
    """

    confirmed: bool
    rows_differ: bool
    sketch_provisional: bool
    measures: Mapping[str, int]
    row_measures: Mapping[str, int] = field(default_factory=dict)
    full_refunds: int = 0
