"""Test those properties of the protobuf decoder on which admission relies."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from collector.wire import MessageReader, Undecodable
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2

HITS = MessageReader(view_pb2.HitView.DESCRIPTOR)


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\x02\xff\xfe",  # invalid UTF-8
        b"\x0a\x03\xed\xa0\x80",  # a lone surrogate
        b"\xff\xff\xff",
        b"\x0a\x20abc",  # truncated
        b"\x02\x00",  # field 0
        b"\x10" + b"\xff" * 10 + b"\x01",  # the varint has more than 64 bits
    ],
)
def test_bytes_that_are_no_message_are_undecodable(message: bytes) -> None:
    with pytest.raises(Undecodable):
        HITS.read([message])


def test_culprits_are_found_among_their_neighbours() -> None:
    good = hit_pb2.Hit(hit_id="a").SerializeToString()
    messages = [good] * 9
    messages[0] = messages[5] = messages[8] = b"\xff"
    assert HITS.undecodable(messages) == [0, 5, 8]
    assert HITS.undecodable([good]) == []


def test_unknown_fields_and_other_wire_types_are_skipped() -> None:
    assert HITS.read([b"\x08\x05\xf8\x3f\x01"]).column("hit_id").to_pylist() == [""]


def test_both_payloads_of_a_oneof_are_kept() -> None:
    first = hit_pb2.Hit(page_view=hit_pb2.PageView(url="/")).SerializeToString()
    second = hit_pb2.Hit(order=hit_pb2.Order(order_id="1")).SerializeToString()
    row = HITS.read([first + second]).to_pylist()[0]
    assert row["page_view"] is not None
    assert row["order"] == b"\x0a\x011"


def test_fields_of_a_message_that_was_not_sent_read_as_their_default() -> None:
    table = HITS.read(
        [b"", hit_pb2.Hit(context=hit_pb2.Context(device=hit_pb2.Device(user_agent="x"))).SerializeToString()]
    )
    context = table.column("context")
    assert context.is_null().to_pylist() == [True, False]
    assert context.field("device").field("user_agent").to_pylist() == ["", "x"]


def test_times_are_whole_seconds_and_nanos_as_they_were_sent() -> None:
    hit = hit_pb2.Hit(true_time=Timestamp(seconds=5, nanos=1_999_999))
    far = hit_pb2.Hit(true_time=Timestamp(seconds=1 << 62, nanos=-1))
    times = HITS.read([hit.SerializeToString(), far.SerializeToString(), b""]).column("true_time")
    assert [time and (time["seconds"], time["nanos"]) for time in times.to_pylist()] == [
        (5, 1_999_999),
        (1 << 62, -1),
        None,
    ]


def test_arrow_bytes_are_read_like_python_bytes() -> None:
    message = hit_pb2.Hit(hit_id="a").SerializeToString()
    assert HITS.read(pa.array([message], pa.binary())) == HITS.read([message])
    assert HITS.read([]).num_rows == 0


def test_a_reader_serves_several_threads() -> None:
    message = hit_pb2.Hit(hit_id="a").SerializeToString()
    rows: list[int] = []
    threads = [threading.Thread(target=lambda: rows.append(HITS.read([message] * 50).num_rows)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows == [50] * 4
