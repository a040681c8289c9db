"""Test Envoy with as many idle connections as production allows: others are answered, and idle connections end."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import grpc
import pytest

from hitmesh.tools.dev.door_limits import PRODUCTION
from hitmesh.tools.dev.envoy import Address
from tests.support.doors import ask
from tests.support.flooded_doors import MIB, REPORT, SMALL, STREAM_HITS, FloodedDoor, flooded_door, question
from tests.support.patience import patient

# Files that this process or Envoy has open apart from the connections.
OTHER_FILES: Final = 1_000
# Idle connections end after this time. All connections must be open before.
IDLE_S: Final = 12
# Envoy, with 10,000 idle connections, needs 74 MiB more on the machine of docs/decisions/0105.
MOST_KIB_EACH: Final = 32


@pytest.fixture(scope="module")
def connections() -> Iterator[int]:
    """Provide the number of connections, which the limit of open files allows to this process and to Envoy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(PRODUCTION.max_connections, hard - OTHER_FILES)
    if count < PRODUCTION.max_connections:
        sys.stderr.write(f"only {count:,} connections: this machine allows a process {hard:,} open files\n")
    yield count
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def crowded(connections: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloodedDoor]:
    limits = replace(SMALL, max_connections=connections, idle_timeout_s=IDLE_S, max_heap_bytes=1_024 * MIB)
    yield from flooded_door(tmp_path_factory.mktemp("crowded"), limits)


def connected(at: Address) -> socket.socket:
    return socket.create_connection((at.host, at.port), timeout=patient(20))


def is_closed(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"GET /v1/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def wait_until_closed(idle: list[socket.socket]) -> None:
    """Wait until the peer has closed every connection."""
    poll, left = select.poll(), {connection.fileno(): connection for connection in idle}
    for number in left:
        poll.register(number, select.POLLIN)
    while left:
        events = poll.poll(patient(60) * 1_000)
        assert events, f"{len(left):,} idle connections stay open"
        for number, _ in events:
            with contextlib.suppress(ConnectionError):
                assert left[number].recv(1) == b""
            poll.unregister(number)
            del left[number]


@pytest.mark.timeout(120)
def test_others_are_answered_beside_idle_connections_and_further_connections_are_closed(
    crowded: FloodedDoor, connections: int
) -> None:
    with contextlib.ExitStack() as opened, grpc.insecure_channel(str(crowded.http)) as channel:
        hits: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM_HITS)
        with crowded.bounded(connections * MOST_KIB_EACH << 10):
            # The channel for hits and the connection for the report need places.
            idle = [opened.enter_context(connected(crowded.http)) for _ in range(connections - 2)]
            assert list(hits(iter([b"hits"]), timeout=patient(20))) == [b"hits"]
            answer = ask(crowded.http, "POST", REPORT, question(1), content_type="application/json")
            assert answer.status == 200, answer
            crowded.reaches("http.door.downstream_cx_active", connections - 2)
            further = [opened.enter_context(connected(crowded.http)) for _ in range(10)]
            assert sum(map(is_closed, further)) >= 8, "one place is free for the channel, and one for a connection"
        wait_until_closed(idle)
    crowded.serves_others()
