"""Reads a message's envelope without parsing the hits: the message's kind, and a batch's number and bytes."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.internal.log.v1 import view_pb2

# The largest batch number. The field `batch_seq` is a uint64, so the number after MAX_BATCH_SEQ fits into the field.
MAX_BATCH_SEQ = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """The first message of a stream. `max_inflight_bytes` is None if the client requests no maximum."""

    ingest_key: str
    resume_from: int
    max_inflight_bytes: int | None
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class BatchFrame:
    """A batch; `batch` contains the unparsed HitBatch. `batch_seq` is 0 if the client sent no number."""

    batch_seq: int
    batch: bytes


@dataclass(frozen=True, slots=True)
class GarbageFrame:
    """A message that is neither `open` nor a batch. `original` contains the bytes of the message."""

    original: bytes


def read_stream_frame(message: bytes) -> OpenFrame | BatchFrame | GarbageFrame:
    """Return the parsed frame of a StreamHitsRequest; never raise an error."""
    try:
        frame = view_pb2.StreamFrame.FromString(message)
        kind = frame.WhichOneof("kind")
        if kind == "open":
            stream_open = collector_pb2.StreamOpen.FromString(frame.open)
            max_bytes = stream_open.max_inflight_bytes if stream_open.HasField("max_inflight_bytes") else None
            return OpenFrame(stream_open.ingest_key, stream_open.resume_from, max_bytes, stream_open.validate_only)
    except DecodeError:
        return GarbageFrame(message)
    if kind is None:
        return GarbageFrame(message)
    return BatchFrame(frame.batch.batch_seq, frame.batch.batch)


def read_unary_frame(message: bytes) -> bytes | None:
    """Return the HitBatch bytes of a SendHitsRequest, or None if the request does not decode."""
    try:
        return view_pb2.UnaryFrame.FromString(message).batch
    except DecodeError:
        return None
