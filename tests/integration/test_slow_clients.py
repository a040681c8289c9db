"""Test that clients which send or read slowly are cut off, fill no memory of Envoy, and delay no other client."""

from __future__ import annotations

import contextlib
import queue
import socket
from collections.abc import Iterator

import grpc
import pytest

from hitmesh.tools.dev.envoy import Address
from tests.support.doors import ask
from tests.support.flooded_doors import (
    CUT_OFF,
    MIB,
    REPORT,
    SMALL,
    STALLED,
    STREAM_HITS,
    FloodedDoor,
    export,
    get,
    post,
    question,
    rest_of,
    slow_reader,
)
from tests.support.http2_frames import END_STREAM, Frame, Kind, RawHttp2, frame, head, request, window_update
from tests.support.patience import patient

# Slow readers at the same time. Their streams must not use up the window of the connection to the reporter.
SLOW = 40
# A slow reader holds a piece of the export (1 MiB), and less in buffers and windows.
HELD_BYTES = 2 * MIB


@contextlib.contextmanager
def connected(at: Address) -> Iterator[socket.socket]:
    with socket.create_connection((at.host, at.port), timeout=patient(20)) as connection:
        yield connection


def sent_slowly(connection: socket.socket, begin: bytes, pause_s: float) -> bytes:
    """Send a byte after each pause until the peer answers; return all that the peer sends."""
    connection.sendall(begin)
    connection.settimeout(pause_s)
    answer = None
    while answer is None:
        try:
            answer = connection.recv(65_536)
        except TimeoutError:
            connection.sendall(b"x")
    connection.settimeout(patient(20))
    return answer + rest_of(connection)


def first(connection: RawHttp2, *kinds: Kind) -> Frame:
    return next(each for each in connection.frames() if each.kind in kinds)


def streams_of(connection: RawHttp2, kind: Kind, count: int) -> set[int]:
    """Return the streams of the next frames of a kind."""
    found: set[int] = set()
    for each in connection.frames():
        if each.kind == kind:
            found.add(each.stream)
        if len(found) == count:
            break
    return found


def test_slow_readers_of_exports_hold_little_memory_and_delay_no_other_export(flooded: FloodedDoor) -> None:
    stalled, cut_off = flooded.stat(STALLED), flooded.stat(CUT_OFF)
    with flooded.bounded(SLOW * HELD_BYTES), contextlib.ExitStack() as readers:
        slow = [readers.enter_context(slow_reader(flooded.http, get(export(64)))) for _ in range(SLOW)]
        flooded.reaches(STALLED, stalled + SLOW)
        flooded.serves_others()
        assert len(ask(flooded.http, "GET", export(4)).body) == 4 * MIB
        assert all(reader.recv(1) for reader in slow)
        flooded.reaches(CUT_OFF, cut_off + SLOW)
        assert max(len(rest_of(reader)) for reader in slow) < 64 * MIB


def test_streams_with_closed_windows_hold_little_memory_and_delay_no_other_export(flooded: FloodedDoor) -> None:
    streams = range(1, 2 * SLOW, 2)
    stalled = flooded.stat(STALLED)
    with (
        flooded.bounded(SLOW * (SMALL.stream_window_bytes + HELD_BYTES)),
        RawHttp2(flooded.http, window=1) as slow,
    ):
        slow.send(b"".join(request(stream, export(64)) for stream in streams))
        assert streams_of(slow, Kind.HEADERS, SLOW) == set(streams)
        flooded.reaches(STALLED, stalled + SLOW)
        flooded.serves_others()
        assert len(ask(flooded.http, "GET", export(4)).body) == 4 * MIB
        slow.send(b"".join(window_update(stream, 1) for stream in streams))
        assert streams_of(slow, Kind.RST_STREAM, SLOW) == set(streams)


def test_a_reader_that_opens_its_window_byte_by_byte_is_cut_off(flooded: FloodedDoor) -> None:
    before = flooded.stat("tx_flush_timeout")
    body = question(100)
    more = [("content-type", "application/json"), ("content-length", str(len(body)))]
    with RawHttp2(flooded.http, window=1) as slow:
        slow.send(request(1, REPORT, "POST", more, ends=False) + frame(Kind.DATA, 1, body, END_STREAM))
        for each in slow.frames():
            if each.kind == Kind.RST_STREAM:
                break
            if each.kind == Kind.DATA:
                flooded.serves_others()
                slow.send(window_update(1, 1))
    assert flooded.stat("tx_flush_timeout") == before + 1


