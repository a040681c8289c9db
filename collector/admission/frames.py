"""Frames → one table of all their hits, in one call to the decoder (decision A2).

Decides which frames and hits are no protobuf of the contract, and finds them only when the fast call fails; a frame
whose envelope is garbage is refused alone, a hit that does not decode likewise. Refuses to know what a hit means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError

from collector.admission.texts import byte_lengths
from collector.admission.verdicts import Reason
from hitmesh.hit_types import HitType
from hitmesh.log.v1 import view_pb2
from hitmesh.wire import MessageReader, Undecodable

MAX_BATCH_BYTES: Final = 1 << 20
MAX_HIT_BYTES: Final = 32 << 10
MAX_ORDER_BYTES: Final = 256 << 10
MAX_HITS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Frame:
    """A batch as it arrived.

    Attributes:
        batch: bytes of a HitBatch.
        default_key: key of the stream's open, or "".
        site_header: metadata `hitmesh-site`, or "".
        received_at: when the collector had it, UTC ms; becomes collect_time.
    """

    batch: bytes
    default_key: str
    site_header: str
    received_at: int


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


class HitFault(NamedTuple):
    """Why one hit is refused before anything is known of it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """All frames of a micro-batch as one table.

    Attributes:
        frames: as they came.
        table: HitBatchView, one row per frame; a frame that could not be read is an empty batch, a hit that could not
            be read an empty hit.
        counts: hits per frame in the table.
        faults: frames that are refused whole; their hits in the table count for nothing.
        hit_faults: (frame, index) of single hits that are refused.
        sender_of: per frame.
    """

    frames: Sequence[Frame]
    table: pa.RecordBatch
    counts: npt.NDArray[np.int64]
    faults: dict[int, Fault]
    hit_faults: dict[tuple[int, int], HitFault]
    sender_of: tuple[Sender, ...]

    @property
    def senders(self) -> tuple[Sender, ...]:
        """The distinct senders, in the order in which they appear."""
        return tuple(dict.fromkeys(self.sender_of))


@dataclass(slots=True)
class _Draft:
    """What is being found out; bytes in `batches` are replaced by ones that can be read."""

    batches: list[bytes]
    keys: dict[int, str]
    faults: dict[int, Fault]
    hit_faults: dict[tuple[int, int], HitFault]


