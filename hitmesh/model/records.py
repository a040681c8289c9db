"""Records in the log and in the raw store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hitmesh.model.positions import Position
from hitmesh.model.sites import SiteDay


class RecordKind(IntEnum):
    """The kinds of records, with the numbers in hitmesh.internal.log.v1.RecordKind."""

    HITS = 1
    REJECTED = 2
    HEARTBEAT = 3
    END = 4


@dataclass(frozen=True, slots=True)
class Record:
    """A record to append. `value` is a result of hitmesh.model.rows.columns:pack_record; all other fields are headers.

    The headers form hitmesh.internal.log.v1.RecordHeader. `hits` is the number of hits that the record's header states,
    or None if the header states no number. `sum64` is the sum modulo 2⁶⁴, and `xor64` the XOR, of the hits' hash64
    (rule D5). Times are UTC ms. `trace` is the W3C `traceparent` of the span that appended the record, or "" if the
    append is not recorded.
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
    trace: str = ""


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """A record in the log. `log_time` never decreases within a partition (rule L1)."""

    position: Position
    log_time: int
    record: Record


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A stored record of accepted hits, with the site-days of its hits."""

    position: Position
    log_time: int
    rows: int
    min_event_time: int
    max_event_time: int
    value: bytes
    schema_version: int
    site_days: frozenset[SiteDay]


@dataclass(frozen=True, slots=True)
class Origin:
    """Facts about a refused hit or batch that a replay needs and that the kept bytes do not contain.

    Attributes:
        batch_id: the batch id, as sent.
        batch_index: the hit's index in its batch; -1 for a batch that was refused whole.
        key_id: the ingest key's id; "" if the key is unknown.
        size: the number of bytes that were sent.
        is_complete: whether all sent bytes are kept, apart from a batch's ingest key and edge data, which are never
            kept.
        is_json: whether the kept bytes are hitmesh.model.refusals.JSON_MARK followed by JSON; if false, the kept bytes
            are protobuf.
        default_context: the batch's default context, as sent; empty for a batch that was refused whole.
        received_at: the time, in UTC ms, at which the edge received the batch; without an edge, the collector's time.
        sent_at: the time, in UTC ms, at which the device sent the hit, according to the device's clock; 0 if the device
            did not send this time.
        sets_times: whether the key may set `true_time` (rule T1).
    """

    batch_id: str
    batch_index: int
    key_id: str
    size: int
    is_complete: bool
    is_json: bool
    default_context: bytes
    received_at: int
    sent_at: int
    sets_times: bool


@dataclass(frozen=True, slots=True)
class RejectedHit:
    """A stored refusal of a hit, or of a batch: the reason and at most 4 KiB of the original bytes.

    `hits` counts the refused hits: 1, or all hits in a batch that was refused whole. `origin` is None if an earlier
    version stored the refusal, or if the refusal does not come from a collector. `replayed_at` is the time (UTC ms) at
    which an accepted replay was last recorded; 0 if no replay was accepted.
    """

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
    origin: Origin | None = None
    replayed_at: int = 0
