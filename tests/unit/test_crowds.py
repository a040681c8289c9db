"""Test the crowd that calls a mesh at a fixed rate, with a server that gives prepared answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from hitmesh.adapters.factory import open_stores
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.model.quotas import Quota
from hitmesh.runtime.clock import SystemClock
from tests.support.crowd_tenants import Tenant, new_tenants
from tests.support.crowds import SEND, Crowd, measure
from tests.support.waiting import eventually

HITS = 20


class Answers(grpc.GenericRpcHandler):
    """Answers each call with the same bytes, and counts the calls."""

    def __init__(self, answer: bytes) -> None:
        self.calls, self._answer = 0, answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._answered)

    def _answered(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        return self._answer


@contextmanager
def serving(answers: Answers) -> Iterator[Tenant]:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[answers])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Tenant(f"127.0.0.1:{port}", "quiet", "hms_key")
    finally:
        server.stop(None).wait()


def counted(answer: bytes) -> dict[str, int]:
    """Return the counts after at least 20 answers."""
    answers, counts = Answers(answer), list[dict[str, int]]()
    with serving(answers) as tenant:
        crowd = Crowd(tenant, SEND, b"", HITS, 500)
        eventually(lambda: answers.calls >= 20, "20 calls are answered")
        stopping = threading.Thread(target=lambda: counts.append(crowd.stop()), daemon=True)
        stopping.start()
        stopping.join(10)
        assert not stopping.is_alive(), "stop() ends"
    return counts[0]


def test_each_call_is_counted_with_the_hits_that_were_accepted() -> None:
    counts = counted(collector_pb2.SendHitsResponse(accepted_count=HITS).SerializeToString())
    assert counts["sent"] == counts["answered"] >= 20
    assert counts["acknowledged_hits"] == counts["answered"] * HITS


def test_an_answer_that_cannot_be_read_is_counted_and_ends_neither_the_crowd_nor_its_stop() -> None:
    counts = counted(b"\xff")
    assert counts["sent"] == counts["unreadable"] >= 20
    assert counts["uncertain_hits"] == counts["sent"] * HITS


def test_a_merchant_of_a_crowd_has_a_record_a_site_and_quotas(tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text('{"grpc": "127.0.0.1:1"}')
    tenant = new_tenants(tmp_path, {"flood": (Quota(hits_s=5), Quota(report_units_min=7))})["flood"]
    stores = open_stores(f"embedded:{tmp_path / 'data'}", SystemClock())
    try:
        assert stores.merchants.merchant(tenant.merchant) is not None
        assert stores.directory.site(tenant.site) is not None
        key = stores.directory.key(tenant.key)
        assert key is not None
        assert key.merchant == tenant.merchant
        assert stores.directory.quota(tenant.site).hits_s == 5
        assert stores.directory.quota(tenant.merchant).report_units_min == 7
    finally:
        stores.close()


def test_a_measurement_has_the_latency_of_each_call() -> None:
    found: list[float] = []
    with serving(Answers(b"")) as tenant, grpc.insecure_channel(tenant.endpoint) as channel:
        measure(channel, tenant, SEND, b"", 0.5, found)
        assert len(found) == 10
