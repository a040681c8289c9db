"""Records in the log and in the raw store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hitmesh.model.positions import Position
from hitmesh.model.sites import SiteDay


class RecordKind(IntEnum):
    """A record's content; the numbers of hitmesh.internal.log.v1.RecordKind."""

    HITS = 1
    REJECTED = 2
    HEARTBEAT = 3
    END = 4


@dataclass(frozen=True, slots=True)
class Record:
    """A record to append: `value` as hitmesh.model.rows.columns packs it; all other fields form log.v1.RecordHeader.

    `hits` is the number of hits that the record announces; `sum64` and `xor64` are Σ mod 2⁶⁴ and ⊕ over their hash64
    (rule D5); `hits` is None when the writer announced nothing.
    """

    kind: RecordKind
    value: bytes = b""
    rows: int = 0
    min_event_time: int = 0
    max_event_time: int = 0
    max_collect_time: int = 0
    schema_version: int = 1
    collector: str = ""
    classifier_version: str = ""
    hits: int | None = None
    sum64: int = 0
    xor64: int = 0


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """A record in the log. `log_time` never decreases within a partition (rule L1)."""

    position: Position
    log_time: int
    record: Record


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


@dataclass(frozen=True, slots=True)
class RejectedHit:
    """A stored refused hit: reason and at most 4 KiB of the original bytes."""

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
