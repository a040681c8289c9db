"""Reads a batch's size, number of hits and key before any hit is read, so that the batch's cost is bounded.

The hits are counted but not read if the batch is too large, has too many hits or comes from a refused sender.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from collector.admission.verdicts import NO_VARIABLES
from collector.json_split import SentJson
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.errors import Variable
from hitmesh.model.reasons import HitReason

MAX_BATCH_BYTES: Final = 1 << 20
MAX_HITS: Final = 2_000


class FoundFault(NamedTuple):
    """A fault that was found in a hit before the hit was converted to bytes.

    An example is a hit whose JSON does not parse. If the hit does not decode, `left` holds the hit's undamaged bytes;
    otherwise `left` is None.
    """

    reason: HitReason
    field: str
    message: str
    left: bytes | None


@dataclass(frozen=True, slots=True)
class Frame:
    """A batch as the collector received it.

    Attributes:
        batch: serialized HitBatch.
        default_key: the key in the stream's open message or in the call's metadata, or "".
        site_header: value of the metadata `hitmesh-site`, or "".
        received_at: the time in UTC ms at which the collector received the batch; becomes the hits' collect_time.
        found: the faults of JSON hits, keyed by hit index. The conversion from JSON records these faults, because the
            resulting bytes do not show them.
        sent: the JSON from which the batch was made; None for a batch that was sent as protobuf.
        origin: value of the request's header `origin`, or "".
    """

    batch: bytes
    default_key: str
    site_header: str
    received_at: int
    found: Mapping[int, FoundFault] = field(default_factory=dict)
    sent: SentJson | None = None
    origin: str = ""


class Sender(NamedTuple):
    """The key and the site header that were sent with a batch. The key and the header are not checked yet."""

    key: str
    site_header: str


class Fault(NamedTuple):
    """The reason why a whole batch is refused, the number of hits in the batch, and the message's variable parts."""

    reason: HitReason
    field: str
    message: str
    hits: int
    variables: Mapping[str, Variable] = NO_VARIABLES


@dataclass(frozen=True, slots=True)
class Envelope:
    """A batch whose hits are counted but not read.

    Attributes:
        sender: key and site as claimed by the batch, its stream and the call's metadata.
        batch_id: the batch id as sent; "" if not set.
        hits: the number of hits in the batch; 1 if the number is unknown.
        fault: a reason to refuse the batch, even if its sender may send hits; None if the batch has no such fault.
    """

    sender: Sender
    batch_id: str
    hits: int
    fault: Fault | None


def read_envelope(frame: Frame) -> Envelope:
    """Return a frame's envelope; never raise an error.

    Reading takes about 15 ms for 1 MiB of empty hits, and far less for all other batches.
    """
    size = len(frame.batch)
    try:
        batch = view_pb2.HitBatchEnvelope.FromString(frame.batch)
    except DecodeError:
        sender = Sender(frame.default_key, frame.site_header)
        return Envelope(sender, "", 1, _too_large(size, 1) if size > MAX_BATCH_BYTES else _no_batch())
    hits = len(batch.hits)
    fault = _too_large(size, hits) if size > MAX_BATCH_BYTES else _wrong_count(hits)
    return Envelope(Sender(batch.ingest_key or frame.default_key, frame.site_header), batch.batch_id, hits, fault)


def hit_sizes(batch: bytes) -> list[int]:
    """Return the size of each hit in bytes; an empty list when the batch does not decode."""
    try:
        return [len(hit) for hit in view_pb2.HitBatchEnvelope.FromString(batch).hits]
    except DecodeError:
        return []


def senders_of(envelopes: Sequence[Envelope]) -> tuple[Sender, ...]:
    """Return the distinct senders in order of appearance."""
    return tuple(dict.fromkeys(envelope.sender for envelope in envelopes))


def spans_by_hits(
    envelopes: Sequence[Envelope], most: int, unread: Collection[tuple[str, str]] = ()
) -> list[tuple[int, int]]:
    """Return spans (first, end) of consecutive frames. A span has at most `most` hits that are read.

    A frame with more than `most` hits forms a span of its own.

    Args:
        envelopes: one per frame.
        most: maximum number of hits per span.
        unread: senders whose hits are not read, and therefore do not add to a span's number of hits.
    """
    spans, first, held = [], 0, 0
    for number, envelope in enumerate(envelopes):
        hits = 0 if envelope.fault or envelope.sender in unread else envelope.hits
        if number > first and held + hits > most:
            spans.append((first, number))
            first, held = number, 0
        held += hits
    return [*spans, (first, len(envelopes))]


def _no_batch() -> Fault:
    return Fault(HitReason.DECODE, "", "the batch is not a HitBatch: send the bytes of a HitBatch message", 1)


def _too_large(size: int, hits: int) -> Fault:
    message = f"the batch has {size:,} bytes; the limit is {MAX_BATCH_BYTES:,}: send fewer hits per batch"
    return Fault(HitReason.BATCH_TOO_LARGE, "", message, hits, {"size": size, "limit": MAX_BATCH_BYTES})


def _wrong_count(hits: int) -> Fault | None:
    if not hits:
        return Fault(HitReason.MISSING_FIELD, "hits", "the batch holds no hits: send at least 1", 0)
    if hits <= MAX_HITS:
        return None
    message = f"the batch holds {hits:,} hits; the limit is {MAX_HITS:,}: send several batches"
    return Fault(HitReason.BATCH_TOO_LARGE, "hits", message, hits, {"count": hits, "limit": MAX_HITS})
