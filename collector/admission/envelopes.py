"""What is known of a batch before any of its hits is looked at: size, count and key. They decide what it may cost.

A batch that is too large, holds too many hits or comes from a sender who may not send is refused here, for the price of
counting its hits. Refuses to know what a hit means and who may send.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from collector.admission.verdicts import Reason
from hitmesh.internal.log.v1 import view_pb2

MAX_BATCH_BYTES: Final = 1 << 20
MAX_HITS: Final = 2_000


class FoundFault(NamedTuple):
    """What was found to be wrong with a hit before its bytes were made.

    `left` are the bytes of what is left of a hit that does not decode; None where the hit decodes.
    """

    reason: Reason
    field: str
    message: str
    left: bytes | None


@dataclass(frozen=True, slots=True)
class Frame:
    """A batch as it arrived.

    Attributes:
        batch: bytes of a HitBatch.
        default_key: key of the stream's open, or "".
        site_header: metadata `hitmesh-site`, or "".
        received_at: when the collector had it, UTC ms; becomes collect_time.
        found: faults of hits, by index, that the bytes do not say.
    """

    batch: bytes
    default_key: str
    site_header: str
    received_at: int
    found: Mapping[int, FoundFault] = field(default_factory=dict)


class Sender(NamedTuple):
    """Who says to send, and for which site; not checked yet."""

    key: str
    site_header: str


class Fault(NamedTuple):
    """Why a whole batch is refused, and how many hits it held."""

    reason: Reason
    field: str
    message: str
    hits: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """A batch with its hits counted, not read.

    Attributes:
        sender: who sends it.
        batch_id: as sent, "" without one.
        hits: how many it holds; 1 when that cannot be found out.
        fault: why it is refused whatever its sender may do; None when its hits are worth a look.
    """

    sender: Sender
    batch_id: str
    hits: int
    fault: Fault | None


def read_envelope(frame: Frame) -> Envelope:
    """Return the envelope of a frame; never raises. Costs about 15 ms for a MiB of empty hits, else far less."""
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
    """Return how many bytes each hit of a batch has; none where that cannot be found out."""
    try:
        return [len(hit) for hit in view_pb2.HitBatchEnvelope.FromString(batch).hits]
    except DecodeError:
        return []


def senders_of(envelopes: Sequence[Envelope]) -> tuple[Sender, ...]:
    """Return the distinct senders, in the order in which they appear."""
    return tuple(dict.fromkeys(envelope.sender for envelope in envelopes))


def spans_by_hits(
    envelopes: Sequence[Envelope], most: int, unread: Collection[tuple[str, str]] = ()
) -> list[tuple[int, int]]:
    """Return (first, end) of neighbours that hold at most so many hits that are read, or of one that holds more.

    Args:
        envelopes: of the frames.
        most: hits of a span.
        unread: senders whose hits are counted, not read.
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
    return Fault(Reason.DECODE, "", "the batch is no HitBatch: send the bytes of that message", 1)


def _too_large(size: int, hits: int) -> Fault:
    message = f"the batch has {size:,} bytes; the limit is {MAX_BATCH_BYTES:,}: send fewer hits in one"
    return Fault(Reason.BATCH_TOO_LARGE, "", message, hits)


def _wrong_count(hits: int) -> Fault | None:
    if not hits:
        return Fault(Reason.MISSING_FIELD, "hits", "the batch holds no hits: send at least 1", 0)
    if hits <= MAX_HITS:
        return None
    message = f"the batch holds {hits:,} hits; the limit is {MAX_HITS:,}: send them in several"
    return Fault(Reason.BATCH_TOO_LARGE, "hits", message, hits)
