"""Test the telemetry that a mesh sends with OTLP: one trace leads from the client through Envoy into the log.

The span of the processor's window links to the append. Another trace leads from the client through Envoy and the
reporter to its stores.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from collector.tracing import APPEND, FRAME, MICRO_BATCH
from dev.slos import EXTERNAL
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.mesh import Mesh as Client
from hitmesh.client.sender import HitSender
from hitmesh.client.tracing import CallSpans
from hitmesh.runtime.telemetry.labels import Part
from processor.stream.metering import WINDOW
from tests.e2e.conftest import running_mesh, site_maker
from tests.support.mesh import Mesh
from tests.support.messages import page_view
from tests.support.otlp_receiver import OtlpReceiver, SentSpan
from tests.support.waiting import eventually

STREAM = "hitmesh.api.collector.v1.CollectorService/StreamHits"
REPORT = "hitmesh.api.reporter.v1.ReporterService/RunReport"
EDGE, ENVOY = "edge", "hitmesh-envoy"
HOSTILE = ("00", "x" * 60_000, f"00-{'0' * 32}-{'0' * 16}-01", f"00-{'1' * 31}-{'1' * 16}-01")


def edge(port: int) -> TracerProvider:
    """Return the tracing of an application that uses the client."""
    provider = TracerProvider(ALWAYS_ON, Resource({"service.name": EDGE}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}", timeout=5)))
    return provider


def send_and_ask(client: Client, site: str, hits: int) -> None:
    now_ms = int(time.time() * 1_000)
    with HitSender(client, site) as sender:
        sender.submit(hit_pb2.HitBatch(batch_id="b", hits=[page_view(f"h{n}", now_ms - n) for n in range(hits)]))
        sender.drain()
        assert sender.totals.accepted == hits
    span = reporter_pb2.TimeRange(last_days=1)
    question = reporter_pb2.RunReportRequest(site=site, metrics=["hits"], time_range=span)
    client.reporter.RunReport(question, metadata=client.credentials, timeout=60)


def status_of(mesh: Mesh, site: str, traceparent: str) -> int:
    connection = http.client.HTTPConnection(mesh.address, timeout=20)
    try:
        connection.request("GET", f"/v1/{site}/freshness", headers={"traceparent": traceparent, "tracestate": "=,=\t"})
        return connection.getresponse().status
    finally:
        connection.close()


def scraped_names(mesh: Mesh) -> set[str]:
    """Return the names of Envoy's metrics."""
    url = json.loads(mesh.ready_file.read_text())["metrics"]["envoy"]
    with urllib.request.urlopen(url, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}


def found(receiver: OtlpReceiver, service: str, name: str, parent: SentSpan | None = None) -> SentSpan:
    """Return the span with this name, below the given parent if there is one. Wait until the span arrives."""

    def search() -> SentSpan | None:
        for span in receiver.spans:
            is_child = parent is None or (span.trace, span.parent) == (parent.trace, parent.span)
            if span.service == service and (not name or span.name == name) and is_child:
                return span
        return None

    return eventually(search, f"a span {name!r} of {service} below {parent} among {receiver.spans}", 30)


@pytest.mark.timeout(120)
def test_a_trace_leads_from_the_client_to_the_stores(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        options = ("--no-demo-data", "--otlp", f"127.0.0.1:{receiver.port}", "--trace-ratio", "0")
        for mesh in running_mesh(Mesh(tmp_path / "home", options)):
            site = site_maker(mesh)("traced")
            provider = edge(receiver.port)
            channel = grpc.intercept_channel(grpc.insecure_channel(mesh.address), CallSpans(provider))
            with Client(channel, mesh.key) as client:
                send_and_ask(client, site, 25)
            provider.shutdown()

            # One stream: the client, Envoy, a frame, its micro-batch, and the record in the log.
            stream = found(receiver, EDGE, STREAM)
            envoy = found(receiver, ENVOY, "", stream)
            frame = found(receiver, "hitmesh-collector", FRAME, envoy)
            assert (frame.node, frame.attributes["hitmesh.accepted_hits"]) == ("collector-0", 25)
            micro_batch = found(receiver, "hitmesh-collector", MICRO_BATCH, frame)
            append = found(receiver, "hitmesh-collector", APPEND, micro_batch)
            assert append.attributes["hitmesh.rows"] == 25
            # The log separates two traces: the window links to the append, and has a child for each of its stages.
            window = found(receiver, "hitmesh-processor", WINDOW)
            assert (window.links, window.parent) == (((append.trace, append.span),), "")
            for stage in ("decode", "raw", "visits", "transaction"):
                found(receiver, "hitmesh-processor", f"window {stage}", window)

            question_call = found(receiver, EDGE, REPORT)
            assert question_call.parent == ""
            report = found(receiver, "hitmesh-reporter", REPORT, found(receiver, ENVOY, "", question_call))
            assert found(receiver, "hitmesh-reporter", "read store", report).attributes["hitmesh.store"]

            # A malformed context changes no answer. Calls without a context are not recorded with the ratio 0.
            assert [status_of(mesh, site, text) for text in HOSTILE] == [200] * len(HOSTILE)
            envoy_metrics = scraped_names(mesh)
            assert {name for name in EXTERNAL if name.startswith("envoy_")} <= envoy_metrics
        # The mesh has stopped, so every process has sent its last spans and metrics.
        assert {span.trace for span in receiver.spans} == {stream.trace, question_call.trace, window.trace}
        for part in Part:
            assert {"hitmesh_build_info", f"hitmesh_{part}_store_errors"} & receiver.metrics(f"hitmesh-{part}")
        assert "hitmesh_collector_hits" in receiver.metrics("hitmesh-collector")
        assert "hitmesh_rpc_server_call_duration_seconds" in receiver.metrics("hitmesh-reporter")