class FrameDecoder:
    """Reads frames. Thread-safe."""

    def __init__(self) -> None:
        self._batches = MessageReader(view_pb2.HitBatchView.DESCRIPTOR)
        self._hits = MessageReader(view_pb2.HitView.DESCRIPTOR)
        self._envelopes = MessageReader(view_pb2.HitBatchEnvelope.DESCRIPTOR)

    def decode(self, frames: Sequence[Frame]) -> Decoded:
        """Returns the table of all frames. Nothing raises: what is wrong is a fault."""
        draft = _Draft([frame.batch for frame in frames], {}, {}, {})
        for number, batch in enumerate(draft.batches):
            if len(batch) > MAX_BATCH_BYTES:
                _set_aside_large(draft, number)
        table = self._read(draft)
        counts = np.diff(table.column("hits").offsets.to_numpy()).astype(np.int64)
        for number in np.flatnonzero((counts == 0) | (counts > MAX_HITS)).tolist():
            draft.faults.setdefault(number, _wrong_count(int(counts[number])))
        self._find_large_hits(draft)
        keys = table.column("ingest_key").to_pylist()
        senders = tuple(
            Sender(key or draft.keys.get(number) or frame.default_key, frame.site_header)
            for number, (key, frame) in enumerate(zip(keys, frames, strict=True))
        )
        return Decoded(frames, table, counts, draft.faults, draft.hit_faults, senders)

    def _read(self, draft: _Draft) -> pa.RecordBatch:
        """Reads all batches; where that fails, sets aside what is at fault."""
        try:
            return self._batches.read(draft.batches)
        except Undecodable:
            for number in self._batches.undecodable(draft.batches):
                self._set_aside_broken(draft, number)
            return self._batches.read(draft.batches)

    def _set_aside_broken(self, draft: _Draft, number: int) -> None:
        """Puts empty hits in place of those that do not decode, and an empty batch where that is not enough."""
        batch, draft.batches[number] = draft.batches[number], b""
        try:
            envelope = view_pb2.HitBatchEnvelope.FromString(batch)
        except DecodeError:
            message = "the batch is no HitBatch: send the bytes of that message"
            draft.faults[number] = Fault(Reason.DECODE, "", message, 1)
            return
        hits = len(envelope.hits)
        broken = self._hits.undecodable(list(envelope.hits))
        for index in broken:
            envelope.hits[index] = b""
        mended = envelope.SerializeToString()
        draft.keys[number] = envelope.ingest_key
        if self._batches.undecodable([mended]):
            message = "default_context or edge does not decode: strings must be UTF-8 and bytes those of the message"
            draft.faults[number] = Fault(Reason.DECODE, "default_context", message, hits)
            return
        draft.batches[number] = mended
        for index in broken:
            message = f"hit {index} of {hits} is no Hit: strings must be UTF-8 and bytes those of the message"
            draft.hit_faults[number, index] = HitFault(Reason.DECODE, message)

    def _find_large_hits(self, draft: _Draft) -> None:
        """Finds hits over the limit. Only a batch that is larger itself can hold one; others are not looked into."""
        suspects = [number for number, batch in enumerate(draft.batches) if len(batch) > MAX_HIT_BYTES]
        if not suspects:
            return
        hits = self._envelopes.read([draft.batches[number] for number in suspects]).column("hits")
        starts, sizes = hits.offsets.to_numpy(), byte_lengths(hits.values)
        large = np.flatnonzero(sizes > MAX_HIT_BYTES)
        if not len(large):
            return
        is_order = self._hits.read(hits.values.take(pa.array(large))).column("type").to_numpy() == HitType.ORDER
        limits = np.where(is_order, MAX_ORDER_BYTES, MAX_HIT_BYTES)
        for place, limit in zip(large.tolist(), limits.tolist(), strict=True):
            if sizes[place] <= limit:
                continue
            at = int(np.searchsorted(starts, place, side="right")) - 1
            message = f"the hit has {sizes[place]:,} bytes; the limit is {limit:,}: send less in it"
            where = (suspects[at], place - int(starts[at]))
            draft.hit_faults.setdefault(where, HitFault(Reason.HIT_TOO_LARGE, message))


def original_hits(batch: bytes) -> list[bytes]:
    """Returns the bytes of each hit of a batch, as they were sent; none when the batch itself is damaged.

    Two decoders read batches here, and they do not agree on every damage to fields that are unknown.
    """
    try:
        return list(view_pb2.HitBatchEnvelope.FromString(batch).hits)
    except DecodeError:
        return []


def _set_aside_large(draft: _Draft, number: int) -> None:
    batch, draft.batches[number] = draft.batches[number], b""
    message = f"the batch has {len(batch):,} bytes; the limit is {MAX_BATCH_BYTES:,}: send fewer hits in one"
    hits = 1
    try:
        envelope = view_pb2.HitBatchEnvelope.FromString(batch)
        hits, draft.keys[number] = len(envelope.hits), envelope.ingest_key
    except DecodeError:
        pass  # the size alone is reason enough
    draft.faults[number] = Fault(Reason.BATCH_TOO_LARGE, "", message, hits)


def _wrong_count(hits: int) -> Fault:
    if not hits:
        return Fault(Reason.MISSING_FIELD, "hits", "the batch holds no hits: send at least 1", 0)
    message = f"the batch holds {hits:,} hits; the limit is {MAX_HITS:,}: send them in several"
    return Fault(Reason.BATCH_TOO_LARGE, "hits", message, hits)
