"""Test traces of hits over gRPC, on in-memory stores, and the permissions that a trace needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import polars as pl
import pytest

from hitmesh.api.control.v1 import trace_pb2, trace_pb2_grpc
from hitmesh.model.positions import Position, Topic
from hitmesh.model.records import RawRecord, RejectedHit
from hitmesh.model.rows.columns import pack_record
from processor.service import InspectStores, TraceService
from tests.reference.hits import RefHit
from tests.support.dates import a_date
from tests.support.raw_hits import a_record
from tests.support.reporters import NOW, OWNER, RIVAL, Mesh, assert_hidden, bearer, refusal, start
from tests.support.settled_rows import SITE
from tests.support.small_mesh import hit_rows

RIVAL_SITE = "merchants/rival/sites/shop"


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=True)


@pytest.fixture
def closed() -> Iterator[Mesh]:
    yield from start(open_reads=False)


@contextmanager
def tracing(mesh: Mesh, *, open_reads: bool) -> Iterator[Callable[..., trace_pb2.TraceHitResponse]]:
    """Serve traces from the mesh's stores, and yield a function that asks for a trace."""
    server = grpc.server(ThreadPoolExecutor(2))
    stores = InspectStores(
        directory=mesh.stores.directory,
        raw=mesh.stores.raw,
        rejected=mesh.stores.rejected,
        generations=mesh.stores.generations,
        claims=mesh.stores.claims,
        progress=mesh.stores.progress,
        clock=mesh.clock,
        streams=mesh.stores.streams,
        open_reads=open_reads,
    )
    trace_pb2_grpc.add_TraceServiceServicer_to_server(TraceService(stores), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def ask(hit_id: str, secret: str | None = None, site: str = SITE, **more: Any) -> trace_pb2.TraceHitResponse:
        request = trace_pb2.TraceHitRequest(site=site, hit_id=hit_id, **more)
        return stub.TraceHit(request, metadata=bearer(secret) if secret else None)

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = trace_pb2_grpc.TraceServiceStub(channel)
        yield ask
    server.stop(None).wait()


def stored(mesh: Mesh, site: str, hit_id: str, offset: int = 0, at: int = NOW - 60_000) -> RawRecord:
    """Store a hit as the processor stores it, at a position below the committed offset."""
    record = a_record([RefHit(site, "v1", hit_id, at, page_path="/")], at + 1_000, offset)
    log = mesh.stores.log.log_id(Topic.HITS)
    placed = RawRecord(
        Position(log, 0, offset),
        record.log_time,
        1,
        at,
        at,
        record.value,
        1,
        record.site_days,
    )
    mesh.stores.raw.put([placed])
    return placed


def test_a_hit_is_traced_to_its_copies_visit_and_cell(mesh: Mesh) -> None:
    first, second = stored(mesh, SITE, "h1"), stored(mesh, SITE, "h1", offset=1)
    with tracing(mesh, open_reads=True) as ask:
        found = ask("h1")
    assert (found.site, found.hit_id) == (SITE, "h1")
    assert (found.first_utc_date, found.last_utc_date) == (a_date("2015-05-17"), a_date("2015-05-19"))
    counted, copy = found.copies
    assert (counted.verdict, copy.verdict) == (trace_pb2.HIT_VERDICT_COUNTED, trace_pb2.HIT_VERDICT_DUPLICATE)
    assert (counted.position.offset, copy.original.offset) == (first.position.offset, 0)
    assert (copy.position.offset, copy.position.log) == (1, second.position.log)
    assert counted.timeliness == trace_pb2.HIT_TIMELINESS_ON_TIME
    assert counted.cell.ToMilliseconds() == NOW - 15 * 60_000
    assert (counted.visit.hits, counted.visit.landing_page) == (1, "/")
    assert not copy.HasField("visit")
    assert not any(counted.HasField(field) for field in ("generation", "order_id"))
    assert found.records_read > 0


def test_the_hits_of_an_order_and_of_a_batch_are_found_with_their_ids(mesh: Mesh) -> None:
    hits = [
        RefHit(SITE, "v1", "h1", NOW - 60_000, type="ORDER", order_id="o1"),
        RefHit(SITE, "v2", "h2", NOW - 50_000, page_path="/"),
        RefHit(SITE, "v2", "h3", NOW - 40_000, type="REFUND", order_id="o2", refund_id="o1"),
    ]
    record = a_record(hits, NOW - 30_000, 0)
    mesh.stores.raw.put(
        [
            RawRecord(
                Position(mesh.stores.log.log_id(Topic.HITS), 0, 0),
                record.log_time,
                3,
                hits[0].event_time,
                hits[2].event_time,
                pack_record(hit_rows(hits).with_columns(pl.lit("b7").alias("batch_id"))),
                1,
                record.site_days,
            )
        ]
    )
    with tracing(mesh, open_reads=True) as ask:
        by_order = ask("", order_id="o1")
        assert [copy.hit_id for copy in by_order.copies] == ["h1", "h3"], "the order, and the refund with this id"
        assert by_order.hit_id == ""
        assert by_order.copies[0].batch_id == "b7"
        assert [copy.hit_id for copy in ask("", batch_id="b7").copies] == ["h1", "h2", "h3"]
        unknown = refusal(lambda: ask("", order_id="o9"))
        assert (unknown.code, unknown.field) == (grpc.StatusCode.NOT_FOUND, "order_id")
        assert "order 'o9'" in unknown.message
        both = refusal(lambda: ask("h1", order_id="o1"))
        assert (both.code, both.field) == (grpc.StatusCode.INVALID_ARGUMENT, "hit_id")
        long = refusal(lambda: ask("", batch_id="b" * 257))
        assert (long.code, long.field) == (grpc.StatusCode.INVALID_ARGUMENT, "batch_id")


def test_a_refused_hit_is_found_with_its_reason(mesh: Mesh) -> None:
    position = Position("rejected-1", 0, 3)
    refused = RejectedHit(position, 2, SITE, NOW, "MISSING_FIELD", "visitor_id", "is missing", "h7", 1, b"")
    mesh.stores.rejected.put([refused])
    with tracing(mesh, open_reads=True) as ask:
        found = ask("h7")
    (listed,) = found.refusals
    assert (listed.reason, listed.field, listed.position.offset, listed.position.row) == (
        "MISSING_FIELD",
        "visitor_id",
        3,
        2,
    )
    assert len(found.copies) == 0


def test_an_unknown_hit_is_not_found_and_the_error_names_the_searched_days(mesh: Mesh) -> None:
    stored(mesh, SITE, "h1")
    with tracing(mesh, open_reads=True) as ask:
        found = refusal(lambda: ask("h2"))
        assert (found.code, found.field) == (grpc.StatusCode.NOT_FOUND, "hit_id")
        assert "2015-05-17 to 2015-05-19 (1 records read)" in found.message
        wrong = refusal(lambda: ask(""))
        assert (wrong.code, wrong.field) == (grpc.StatusCode.INVALID_ARGUMENT, "hit_id")
        wrong = refusal(lambda: ask("h1", first_utc_date=a_date("2015-01-01")))
        assert (wrong.code, wrong.field) == (grpc.StatusCode.INVALID_ARGUMENT, "first_utc_date")
        assert ask("h1", first_utc_date=a_date("2015-05-18"), last_utc_date=a_date("2015-05-18")).copies


def test_a_rivals_hit_is_not_found_like_that_of_no_site(closed: Mesh) -> None:
    stored(closed, SITE, "h1")
    with tracing(closed, open_reads=False) as ask:
        assert_hidden(SITE, lambda secret: ask("h1", secret))
        assert (
            "does not exist or is not yours" in refusal(lambda: ask("h1", OWNER, "merchants/demo/sites/none")).message
        )


def test_the_same_id_on_sites_of_two_merchants_is_two_hits(closed: Mesh) -> None:
    stored(closed, SITE, "h1")
    stored(closed, RIVAL_SITE, "h1", offset=1)
    closed.stores.rejected.put(
        [RejectedHit(Position("rejected-1", 0, 3), 0, SITE, NOW, "MISSING_FIELD", "url", "is missing", "h1", 1, b"")]
    )
    with tracing(closed, open_reads=False) as ask:
        found = ask("h1", RIVAL, RIVAL_SITE)
    assert [copy.position.offset for copy in found.copies] == [1]
    assert len(found.refusals) == 0
