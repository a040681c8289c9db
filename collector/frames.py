"""Reads the envelope of a message without parsing its hits: which batch is it, how large, under which id."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.internal.log.v1 import view_pb2

_BATCH_ID_TAG = 0x0A  # field 1, length-delimited
_ONE_BYTE_VARINT = 0x80
# Of numbers of batches: half of what the field can hold, so that the one after it can always be told.
MAX_BATCH_SEQ = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """The first message of a stream."""

    ingest_key: str
    resume_from: int
    max_inflight_bytes: int


@dataclass(frozen=True, slots=True)
class BatchFrame:
    """A numbered batch, its HitBatch unparsed."""

    batch_seq: int
    batch: bytes
    batch_id: str


@dataclass(frozen=True, slots=True)
class GarbageFrame:
    """A message that is neither: `original` are its bytes."""

    original: bytes


def read_stream_frame(message: bytes) -> OpenFrame | BatchFrame | GarbageFrame:
    """Returns what a StreamHitsRequest is; never raises."""
    try:
        frame = view_pb2.StreamFrame.FromString(message)
        kind = frame.WhichOneof("kind")
        if kind == "open":
            stream_open = collector_pb2.StreamOpen.FromString(frame.open)
            return OpenFrame(stream_open.ingest_key, stream_open.resume_from, stream_open.max_inflight_bytes)
    except DecodeError:
        return GarbageFrame(message)
    if kind is None or frame.batch.batch_seq == 0:
        return GarbageFrame(message)
    return BatchFrame(frame.batch.batch_seq, frame.batch.batch, batch_id_of(frame.batch.batch))


def read_unary_frame(message: bytes) -> bytes | None:
    """Returns the HitBatch bytes of a SendHitsRequest; None when it is garbage."""
    try:
        return view_pb2.UnaryFrame.FromString(message).batch
    except DecodeError:
        return None


def batch_id_of(batch: bytes) -> str:
    """Returns the batch_id of an unparsed HitBatch; "" when it has none or does not parse.

    Serialisers write field 1 first, so its bytes are at the front; anything else is parsed as a whole.
    """
    if not batch or (batch[0] == _BATCH_ID_TAG and len(batch) > 1 and batch[1] < _ONE_BYTE_VARINT):
        return batch[2 : 2 + batch[1]].decode("utf-8", "replace") if batch else ""
    try:
        return view_pb2.HitBatchEnvelope.FromString(batch).batch_id
    except DecodeError:
        return ""
