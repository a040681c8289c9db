"""The ports of settlement: dirty days, generations with their ledger and carry, order claims, settled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

import polars as pl

from hitmesh.ports.log import PartitionId, Position
from hitmesh.ports.raw import SiteDay

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


class DirtyDays(Protocol):
    """Site-days that wait to be settled: closed ones that changed, and ones that the stream counts until they close."""

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Adds marks durably. Marking twice is marking once. Called only after the raw record is stored."""

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Notes durably that the stream counts hits of these; each is taken once its day has closed. Idempotent."""

    def take(self, limit: int, closed_before: int) -> Sequence[DirtySiteDay]:
        """Returns site-days before the day `closed_before` that are marked or awaited, by (site, day).

        Whole sites first; they stay until cleared.
        """

    def clear(self, taken: DirtySiteDay) -> None:
        """Removes the marks in `taken`, and only those: marks that came later stay. It is awaited no longer."""

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Returns what is marked of a site; days that are only awaited are not among it."""

    def awaited(self, site: str) -> Sequence[int]:
        """Returns the days of a site that wait to close, ascending."""

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Returns the marks of a site, ordered by (day, position), with what they count."""


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


class Generations(Protocol):
    """Which generation of a site-day is read. Conditional writes.

    A site-day without an entry is read as the stream has it: STREAM_GENERATION of hitmesh.stream_columns.
    """

    def begin(self, site_day: SiteDay) -> int:
        """Returns a generation number never returned before for the site-day: each attempt has its own."""

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Returns the winning entry per day that has one."""

    def publish(
        self,
        site_day: SiteDay,
        generation: int,
        *,
        logic_version: int,
        read_through: Mapping[PartitionId, int],
        seen_sequence: int,
        ledger: LedgerEntry,
        carry: bytes,
        now: int,
        drift: Drift | None = None,
    ) -> GenerationEntry:
        """Makes a generation current, with its ledger entry and the carry it hands to the next day, all or nothing.

        `seen_sequence` is that of the entry seen when the scan began, 0 for none. `drift` is None where the stream
        counted nothing. With a drift that is confirmed, the entry's generation is STREAM_GENERATION: the attempt
        wrote no rows. With one that is not, STREAM_GENERATION is superseded, unless an entry is there already.

        Raises:
            StaleGeneration: another entry was published since; nothing was written.
        """

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Returns the carry of the current generation; None when the site-day was never settled."""

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Returns the ledger entry of the current generation per day."""

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Returns the drift stored with the first entry that had one, per site-day; of one site, or of all."""

    def sequence(self, site: str) -> int:
        """Returns the highest sequence of the site: the version of its published numbers; 0 without any."""

    def superseded(self, published_before: int) -> Sequence[tuple[SiteDay, int]]:
        """Returns generations that are not current and whose successor was published before that time."""

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Forgets a superseded generation after its rows are gone. The current one is never forgotten."""


class ClaimKind(StrEnum):
    """What is claimed: the id of an order or of a refund. Equal ids of two kinds have nothing to do with each other."""

    ORDER = "order"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """A hit's claim on (site, kind, id), keyed by position and row (rule D3): of an ORDER, or of a REFUND with an id.

    `order_id` is the id of either. `total` and `currency` are those of an order; None and "" of a refund, and of a
    claim that was made before claims carried them.
    """

    site: str
    order_id: str
    log_time: int
    position: Position
    row: int
    visitor_hi: int
    visitor_lo: int
    hit_id: str
    day: int
    excluded: bool
    duplicate: bool = False
    kind: ClaimKind = ClaimKind.ORDER
    total: int | None = None
    currency: str = ""


class WholeRefund(NamedTuple):
    """A REFUND hit that named no amount: at the settlement of its day it takes the total of its order (rule D3)."""

    site: str
    order_id: str
    day: int


class OrderClaims(Protocol):
    """Who claimed an order or a refund first, and which refunds take the total of their order."""

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Stores claims durably: storing one twice is storing it once, and keeps its duplicate flag."""

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Returns all claims of the kind on these ids in log order (log time, log, partition, offset, row)."""

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Returns which claims hold their order or refund in the stream, taking those that nobody holds, durably.

        Claims are in log order, none is a duplicate. The first to ask for a (site, kind, order_id, excluded) holds it
        for good, and finds itself again when it asks again; settlement decides anew from all claims.
        """

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Notes refunds of whole orders durably. Noting one twice is noting it once."""

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Returns the days of noted refunds per order that has any, ascending."""

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Records which claims are of duplicate hits, as the settlement of their day found."""


class RollupSink(Protocol):
    """Where settled rows go. Rows of a generation are invisible until the generation is published."""

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Stores rows (hitmesh.rollup_rows columns) durably. Each (site, day, generation) is written once."""

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Returns whether the metric store can answer from the generation's rows."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Removes the rows of these generations, of STREAM_GENERATION too; removing twice is removing once."""
