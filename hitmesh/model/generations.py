"""Dirty site-days, generations and settlement results: values for the settler and for reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.sites import SiteDay

# Marks that settlement itself makes (a changed carry, a changed order winner) come from this log.
SETTLEMENT_LOG = "settlement"

# The generation of all stream rows; settlements count from 1.
STREAM_GENERATION: Final = 0


@dataclass(frozen=True, slots=True)
class DirtyMark:
    """States that a record at `position` changed a site-day's data.

    `hits` counts the record's hits on the site-day, with Σ and ⊕ of their hit_hash (rule D5, pending).
    """

    site_day: SiteDay
    position: Position
    log_time: int
    hits: int = 0
    sum64: int = 0
    xor64: int = 0


@dataclass(frozen=True, slots=True)
class MarkRange:
    """A site-day's marks in one partition: [first_offset, last_offset], both marked."""

    partition: PartitionId
    first_offset: int
    last_offset: int
    first_log_time: int


@dataclass(frozen=True, slots=True)
class DirtySiteDay:
    """A site-day that waits to be settled, with its marks at the time of `take`.

    A site-day that only waited for its day to close has no marks.
    """

    site_day: SiteDay
    marks: tuple[MarkRange, ...]


@dataclass(frozen=True, slots=True)
class GenerationEntry:
    """A site-day's published generation. The highest sequence wins (decision A9)."""

    generation: int
    sequence: int
    logic_version: int
    read_through: Mapping[PartitionId, int]  # the scan saw every record below these offsets
    published_at: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """The outcome of a site-day's accepted hits in a generation (rule D5), with checksums over hash64(hit)."""

    accepted: int
    counted: int
    duplicate: int
    excluded: int
    sum64: int
    xor64: int


@dataclass(frozen=True, slots=True)
class Drift:
    """How a settled site-day differs from the stream's result (decision A8): 0 where no hit came late.

    Attributes:
        confirmed: whether the stream's own rows were published.
        rows_differ: whether any row differs, by the digest over all rows.
        sketch_provisional: whether a visitor moved out of a sketch, which cannot remove the visitor (rule S8).
        measures: settled − stream, excluded and other rows together, nonzero measures only. Without the amounts of
            whole-order refunds, which the stream cannot know.
        row_measures: rows in the metric store − stream, likewise: nonzero when the metric store lost or doubled stream
            rows.
        full_refunds: sum that refunds without an amount took from their orders, all currencies together (rule D3).
    """

    confirmed: bool
    rows_differ: bool
    sketch_provisional: bool
    measures: Mapping[str, int]
    row_measures: Mapping[str, int] = field(default_factory=dict)
    full_refunds: int = 0
