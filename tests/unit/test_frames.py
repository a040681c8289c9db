"""Test that an envelope is read without its hits. Reading never raises, whatever the bytes (contract item 6)."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from collector.frames import (
    BatchFrame,
    GarbageFrame,
    OpenFrame,
    read_stream_frame,
    read_unary_frame,
)
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2


def sequenced(batch_seq: int, batch: bytes) -> bytes:
    """Return the bytes of a StreamHitsRequest whose HitBatch has the given bytes."""
    return _field(2, _varint_field(1, batch_seq) + _field(2, batch))


def _field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def _varint_field(number: int, value: int) -> bytes:
    assert value < 128
    return bytes([number << 3, value])


def bytes_of(message: Message) -> bytes:
    return message.SerializeToString()


def test_an_open_message_is_read_in_full() -> None:
    stream_open = collector_pb2.StreamOpen(ingest_key="hms_k", resume_from=12, max_inflight_bytes=4096)
    message = bytes_of(collector_pb2.StreamHitsRequest(open=stream_open))
    assert read_stream_frame(message) == OpenFrame("hms_k", 12, 4096)


def test_a_batch_is_handed_on_as_the_bytes_it_came_in() -> None:
    batch = hit_pb2.HitBatch(batch_id="b-1", hits=[hit_pb2.Hit(hit_id="h")])
    message = collector_pb2.StreamHitsRequest(batch=collector_pb2.SequencedBatch(batch_seq=3, batch=batch))
    assert read_stream_frame(bytes_of(message)) == BatchFrame(3, bytes_of(batch))


def test_a_batch_that_does_not_parse_is_still_a_numbered_batch() -> None:
    frame = read_stream_frame(sequenced(3, b"\xff\xff\xff\xff"))
    assert frame == BatchFrame(3, b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    "message",
    [b"", b"\xff\xff\xff", b"not protobuf at all", b"\x0a\x05\xff\xff\xff\xff\xff"],
    ids=["empty", "broken tag", "text", "broken open"],
)
def test_a_message_that_is_neither_open_nor_batch_is_garbage(message: bytes) -> None:
    assert read_stream_frame(message) == GarbageFrame(message)


def test_a_batch_without_a_number_is_a_batch_with_the_number_0() -> None:
    batch = bytes_of(hit_pb2.HitBatch(batch_id="b-1"))
    assert read_stream_frame(sequenced(0, batch)) == BatchFrame(0, batch)
    assert read_stream_frame(_field(2, b"")) == BatchFrame(0, b"")


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_fail(message: bytes) -> None:
    read_stream_frame(message)
    read_unary_frame(message)


def test_a_unary_request_gives_its_batch_and_garbage_gives_none() -> None:
    batch = hit_pb2.HitBatch(batch_id="b-1")
    assert read_unary_frame(bytes_of(collector_pb2.SendHitsRequest(batch=batch))) == bytes_of(batch)
    assert read_unary_frame(b"") == b""
    assert read_unary_frame(b"\xff\xff") is None
