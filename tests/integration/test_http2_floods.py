"""Test that Envoy cuts off a client that floods it with HTTP/2 frames, and answers other clients meanwhile."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator

import pytest

from tests.support.flooded_doors import CUT_OFF, MIB, REPORT, SMALL, STREAM_HITS, FloodedDoor, export
from tests.support.http2_frames import (
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    MAX_WINDOW,
    REFUSED_STREAM,
    Kind,
    RawHttp2,
    field,
    frame,
    head,
    integer,
    request,
    reset,
    window_update,
)

# More than any flood needs until Envoy closes the connection. The kernel's buffers take a few MiB of it.
MAX_FLOOD = 64 * MIB


@pytest.fixture
def flooder(flooded: FloodedDoor) -> Iterator[RawHttp2]:
    """Provide a connection whose kernel buffers little, so that answers soon wait in Envoy."""
    with RawHttp2(flooded.http, receive_buffer=4_096) as connection:
        yield connection


def test_a_client_that_resets_its_streams_at_once_loses_its_connection(flooded: FloodedDoor, flooder: RawHttp2) -> None:
    before = flooded.stat("downstream_rq_too_many_premature_resets")
    streams = range(1, 2 * SMALL.early_reset_streams, 2)
    flooder.send(b"".join(request(stream, export(1)) + reset(stream) for stream in streams))
    flooded.serves_others()
    assert flooder.is_closed()
    assert flooded.stat("downstream_rq_too_many_premature_resets") == before + 1


def test_a_client_that_resets_a_few_streams_keeps_its_connection(flooded: FloodedDoor, flooder: RawHttp2) -> None:
    streams = range(1, SMALL.early_reset_streams // 2, 2)
    flooder.send(b"".join(request(stream, export(1)) + reset(stream) for stream in streams))
    last = streams.stop + 1
    flooder.send(request(last, "/v1/metrics"))
    assert next(each for each in flooder.frames() if each.stream == last).kind == Kind.HEADERS


@pytest.mark.parametrize("padding", [b"", b"x"], ids=["empty", "a byte each"])
def test_endless_continuation_frames_end_the_connection(
    flooded: FloodedDoor, flooder: RawHttp2, padding: bytes
) -> None:
    with flooded.bounded(8 * MIB):
        flooder.send(frame(Kind.HEADERS, 1, head("/v1/metrics")))
        # the first byte begins a header with a long name, of which each frame has a byte
        flooder.send(frame(Kind.CONTINUATION, 1, b"\0" + integer(MAX_FLOOD, 7)))
        flooder.flood(frame(Kind.CONTINUATION, 1, padding) * 1_000, MAX_FLOOD)
    flooded.serves_others()


def test_continuation_frames_with_endless_headers_end_the_connection(flooded: FloodedDoor, flooder: RawHttp2) -> None:
    headers = b"".join(field(f"x-{number}", "v" * 100) for number in range(100))
    with flooded.bounded(8 * MIB):
        flooder.send(frame(Kind.HEADERS, 1, head("/v1/metrics")))
        flooder.flood(frame(Kind.CONTINUATION, 1, headers), MAX_FLOOD)
    flooded.serves_others()


@pytest.mark.parametrize(
    ("frames", "stat"),
    [
        (frame(Kind.SETTINGS), "http2.outbound_flood"),
        (frame(Kind.PING, payload=b"8 bytes."), "http2.outbound_control_flood"),
    ],
    ids=["settings", "pings"],
)
def test_a_client_that_reads_no_answers_to_its_control_frames_loses_its_connection(
    flooded: FloodedDoor, flooder: RawHttp2, frames: bytes, stat: str
) -> None:
    before = flooded.stat(stat)
    with flooded.bounded(8 * MIB):
        flooder.flood(frames * 10_000, MAX_FLOOD)
    assert flooded.stat(stat) == before + 1
    flooded.serves_others()


@pytest.mark.parametrize(
    ("frames", "stat"),
    [
        (frame(Kind.DATA, 1), "inbound_empty_frames_flood"),
        (frame(Kind.PRIORITY, 3, struct.pack(">IB", 0, 7)), "inbound_priority_frames_flood"),
        (window_update(0, 1), "inbound_window_update_frames_flood"),
    ],
    ids=["empty", "priority", "window"],
)
def test_useless_frames_end_the_connection(flooded: FloodedDoor, flooder: RawHttp2, frames: bytes, stat: str) -> None:
    before = flooded.stat(stat)
    flooder.send(
        request(1, STREAM_HITS, "POST", [("content-type", "application/grpc"), ("te", "trailers")], ends=False)
    )
    flooder.flood(frames * 10_000, MAX_FLOOD)
    assert flooded.stat(stat) == before + 1
    flooded.serves_others()


def test_other_clients_are_answered_while_a_client_sends_pings_and_reads_the_answers(flooded: FloodedDoor) -> None:
    pings = SMALL.max_outbound_control_frames // 4
    with RawHttp2(flooded.http) as pinging:
        answers = (each for each in pinging.frames() if each.kind == Kind.PING)
        for _ in range(20):
            pinging.send(frame(Kind.PING, payload=b"8 bytes.") * pings)
            flooded.serves_others()
            assert len(list(itertools.islice(answers, pings))) == pings


def test_a_connection_has_a_limited_number_of_streams(flooded: FloodedDoor) -> None:
    with RawHttp2(flooded.http) as greedy:
        streams = range(1, 2 * SMALL.max_streams + 2, 2)
        more = [("content-type", "application/json")]
        greedy.send(b"".join(request(stream, REPORT, "POST", more, ends=False) for stream in streams))
        refused = next(each for each in greedy.frames() if each.kind in (Kind.RST_STREAM, Kind.GOAWAY))
        flooded.serves_others()
    assert (refused.kind, refused.stream) == (Kind.RST_STREAM, streams[-1])
    assert struct.unpack(">I", refused.payload) == (REFUSED_STREAM,)


def test_a_header_that_is_named_again_and_again_costs_no_memory(flooded: FloodedDoor, flooder: RawHttp2) -> None:
    """Test an HPACK bomb: a frame of 16 KiB refers to a header of 4 KiB thousands of times."""
    kept = field("x", os.urandom(1_900).hex(), pattern=0x40)
    again = bytes([0x80 | 62])  # the first entry of the dynamic table
    bomb = head("/v1/metrics") + kept + again * (FRAME_BYTES - len(kept) - 200)
    with flooded.bounded(8 * MIB):
        flooder.send(frame(Kind.HEADERS, 1, bomb, END_HEADERS | END_STREAM))
        ended = next(each for each in flooder.frames() if each.kind in (Kind.RST_STREAM, Kind.GOAWAY, Kind.HEADERS))
    assert ended.kind != Kind.HEADERS or b"431" in ended.payload
    flooded.serves_others()


def test_a_client_with_a_large_window_that_reads_nothing_fills_no_memory(flooded: FloodedDoor) -> None:
    before = flooded.stat(CUT_OFF)
    with flooded.bounded(32 * MIB), RawHttp2(flooded.http, window=MAX_WINDOW, receive_buffer=4_096) as silent:
        silent.send(window_update(0, MAX_WINDOW - 65_535))
        silent.send(b"".join(request(stream, export(16)) for stream in range(1, 40, 2)))
        flooded.serves_others()
        flooded.reaches(CUT_OFF, before + 1)
        assert silent.is_closed()
