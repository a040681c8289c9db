"""Calls to a collector that send nothing, have no key, or contain hits that are refused."""

from __future__ import annotations

import queue
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from collector.classify import Classifier
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.sites import IngestKey, KeyKind
from tests.support.collectors import KEY, MERCHANT, NOW_MS, SITE, Backend, Running, new_backend
from tests.support.messages import page_view
from tests.support.streams import StreamClient, end_requests_with

BROWSER = "hms_browser"
CALLS = "/hitmesh.api.collector.v1.CollectorService"


def with_browser_key(classifier: Classifier) -> Backend:
    """Return stores with an additional browser key. A budget limits the refused hits of the browser key."""
    backend = new_backend(classifier)
    browser = IngestKey(key_id="k-b", merchant=MERCHANT, kind=KeyKind.BROWSER, site=SITE, unbounded_history=False)
    backend.stores.directory.create_key(browser, BROWSER)
    return backend


def a_stream(collector: Running, key: str = KEY) -> StreamClient:
    return StreamClient(collector.channel, key, SITE, timeout_s=60)


def silent(collector: Running) -> Any:
    """Return a stream that sends nothing."""
    return held_open(collector, f"{CALLS}/StreamHits")


def held_open(collector: Running, method: str) -> Any:
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = collector.channel.stream_stream(method)
    nothing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    held = call(iter(nothing.get, None), timeout=60)
    end_requests_with(held, nothing)
    return held


def a_batch(name: str, key: str = "", hits: int = 1) -> hit_pb2.HitBatch:
    views = [page_view(f"{name}-{number}", NOW_MS, visitor=name) for number in range(hits)]
    return hit_pb2.HitBatch(batch_id=name, ingest_key=key, hits=views)


def ended_with(stream: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as raised:
        for _ in getattr(stream, "call", stream):
            pass
    code: grpc.StatusCode = raised.value.code()
    return code


def health_of(collector: Running) -> int:
    stub: Any = health_pb2_grpc.HealthStub(collector.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=60).status)


def send(collector: Running, batch: bytes, timeout_s: float = 60) -> collector_pb2.SendHitsResponse:
    call: grpc.UnaryUnaryMultiCallable[bytes, collector_pb2.SendHitsResponse] = collector.channel.unary_unary(
        f"{CALLS}/SendHits", None, collector_pb2.SendHitsResponse.FromString
    )
    size = len(batch)
    header = b"\x0a" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    return call(header + batch, metadata=(("hitmesh-site", SITE),), timeout=timeout_s)


def code_of(collector: Running, batch: bytes, timeout_s: float = 60) -> grpc.StatusCode:
    try:
        send(collector, batch, timeout_s)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def is_kept_out(collector: Running) -> bool:
    good = a_batch("good", BROWSER).SerializeToString()
    return code_of(collector, good) is grpc.StatusCode.RESOURCE_EXHAUSTED


def without_type(batch: hit_pb2.HitBatch) -> hit_pb2.HitBatch:
    for hit in batch.hits:
        hit.type = hit_pb2.HIT_TYPE_UNSPECIFIED
    return batch
