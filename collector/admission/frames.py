"""Decodes all frames into one table of hits, with a single call to the decoder (architecture A2).

Decides which frames and hits are valid protobuf messages. A damaged frame or hit is refused without affecting any
other frame or hit. Google's depth-limited decoder checks all bytes before they are decoded into columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from collector.admission.broken_hits import without_damage
from collector.admission.envelopes import (
    MAX_BATCH_BYTES,
    MAX_HITS,
    Envelope,
    Fault,
    FoundFault,
    Frame,
    Sender,
    read_envelope,
    senders_of,
)
from collector.admission.texts import byte_lengths
from collector.wire import MessageReader, Undecodable, is_sound
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.arrays import I64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.reasons import HitReason

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_HITS",
    "MAX_HIT_BYTES",
    "MAX_ORDER_BYTES",
    "Decoded",
    "Fault",
    "Frame",
    "HitFault",
    "Sender",
]

MAX_HIT_BYTES: Final = 32 << 10
MAX_ORDER_BYTES: Final = 256 << 10


class HitFault(NamedTuple):
    """The reason why a hit is refused before any of its fields is read."""

    reason: HitReason
    message: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """All frames in a micro-batch as one table.

    Attributes:
        frames: the frames in arrival order.
        table: a HitBatchView per frame. A frame that was not read has no hits; a damaged hit keeps only the parts that
            decode.
        counts: the number of hits in the table, for each frame.
        held: the number of hits that were received, for each frame.
        faults: the fault of each frame that is refused as a whole, keyed by frame number. If the table contains hits
            from a refused frame, these hits are ignored.
        hit_faults: the faults of hits that are refused singly, keyed by (frame, index).
        sender_of: the sender of each frame.
    """

    frames: Sequence[Frame]
    table: pa.RecordBatch
    counts: I64Array
    held: I64Array
    faults: dict[int, Fault]
    hit_faults: dict[tuple[int, int], HitFault]
    sender_of: tuple[Sender, ...]

    @property
    def senders(self) -> tuple[Sender, ...]:
        """Distinct senders in order of appearance."""
        return tuple(dict.fromkeys(self.sender_of))


@dataclass(slots=True)
class _Draft:
    """The bytes of each frame that remain to be decoded, and the faults found so far.

    In `batches`, each damaged hit is reduced to its undamaged parts. If a batch is refused, or is damaged outside the
    field `hits`, only the batch id remains.
    """

    batches: list[bytes]
    faults: dict[int, Fault]
    hit_faults: dict[tuple[int, int], HitFault]


class FrameDecoder:
    """Decodes frames. Thread-safe."""

    def __init__(self) -> None:
        self._batches = MessageReader(view_pb2.HitBatchView.DESCRIPTOR)
        self._hits = MessageReader(view_pb2.HitView.DESCRIPTOR)
        self._envelopes = MessageReader(view_pb2.HitBatchEnvelope.DESCRIPTOR)

    def decode(
        self, frames: Sequence[Frame], envelopes: Sequence[Envelope], refused: frozenset[tuple[str, str]]
    ) -> Decoded:
        """Return the table of all frames. No error is raised: an error becomes a fault of the frame or hit.

        Args:
            frames: in arrival order.
            envelopes: one per frame.
            refused: senders who may not send; hits from these senders are not read.
        """
        draft = _Draft([frame.batch for frame in frames], {}, {})
        for number, envelope in enumerate(envelopes):
            if envelope.fault is not None:
                draft.faults[number] = envelope.fault
            if envelope.fault is not None or envelope.sender in refused:
                draft.batches[number] = _without_hits(envelope)
            else:
                _take_found_faults(draft, number, frames[number].found)
                if not is_sound(draft.batches[number], hit_pb2.HitBatch):
                    _set_aside_broken(draft, number, frames[number].found)
        table = self._read(draft, envelopes)
        counts = np.diff(table.column("hits").offsets.to_numpy()).astype(np.int64)
        self._find_large_hits(draft)
        held = np.array([envelope.hits for envelope in envelopes], dtype=np.int64)
        sender_of = tuple(envelope.sender for envelope in envelopes)
        return Decoded(frames, table, counts, held, draft.faults, draft.hit_faults, sender_of)

    def _read(self, draft: _Draft, envelopes: Sequence[Envelope]) -> pa.RecordBatch:
        """Read all batches.

        If Google's decoder accepts a batch but ptars does not, the batch is refused. If all damage is in unknown
        fields, the batch is not refused.
        """
        try:
            return self._batches.read(draft.batches, sound=True)
        except Undecodable:
            for number, envelope in enumerate(envelopes):
                try:
                    self._batches.read([draft.batches[number]], sound=True)
                except Undecodable:
                    draft.faults[number] = _damaged_batch(envelope.hits)
                    draft.batches[number] = _without_hits(envelope)
            return self._batches.read(draft.batches, sound=True)

    def _find_large_hits(self, draft: _Draft) -> None:
        """Add a fault for each hit that exceeds the size limit.

        Only batches that are larger than MAX_HIT_BYTES can contain a hit above the size limit.
        """
        suspects = [number for number, batch in enumerate(draft.batches) if len(batch) > MAX_HIT_BYTES]
        if not suspects:
            return
        hits = self._envelopes.read([draft.batches[number] for number in suspects], sound=True).column("hits")
        starts, sizes = hits.offsets.to_numpy(), byte_lengths(hits.values)
        large = np.flatnonzero(sizes > MAX_HIT_BYTES)
        if not len(large):
            return
        orders = self._hits.read(hits.values.take(pa.array(large)), sound=True).column("type").to_numpy()
        limits = np.where(orders == HitType.ORDER, MAX_ORDER_BYTES, MAX_HIT_BYTES)
        for place, limit in zip(large.tolist(), limits.tolist(), strict=True):
            if sizes[place] <= limit:
                continue
            at = int(np.searchsorted(starts, place, side="right")) - 1
            message = f"the hit has {sizes[place]:,} bytes; the limit is {limit:,}: send a smaller hit"
            where = (suspects[at], place - int(starts[at]))
            draft.hit_faults.setdefault(where, HitFault(HitReason.HIT_TOO_LARGE, message))


def read_frames(frames: Sequence[Frame]) -> tuple[list[Envelope], tuple[Sender, ...]]:
    """Return all envelopes and the distinct senders. The caller must look up the senders before hits are read."""
    envelopes = [read_envelope(frame) for frame in frames]
    return envelopes, senders_of(envelopes)


def _take_found_faults(draft: _Draft, number: int, found: Mapping[int, FoundFault]) -> None:
    for index, fault in found.items():
        draft.hit_faults[number, index] = HitFault(fault.reason, fault.message, fault.field)


def _set_aside_broken(draft: _Draft, number: int, found: Mapping[int, FoundFault]) -> None:
    """Reduce each damaged hit to its undamaged parts. Refuse a batch that is damaged outside the field `hits`."""
    envelope = view_pb2.HitBatchEnvelope.FromString(draft.batches[number])
    hits = len(envelope.hits)
    for index, hit in enumerate(envelope.hits):
        damage = without_damage(hit)
        if damage is None:
            continue
        if (known := found.get(index)) is not None:
            envelope.hits[index] = damage.left if known.left is None else known.left
            continue
        envelope.hits[index] = damage.left
        part = damage.field and f".{damage.field}" if damage.field else ""
        message = f"hits[{index}]{part} does not decode: send a valid message whose strings are UTF-8"
        draft.hit_faults[number, index] = HitFault(HitReason.DECODE, message, damage.field)
    draft.batches[number] = envelope.SerializeToString()
    if not is_sound(draft.batches[number], hit_pb2.HitBatch):
        draft.faults[number] = _damaged_batch(hits)
        draft.batches[number] = view_pb2.HitBatchEnvelope(batch_id=envelope.batch_id).SerializeToString()


def _without_hits(envelope: Envelope) -> bytes:
    return view_pb2.HitBatchEnvelope(batch_id=envelope.batch_id).SerializeToString()


def _damaged_batch(hits: int) -> Fault:
    message = "default_context, sdk or edge does not decode: its strings must be UTF-8, and its bytes a valid message"
    return Fault(HitReason.DECODE, "default_context", message, hits)
