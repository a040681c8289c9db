"""What the services need from the outside, as protocols. Adapters live in hitmesh.adapters.

Each protocol states its promises; tests/contract holds one test class per port that every adapter passes. Values that
cross a port are frozen. All times are UTC milliseconds, all ranges half-open. Every call may raise
hitmesh.errors.Unavailable; other errors are named where they occur.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol

import polars as pl

from hitmesh.filters import Filter
from hitmesh.rollup_rows import RowSource

# ---------------------------------------------------------------------------------------------------------------- log


class Topic(StrEnum):
    """The topics of the log."""

    HITS = "hits"
    REJECTED = "rejected"


class RecordKind(IntEnum):
    """What a record holds; the numbers of hitmesh.log.v1.RecordKind."""

    HITS = 1
    REJECTED = 2
    HEARTBEAT = 3
    END = 4


class PartitionId(NamedTuple):
    """A partition of a log. A topic made anew is a new log (decision A4)."""

    log: str
    partition: int


class Position(NamedTuple):
    """Where a record is. Order of positions in one partition is the order of the log."""

    log: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record to append: `value` as hitmesh.columns packs it; the rest is the header (log.v1.RecordHeader)."""

    kind: RecordKind
    value: bytes = b""
    rows: int = 0
    min_event_time: int = 0
    max_event_time: int = 0
    max_collect_time: int = 0
    schema_version: int = 1
    collector: str = ""
    classifier_version: str = ""


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """A record that is in the log. `log_time` never decreases within a partition (rule L1)."""

    position: Position
    log_time: int
    record: Record


class EventLog(Protocol):
    """Takes records. Thread-safe."""

    def partitions(self, topic: Topic) -> int:
        """Returns how many partitions the topic has."""

    def log_id(self, topic: Topic) -> str:
        """Returns which log the topic is now."""

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Starts to append; the future resolves only when the record is durable.

        Order is kept per partition. Nothing is silently dropped.

        Raises:
            LogFull: at once or through the future; nothing of the record was written.
        """

    def flush(self, timeout_s: float) -> None:
        """Waits until every append so far is resolved.

        Raises:
            RetryError: that took longer than `timeout_s`.
        """

    def close(self) -> None:
        """Flushes and lets go. A second call changes nothing."""


class LoggedPosition(NamedTuple):
    """Where a record went, and when the log took it."""

    position: Position
    log_time: int


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a reader got: the next offset to read, and the log time up to which everything is applied."""

    next_offset: int
    log_time: int


class LogReader(Protocol):
    """Reads one topic for one named group, all partitions. Confined to one thread."""

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Returns the next records, in order per partition; empty when none came within `timeout_s`.

        At most `max_hits` rows together, but at least one record.
        """

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns the next record to read of each partition: what poll handed out lies before it."""

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns what was committed last; partitions without a commit start at offset 0, log time 0."""

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Saves positions durably. A commit never moves back: an older position is ignored."""

    def close(self) -> None:
        """Lets go. A second call changes nothing."""


# ---------------------------------------------------------------------------------------------------------------- raw


class SiteDay(NamedTuple):
    """A UTC day of a site: days since 1970-01-01. The unit of settlement."""

    site: str
    day: int


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A stored record of accepted hits and the site-days that occur in it."""

    position: Position
    log_time: int
    rows: int
    min_event_time: int
    max_event_time: int
    value: bytes
    schema_version: int
    site_days: frozenset[SiteDay]


class RawStore(Protocol):
    """Keeps accepted hits for good, as the records they came in."""

    def put(self, records: Sequence[RawRecord]) -> None:
        """Stores records durably, keyed by position: storing one twice is storing it once."""

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yields each record that holds hits of the site in [first_day, end_day) once, in log order.

        A record may hold other sites and days too: the caller filters rows. With `before`, only offsets below it, and
        none of partitions it does not name.
        """

    def get(self, position: Position) -> RawRecord | None:
        """Returns one record."""

    def days(self, site: str) -> Sequence[int]:
        """Returns the UTC days for which the site has hits, ascending."""


