"""Health checks in each server's own protocol, without drivers. An open port does not prove that a server works.

Kafka is healthy if it names a broker, Cassandra if it answers STARTUP with READY, and ZooKeeper if it reports a mode. A
Druid process is healthy if it reports itself healthy. Three more conditions apply: the coordinator is the leader, the
broker has loaded the list of segments, and the overlord lists the indexer as a worker.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
from typing import Any, Final

from hitmesh.tools.stack.server import HOST

TIMEOUT_S: Final = 3.0
_MAX_ANSWER: Final = 1 << 20
# A Kafka request METADATA in version 1, with a null client id and an empty list of topics.
_KAFKA_METADATA: Final = struct.pack(">hhihi", 3, 1, 1, -1, 0)
# A Cassandra request STARTUP in protocol version 4, with a single option; Cassandra answers with READY.
_CASSANDRA_BODY: Final = b"\x00\x01" + b"\x00\x0bCQL_VERSION" + b"\x00\x053.0.0"
_CASSANDRA_STARTUP: Final = struct.pack(">BBhBi", 4, 0, 0, 1, len(_CASSANDRA_BODY)) + _CASSANDRA_BODY
_CASSANDRA_READY: Final = 2


def kafka_answers(port: int, host: str = HOST) -> bool:
    """Return whether Kafka answers a metadata request with at least one broker."""
    with _connected(port, host) as connection:
        connection.sendall(struct.pack(">i", len(_KAFKA_METADATA)) + _KAFKA_METADATA)
        (length,) = struct.unpack(">i", _exactly(connection, 4))
        answer = _exactly(connection, min(length, _MAX_ANSWER))
    correlation, brokers = struct.unpack_from(">ii", answer)
    return bool(correlation == 1 and brokers >= 1)


def cassandra_answers(port: int, host: str = HOST) -> bool:
    """Return whether Cassandra accepts a client."""
    with _connected(port, host) as connection:
        connection.sendall(_CASSANDRA_STARTUP)
        return _exactly(connection, 9)[4] == _CASSANDRA_READY


def zookeeper_answers(port: int) -> bool:
    """Return whether ZooKeeper reports a mode, which shows that it serves clients."""
    with _connected(port) as connection:
        connection.sendall(b"srvr")
        connection.shutdown(socket.SHUT_WR)
        parts = b""
        while len(parts) < _MAX_ANSWER and (part := connection.recv(4096)):
            parts += part
    return b"Mode: " in parts


def druid_answers(port: int) -> bool:
    """Return whether a Druid process reports itself healthy."""
    return _get(port, "/status/health") is True


def coordinator_answers(port: int) -> bool:
    """Return whether the coordinator is healthy, and is the leader in both roles (coordinator and overlord)."""
    leads = ("/druid/coordinator/v1/isLeader", "/druid/indexer/v1/isLeader")
    return druid_answers(port) and all(dict(_get(port, path)).get("leader") is True for path in leads)


def broker_answers(port: int) -> bool:
    """Return whether the broker is healthy and has loaded the list of segments to query."""
    return druid_answers(port) and _status(port, "/druid/broker/v1/readiness") == http.client.OK


def indexer_answers(overlord: int, port: int) -> bool:
    """Return whether the indexer is healthy and the overlord lists it as a worker."""
    if not druid_answers(port):
        return False
    workers = _get(overlord, "/druid/indexer/v1/workers")
    return any(worker.get("worker", {}).get("host") == f"{HOST}:{port}" for worker in workers)


def _connected(port: int, host: str = HOST) -> socket.socket:
    return socket.create_connection((host, port), TIMEOUT_S)


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError(f"{count} bytes were announced, {len(parts)} received")
        parts += part
    return bytes(parts)


def _get(port: int, path: str) -> Any:
    status, body = _request(port, path)
    if status != http.client.OK:
        raise ConnectionError(f"{path} answered {status}")
    return json.loads(body)


def _status(port: int, path: str) -> int:
    return _request(port, path)[0]


def _request(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER)
    finally:
        connection.close()


def passes(is_healthy: Any) -> bool:
    """Return the result of a health check. A connection error or protocol error counts as unhealthy."""
    try:
        return bool(is_healthy())
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return False