def test_readers_that_stop_in_a_large_answer_are_cut_off(flooded: FloodedDoor) -> None:
    # the kernel's buffers take several MiB of the answer
    sent, before = post(REPORT, question(16_000)), flooded.stat(CUT_OFF)
    with contextlib.ExitStack() as readers:
        slow = [readers.enter_context(slow_reader(flooded.http, sent)) for _ in range(3)]
        flooded.serves_others()
        flooded.reaches(CUT_OFF, before + len(slow))
        flooded.serves_others()
        assert max(len(rest_of(reader)) for reader in slow) < 16_000_000


def test_headers_that_arrive_byte_by_byte_are_refused(flooded: FloodedDoor) -> None:
    with connected(flooded.http) as slow:
        begin = get("/v1/metrics", "x-slow: ").rstrip()
        answer = sent_slowly(slow, begin, SMALL.headers_timeout_s / 10)
        flooded.serves_others()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"DEADLINE_EXCEEDED" in answer


def test_http2_headers_that_never_end_are_refused(flooded: FloodedDoor) -> None:
    with RawHttp2(flooded.http) as slow:
        slow.send(frame(Kind.HEADERS, 1, head("/v1/metrics"), END_STREAM))
        flooded.serves_others()
        assert first(slow, Kind.RST_STREAM, Kind.GOAWAY, Kind.HEADERS)


@pytest.mark.parametrize("path", [REPORT, "/v1/hits:send"])
def test_a_body_that_arrives_byte_by_byte_is_refused(flooded: FloodedDoor, path: str) -> None:
    with connected(flooded.http) as slow:
        answer = sent_slowly(slow, post(path, b"{", 1_000), SMALL.request_timeout_s / 10)
        flooded.serves_others()
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_an_http2_body_that_never_ends_is_refused(flooded: FloodedDoor) -> None:
    with RawHttp2(flooded.http) as slow:
        slow.send(request(1, REPORT, "POST", [("content-type", "application/json")], ends=False))
        flooded.serves_others()
        assert b"408" in first(slow, Kind.HEADERS).payload


def test_idle_connections_leave_room_for_others_and_are_closed(flooded: FloodedDoor) -> None:
    free = 4
    with flooded.bounded(SMALL.max_connections * 64 << 10), contextlib.ExitStack() as connections:
        idle = [connections.enter_context(connected(flooded.http)) for _ in range(SMALL.max_connections - free)]
        flooded.serves_others()
        assert [connection.recv(1) for connection in idle] == [b""] * len(idle)
    flooded.serves_others()


def test_a_stream_of_hits_stays_open_while_its_edge_is_silent(flooded: FloodedDoor) -> None:
    """Test that no timeout that cuts off slow clients ends a stream of hits."""
    outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with grpc.insecure_channel(str(flooded.http)) as channel, connected(flooded.http) as idle:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM_HITS)
        answers = call(iter(outgoing.get, None))
        outgoing.put(b"open")
        assert next(answers) == b"open"
        # an idle connection ends after the longest timeout for clients that send nothing
        assert max(SMALL.headers_timeout_s, SMALL.request_timeout_s, SMALL.flush_timeout_s) < SMALL.idle_timeout_s
        assert idle.recv(1) == b""
        outgoing.put(b"a frame")
        assert next(answers) == b"a frame"
        outgoing.put(None)
        assert list(answers) == []


def test_a_large_export_and_a_large_answer_are_whole(flooded: FloodedDoor) -> None:
    mib = SMALL.max_answer_bytes // MIB + 1
    assert len(ask(flooded.http, "GET", export(mib)).body) == mib * MIB
    answer = ask(flooded.http, "POST", REPORT, question(3_000), content_type="application/json")
    assert len(answer.body) > 3_000_000


def test_a_large_frame_of_hits_passes_in_both_directions(flooded: FloodedDoor) -> None:
    options = [("grpc.max_receive_message_length", 4 * MIB)]
    with grpc.insecure_channel(str(flooded.http), options=options) as channel:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM_HITS)
        sent = [bytes([number]) * (2 * MIB) for number in range(8)]
        assert list(call(iter(sent))) == sent
