"""Test health checks. A local listener answers with the bytes that real servers send."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hitmesh.tools.dev.tcp_ports import any_free
from hitmesh.tools.stack import health

# A METADATA response of version 1, with one broker (id 1, 127.0.0.1:9092, no rack), controller 1 and no topics.
BROKER = struct.pack(">i", 1) + struct.pack(">h", 9) + b"127.0.0.1" + struct.pack(">ih", 9092, -1)
KAFKA = struct.pack(">ii", 1, 1) + BROKER + struct.pack(">ii", 1, 0)
NO_BROKER = struct.pack(">ii", 1, 0) + struct.pack(">ii", -1, 0)
READY, ERROR = bytes([0x84, 0, 0, 0, 2, 0, 0, 0, 0]), bytes([0x84, 0, 0, 0, 0, 0, 0, 0, 0])


@contextmanager
def listener(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Answer every connection once, depending on the first bytes that the client sends. Yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(answer(connection.recv(4096)))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def http(paths: dict[str, object]) -> Callable[[bytes], bytes]:
    def answer(request: bytes) -> bytes:
        path = request.split(b" ")[1].decode()
        status, body = ("200 OK", json.dumps(paths[path])) if path in paths else ("503 Busy", "")
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()

    return answer


@pytest.mark.parametrize(("answer", "expected"), [(KAFKA, True), (NO_BROKER, False), (b"", False), (b"\0\0", False)])
def test_kafka_is_healthy_when_it_names_a_broker(answer: bytes, expected: bool) -> None:
    with listener(lambda _: framed(answer)) as port:
        assert health.passes(lambda: health.kafka_answers(port)) is expected


@pytest.mark.parametrize(("answer", "expected"), [(READY, True), (ERROR, False), (READY[:5], False)])
def test_cassandra_is_healthy_when_it_lets_a_client_in(answer: bytes, expected: bool) -> None:
    with listener(lambda _: answer) as port:
        assert health.passes(lambda: health.cassandra_answers(port)) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(b"Zookeeper version: 3.8\nMode: standalone\n", True), (b"This ZooKeeper instance is not serving\n", False)],
)
def test_zookeeper_is_healthy_when_it_serves(answer: bytes, expected: bool) -> None:
    with listener(lambda _: answer) as port:
        assert health.passes(lambda: health.zookeeper_answers(port)) is expected


LEADS: dict[str, object] = {
    "/druid/coordinator/v1/isLeader": {"leader": True},
    "/druid/indexer/v1/isLeader": {"leader": True},
}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ({"/status/health": True, **LEADS}, True),
        ({"/status/health": False, **LEADS}, False),
        ({"/status/health": True}, False),
        ({"/status/health": True, **LEADS, "/druid/indexer/v1/isLeader": {"leader": False}}, False),
    ],
)
def test_the_coordinator_is_healthy_when_it_leads(paths: dict[str, object], expected: bool) -> None:
    with listener(http(paths)) as port:
        assert health.passes(lambda: health.coordinator_answers(port)) is expected


def test_the_broker_is_healthy_once_it_knows_what_there_is() -> None:
    with listener(http({"/status/health": True})) as port:
        assert not health.passes(lambda: health.broker_answers(port))
    with listener(http({"/status/health": True, "/druid/broker/v1/readiness": None})) as port:
        assert health.passes(lambda: health.broker_answers(port))


def test_the_indexer_is_healthy_once_the_overlord_gives_it_tasks() -> None:
    with listener(http({"/status/health": True})) as indexer:
        workers = [{"worker": {"host": f"127.0.0.1:{indexer}"}}]
        with listener(http({"/druid/indexer/v1/workers": workers})) as overlord:
            assert health.passes(lambda: health.indexer_answers(overlord, indexer))
        with listener(http({"/druid/indexer/v1/workers": []})) as overlord:
            assert not health.passes(lambda: health.indexer_answers(overlord, indexer))


def test_a_port_without_a_listener_passes_no_health_check() -> None:
    port = any_free(1)[0]
    for question in (health.kafka_answers, health.cassandra_answers, health.zookeeper_answers, health.druid_answers):
        assert not health.passes(lambda question=question: question(port))