@dataclass(frozen=True, slots=True)
class RejectedHit:
    """A refused hit as it is kept: reason and at most 4 KiB of the original bytes."""

    position: Position
    row: int
    site: str
    collect_time: int
    reason: str
    field: str
    message: str
    hit_id: str
    hits: int
    original: bytes


class RejectedStore(Protocol):
    """Keeps refused hits and counts them."""

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Stores refusals, keyed by position and row: storing one twice is storing it once."""

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Returns refused hits per cell (start in ms) of the UTC day of collect time (rule D5)."""

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Returns the newest refusals of a site, newest first."""


# ----------------------------------------------------------------------------------------------------------- settling


# Marks that settlement itself makes (a changed carry, a changed order winner) come from this log.
SETTLEMENT_LOG = "settlement"


@dataclass(frozen=True, slots=True)
class DirtyMark:
    """Says that a record at `position` changed what is known of a site-day."""

    site_day: SiteDay
    position: Position
    log_time: int


@dataclass(frozen=True, slots=True)
class MarkRange:
    """The marks of one partition on one site-day: [first_offset, last_offset], both marked."""

    partition: PartitionId
    first_offset: int
    last_offset: int
    first_log_time: int


@dataclass(frozen=True, slots=True)
class DirtySiteDay:
    """A site-day that waits to be settled, with the marks as they were when it was taken."""

    site_day: SiteDay
    marks: tuple[MarkRange, ...]


class DirtyDays(Protocol):
    """Site-days that wait to be settled."""

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Adds marks durably. Marking twice is marking once. Called only after the raw record is stored."""

    def take(self, limit: int) -> Sequence[DirtySiteDay]:
        """Returns dirty site-days by (site, day), whole sites first; they stay dirty until cleared."""

    def clear(self, taken: DirtySiteDay) -> None:
        """Removes the marks in `taken`, and only those: marks that came later stay."""

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Returns what waits for a site."""


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


class Generations(Protocol):
    """Which generation of a site-day is read. Conditional writes."""

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
    ) -> GenerationEntry:
        """Makes a generation current, with its ledger entry and the carry it hands to the next day, all or nothing.

        `seen_sequence` is that of the entry seen when the scan began, 0 for none.

        Raises:
            StaleGeneration: another entry was published since; nothing was written.
        """

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Returns the carry of the current generation; None when the site-day was never settled."""

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Returns the ledger entry of the current generation per day."""

    def sequence(self, site: str) -> int:
        """Returns the highest sequence of the site: the version of its published numbers; 0 without any."""

    def superseded(self, published_before: int) -> Sequence[tuple[SiteDay, int]]:
        """Returns generations that are not current and whose successor was published before that time."""

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Forgets a superseded generation after its rows are gone. The current one is never forgotten."""


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """An ORDER hit's claim on (site, order_id), keyed by position and row (rule D3)."""

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


class OrderClaims(Protocol):
    """Who claimed an order first."""

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Stores claims durably: storing one twice is storing it once, and keeps its duplicate flag."""

    def of(self, site: str, order_ids: Sequence[str]) -> Sequence[OrderClaim]:
        """Returns all claims on these orders in log order (log time, log, partition, offset, row)."""

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Records which claims are of duplicate hits, as the settlement of their day found."""


class RollupSink(Protocol):
    """Where settled rows go. Rows of a generation are invisible until the generation is published."""

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Stores rows (hitmesh.rollup_rows columns) durably. Each (site, day, generation) is written once."""

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Returns whether the metric store can answer from the generation's rows."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Removes the rows of these generations; removing twice is removing once."""


