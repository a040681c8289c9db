"""Types for dirty site-days, generations and settlement results, which the settler and reports use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.sites import SiteDay

# If settlement makes a dirty mark, the log in the mark's position is SETTLEMENT_LOG. Settlement makes a dirty mark if
# the open visits at a day's end (the carry) or the winning claim on an order have changed.
SETTLEMENT_LOG = "settlement"
# Before a settler changes duplicate flags of claims, the settler writes a dirty mark in whose position the log is
# FLAGS_LOG. After the change of the flags, the settler removes the mark. If the settler dies before the removal, the
# mark stays.
FLAGS_LOG: Final = "flags"

# The generation number of the first stream's rows. Settlements have greater generation numbers; further streams
# (hitmesh.model.streams) have -1, -2, …
STREAM_GENERATION: Final = 0
FIRST_STREAM: Final = (STREAM_GENERATION,)

_MODULUS: Final = 1 << 64


def is_streamed(generation: int) -> bool:
    """Return True if a stream wrote the generation's rows, and False if a settlement wrote the rows.

    Example:
        >>> is_streamed(0), is_streamed(-1), is_streamed(1)
        (True, True, False)
    """
    return generation <= STREAM_GENERATION


@dataclass(frozen=True, slots=True)
class DirtyMark:
    """States that a record at `position` changed a site-day's data.

    `hits` is the number of hits that the record has on the site-day. `sum64` is the sum modulo 2⁶⁴, and `xor64` the
    XOR, of the hits' hit_hash. The ledger counts the hits of dirty marks as pending (rule D5).
    """

    site_day: SiteDay
    position: Position
    log_time: int
    hits: int = 0
    sum64: int = 0
    xor64: int = 0


@dataclass(frozen=True, slots=True)
class MarkRange:
    """A site-day's dirty marks in a partition, as a range of offsets. The range includes both ends."""

    partition: PartitionId
    first_offset: int
    last_offset: int
    first_log_time: int


@dataclass(frozen=True, slots=True)
class DirtySiteDay:
    """A site-day that waits to be settled, with its dirty marks at the time of `DirtyDays.take`.

    If the site-day was only waiting for its day to close, it has no dirty marks.
    """

    site_day: SiteDay
    marks: tuple[MarkRange, ...]


@dataclass(frozen=True, slots=True)
class GenerationEntry:
    """A site-day's published generation. The entry with the highest sequence is current (architecture A9)."""

    generation: int
    sequence: int
    logic_version: int
    read_through: Mapping[PartitionId, int]  # for each partition, the offset below which the scan saw every record
    published_at: int
    rules_version: int = 0  # the version of the exclusion rules that decided about hits; 0 if the collector decided


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A generation's numbers of accepted hits on a site-day, by outcome (rule D5).

    The checksums are over hash64(hit). accepted = counted + duplicate + excluded + erased. Erased hits stay in
    `accepted` and in the checksums.
    """

    accepted: int
    counted: int
    duplicate: int
    excluded: int
    sum64: int
    xor64: int
    erased: int = 0

    def plus(self, other: LedgerEntry) -> LedgerEntry:
        """Return the sum of two ledger entries.

        Example:
            >>> LedgerEntry(2, 1, 1, 0, sum64=7, xor64=5).plus(LedgerEntry(1, 0, 0, 0, sum64=9, xor64=4, erased=1))
            LedgerEntry(accepted=3, counted=1, duplicate=1, excluded=0, sum64=16, xor64=1, erased=1)
        """
        return LedgerEntry(
            self.accepted + other.accepted,
            self.counted + other.counted,
            self.duplicate + other.duplicate,
            self.excluded + other.excluded,
            (self.sum64 + other.sum64) % _MODULUS,
            self.xor64 ^ other.xor64,
            self.erased + other.erased,
        )


@dataclass(frozen=True, slots=True)
class Drift:
    """The differences between a settled site-day and the stream's result (architecture A8).

    Attributes:
        confirmed: whether the stream's own rows were published.
        rows_differ: whether any row differs, according to the digest over all rows. If a partial's digest was made
            without the mesh secret, `rows_differ` compares the sums of the measures instead. `rows_differ` is also true
            if `row_measures` is not empty.
        sketch_provisional: whether a visitor's hits moved to other dimensions, but the visitor is still in the old
            sketch (rule S8).
        measures: nonzero differences by measure: the settled sum, minus the stream's sum. The sums include excluded
            hits. The difference in refunds leaves out `full_refunds`, because the stream cannot know the amounts of
            whole-order refunds.
        row_measures: nonzero differences by measure: the stream's rows in the metric store, minus the stream's result.
            A difference shows that the metric store lost or duplicated the stream's rows.
        full_refunds: sum, in micros and over all currencies, of the refunds whose amount is the order's total (rule
            D3).
    """

    confirmed: bool
    rows_differ: bool
    sketch_provisional: bool
    measures: Mapping[str, int]
    row_measures: Mapping[str, int] = field(default_factory=dict)
    full_refunds: int = 0
