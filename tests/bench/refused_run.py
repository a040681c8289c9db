"""Measure the collector's CPU cost for refused input. Senders that never back off send 1 MiB/s of each kind of input.

Standalone: `python -m tests.bench.refused_run 20` prints the result as JSON. The argument is the number of seconds for
each kind of input.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import grpc
from google.api import httpbody_pb2

from hitmesh.api.collector.v1 import collector_pb2, json_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2
from tests.bench.measured import Child, Result, progress
from tests.bench.sites import BROWSER_KEY

CEILING: Final = 0.25
BYTES_S: Final = 1 << 20
CLIENTS: Final = 4
# Concurrent calls per client. Several concurrent calls are needed, because a call may wait for the linger time of a
# micro-batch.
WAITING: Final = 32
SEND_HITS: Final = "/hitmesh.api.collector.v1.CollectorService/SendHits"
SEND_JSON: Final = "/hitmesh.api.collector.v1.JsonCollectorService/SendJsonHits"
_TIMEOUT_S: Final = 60.0
_SENDERS: Final[Mapping[str, str]] = {"without_key": "", "browser_key": BROWSER_KEY}


def _batch(key: str, hits: list[bytes], context: bytes = b"") -> bytes:
    """Return the bytes of a SendHitsRequest whose hits may be arbitrary bytes."""
    envelope = view_pb2.HitBatchEnvelope(ingest_key=key, hits=hits).SerializeToString()
    field = hit_pb2.HitBatch.DESCRIPTOR.fields_by_name["default_context"].number
    frame = view_pb2.UnaryFrame(batch=envelope + (_field(field, context) if context else b""))
    return bytes(frame.SerializeToString())


def _field(number: int, value: bytes) -> bytes:
    """Return an encoded protobuf field. The value must have at least 128 and less than 16,384 bytes."""
    return bytes([number << 3 | 2, len(value) & 0x7F | 0x80, len(value) >> 7]) + value


def _undecodable(key: str) -> bytes:
    return _batch(key, [b"\x07" * 200] * 500)


def _json(key: str) -> bytes:
    body = b'{"ingestKey": "' + key.encode() + b'", "hits": [' + b"{}," * 690_000 + b"{}]}"
    return bytes(httpbody_pb2.HttpBody(content_type="application/json", data=body).SerializeToString())


def _groups(key: str) -> bytes:
    return _batch(key, [b"\x0b" * 62_500 + b"\x0c" * 62_500])


def _small(key: str) -> bytes:
    hit = hit_pb2.Hit(visitor_id="somebody-without-a-type")
    hit.page_view.url = "https://shop.example/" + "a" * 140
    return _batch(key, [hit.SerializeToString()] * 32)


def _tiny(key: str) -> bytes:
    context = hit_pb2.Context()
    context.device.user_agent = "Mozilla/5.0 " * 320
    return _batch(key, [b""] * 2_000, context.SerializeToString())


_KINDS: Final[Mapping[str, Callable[[str], bytes]]] = {
    "undecodable_hits": _undecodable,
    "json_of_2_mb": _json,
    "groups": _groups,
    "batches_of_6_kb": _small,
    "tiny_hits": _tiny,
}

_Answer = collector_pb2.SendHitsResponse | json_pb2.SendJsonHitsResponse


class _Client:
    """A client that repeats the same message at a fixed rate. The rate does not depend on the server's answers."""

    def __init__(self, endpoint: str, message: bytes, bytes_s: float, until_s: float, *, is_json: bool) -> None:
        self.sent = 0
        self.accepted = 0
        self._message, self._pause_s, self._until_s = message, len(message) / bytes_s, until_s
        self._channel = grpc.insecure_channel(endpoint, options=(("grpc.use_local_subchannel_pool", 1),))
        self._call: grpc.UnaryUnaryMultiCallable[bytes, _Answer] = self._channel.unary_unary(
            SEND_JSON if is_json else SEND_HITS,
            None,
            (json_pb2.SendJsonHitsResponse if is_json else collector_pb2.SendHitsResponse).FromString,
        )
        self._room = threading.Semaphore(WAITING)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        due_s, calls = time.monotonic(), []
        while not self.sent or time.monotonic() < self._until_s:
            time.sleep(max(0.0, due_s - time.monotonic()))
            self._room.acquire()
            call = self._call.future(self._message, timeout=_TIMEOUT_S)
            call.add_done_callback(lambda _: self._room.release())
            calls.append(call)
            self.sent += 1
            due_s += self._pause_s
        for call in calls:
            with contextlib.suppress(grpc.RpcError):  # the call fails if all its hits are refused
                self.accepted += call.result().accepted_count
        self._channel.close()


def run_refused(seconds: float, clients: int = CLIENTS) -> Result:
    """Return the share of a core that each kind of input costs at 1 MiB/s.

    Also return whether every hit was refused.
    """
    results: Result = {}
    server = Child("tests.bench.collector_server")
    try:
        for kind, message_of in _KINDS.items():
            for sender, key in _SENDERS.items():
                progress(f"refused: {kind}, {sender}")
                results[f"{kind}_{sender}"] = _measured(
                    server, message_of(key), seconds, clients, is_json=kind.startswith("json")
                )
    finally:
        server.stop()
    parts = list(results.values())
    results["checks"] = {"ok": all(part["calls"] and not part["accepted"] for part in parts)}
    return results


def _measured(server: Child, message: bytes, seconds: float, count: int, *, is_json: bool) -> Result:
    endpoint = f"127.0.0.1:{server.ask('renew')['port']}"
    before = server.ask("mark")
    until_s = time.monotonic() + seconds
    clients = [_Client(endpoint, message, BYTES_S / count, until_s, is_json=is_json) for _ in range(count)]
    for client in clients:
        client.thread.start()
    for client in clients:
        client.thread.join()
    after = server.ask("mark")
    cpu_s = sum(after[name] - before[name] for name in ("user_s", "system_s"))
    sent = sum(client.sent for client in clients)
    share, mib = round(cpu_s / (after["wall_s"] - before["wall_s"]), 3), sent * len(message) / BYTES_S
    return {
        "share_of_a_core": {
            "value": round(share, 3),
            "unit": "cores",
            "aim": CEILING,
            "ok": share <= CEILING,
        },
        "mib_s": round(mib / (after["wall_s"] - before["wall_s"]), 2),
        "cpu_ms_per_mib": round(cpu_s * 1_000 / mib),
        "message_bytes": len(message),
        "calls": sent,
        "accepted": sum(client.accepted for client in clients),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_refused(float(sys.argv[1])), indent=2) + "\n")