# ---------------------------------------------------------------------------------------------------------- reporting


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """One question to a metric store: sums and sketches of one row source, by bucket and dimensions.

    `bucket_starts` are ascending UTC ms, multiples of 15 min; bucket i is [bucket_starts[i], bucket_starts[i+1]), the
    last one ends at `end`. One start means one bucket for the whole range.
    `generations` names the generation to read per site-day; other rows do not exist for the query.
    """

    source: RowSource
    generations: Mapping[SiteDay, int]
    start: int
    end: int
    bucket_starts: tuple[int, ...]
    dimensions: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    sketches: tuple[str, ...] = ()
    filter: Filter | None = None
    include_excluded: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)  # dimension of the question → column, where they differ


class MetricStore(Protocol):
    """Answers questions over published rows."""

    def query(self, question: MetricQuery) -> pl.DataFrame:
        """Returns one row per bucket and dimension values; groups in which no row matched are absent.

        Columns: `bucket` (Int32 index), the dimensions (String, null = not set), the measures (Int64 sums) and the
        sketches (Binary, united). No order is promised.
        Dimension values with quotes, backslashes, newlines and any Unicode come back as they were written.
        """

    def dimension_values(self, question: MetricQuery, dimension: str, limit: int) -> Sequence[str]:
        """Returns distinct values of a dimension in the range, for suggestions; at most `limit`."""


class ProgressReader(Protocol):
    """How far the processor has applied the log: what GetFreshness is computed from."""

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Returns the committed progress of every **declared** partition; one without progress is (0, 0)."""


# ---------------------------------------------------------------------------------------------------------- directory


@dataclass(frozen=True, slots=True)
class VisitPolicy:
    """How hits become visits (rules §4)."""

    version: str = "v1"
    gap_ms: int = 1_800_000
    cap_ms: int = 86_400_000
    max_hits: int = 5_000
    campaign_splits: bool = True
    split_at_local_midnight: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A site. `secret` keys visitor hashes and never leaves the back end."""

    name: str
    time_zone: str
    currency: str
    secret: bytes = field(repr=False)
    created_at: int = 0
    spread: int = 1
    policy: VisitPolicy = VisitPolicy()
    cookieless_counting: bool = False
    consent_by_default: bool = True
    identify_by_user_id: bool = False


class KeyKind(StrEnum):
    """What a key may do."""

    BROWSER = "browser"
    SERVER = "server"
    EDGE = "edge"


@dataclass(frozen=True, slots=True)
class IngestKey:
    """A key. Its secret is kept only as SHA-256. `site` None = every site of `merchant` ("merchants/m")."""

    key_id: str
    merchant: str
    kind: KeyKind
    site: str | None = None
    unbounded_history: bool = False
    created_at: int = 0
    revoked_at: int | None = None


class SiteDirectory(Protocol):
    """Sites, keys and salts. Reads may come from a cache that is at most 1 s old; what is not in it is looked up."""

    def site(self, name: str) -> Site | None:
        """Returns a site."""

    def sites(self, merchant: str | None, after: str, limit: int) -> Sequence[Site]:
        """Returns sites by name, those of one merchant or of all, names greater than `after`."""

    def create_site(self, site: Site) -> Site:
        """Creates a site durably; returns it. Creating the same again returns what is there.

        Raises:
            AlreadyExists: the name is taken with another zone, currency or policy.
        """

    def key(self, secret: str) -> IngestKey | None:
        """Returns the key with this secret, revoked ones included."""

    def create_key(self, key: IngestKey, secret: str) -> IngestKey:
        """Creates a key durably; only the secret's hash is kept."""

    def keys(self, merchant: str) -> Sequence[IngestKey]:
        """Returns the keys of a merchant."""

    def revoke_key(self, merchant: str, key_id: str, now: int) -> IngestKey:
        """Revokes a key durably; revoking twice keeps the first time.

        Raises:
            NotFound: the merchant has no such key.
        """

    def salt(self, site: str, local_date: date, today: date) -> bytes:
        """Returns the salt of a site-local date, making it when it is of `today` or a neighbour (rule I2).

        Salts older than the day before `today` are destroyed. A date that has none gets today's.
        """


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> int:
        """Returns UTC ms."""
