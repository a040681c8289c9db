"""Calls a mesh at a fixed rate, whatever the answers, and counts the answers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hitmesh.api.collector.v1 import collector_pb2
from tests.support.crowd_tenants import Tenant

SEND: Final = "/hitmesh.api.collector.v1.CollectorService/SendHits"
REPORT: Final = "/hitmesh.api.reporter.v1.ReporterService/RunReport"
MAX_OPEN: Final = 256
CONNECTIONS: Final = 4
_TIMEOUT_S: Final = 20.0
_EVERY_S: Final = {SEND: 0.05, REPORT: 0.1}
# A refusal that Envoy or a service makes on purpose. After another status, the hits may be stored.
_REFUSED: Final = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


class Crowd:
    """Sends the same call again and again.

    A call is left out while too many calls are open, because a real client has a bounded memory too.

    Args:
        tenant: the merchant.
        method: SEND or REPORT.
        message: the call's message.
        hits: hits in a message.
        calls_s: calls per second.
    """

    def __init__(self, tenant: Tenant, method: str, message: bytes, hits: int, calls_s: float) -> None:
        self._metadata, self._message, self._hits, self._pause_s = tenant.metadata, message, hits, 1 / calls_s
        options = (("grpc.use_local_subchannel_pool", 1),)
        self._channels = [grpc.insecure_channel(tenant.endpoint, options=options) for _ in range(CONNECTIONS)]
        self._calls: list[Any] = [channel.unary_unary(method, None, None) for channel in self._channels]
        self._is_send = method == SEND
        self._room = threading.Semaphore(MAX_OPEN)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, int]:
        """Stop, wait for all answers, and return the counts."""
        self._stopping.set()
        self._thread.join()
        for _ in range(MAX_OPEN):
            self._room.acquire()
        for channel in self._channels:
            channel.close()
        return dict(self.counts)

    def _run(self) -> None:
        due_s, number = time.monotonic(), 0
        while not self._stopping.wait(max(0.0, due_s - time.monotonic())):
            due_s += self._pause_s
            number += 1
            if not self._room.acquire(blocking=False):
                self._count({"left_out": 1})
                continue
            self._count({"sent": 1})
            call = self._calls[number % CONNECTIONS].future(self._message, timeout=_TIMEOUT_S, metadata=self._metadata)
            call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        try:
            self._count(self._answer(call))
        finally:  # stop() waits for each call
            self._room.release()

    def _count(self, found: Mapping[str, int]) -> None:
        with self._lock:
            self.counts.update(found)

    def _answer(self, call: Any) -> dict[str, int]:
        if call.code() is grpc.StatusCode.OK:
            if not self._is_send:
                return {"answered": 1}
            try:
                accepted = collector_pb2.SendHitsResponse.FromString(call.result()).accepted_count
            except DecodeError:
                return {"unreadable": 1, "uncertain_hits": self._hits}
            return {"answered": 1, "acknowledged_hits": accepted}
        has_time = _has_time(call)
        return {
            "refused_with_a_time" if has_time else f"refused_without_a_time_{call.code().name.lower()}": 1,
            "uncertain_hits": 0 if call.code() in _REFUSED and has_time else self._hits,
        }


def _has_time(call: Any) -> bool:
    """Return whether a refusal says when to come back."""
    if any(name == "retry-after" for name, _ in call.initial_metadata() or ()):
        return True
    status = rpc_status.from_call(call)
    return status is not None and any(each.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for each in status.details)


def measure(
    channel: grpc.Channel, tenant: Tenant, method: str, message: bytes, seconds: float, found: list[float]
) -> None:
    """Call at a fixed rate, whatever the answers, and add the latency of each call in ms to `found`.

    A failed call fails the measurement.
    """
    ask: Any = channel.unary_unary(method, None, None)
    noted = threading.Semaphore(0)
    began_s, calls = time.monotonic(), []

    def note(called_s: float) -> None:
        found.append((time.monotonic() - called_s) * 1_000)
        noted.release()

    for number in range(max(1, int(seconds / _EVERY_S[method]))):
        time.sleep(max(0.0, began_s + number * _EVERY_S[method] - time.monotonic()))
        called_s = time.monotonic()
        call = ask.future(message, timeout=20, metadata=tenant.metadata)
        call.add_done_callback(lambda _, called_s=called_s: note(called_s))
        calls.append(call)
    for call in calls:
        call.result()
    for _ in calls:  # a callback may run after result() has returned
        noted.acquire()
