"""Test the RPCs for ledger, drift and cell states on in-memory stores, and the permissions that these RPCs need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import polars as pl
import pytest
from google.type.date_pb2 import Date

from control.__main__ import bookkeeping_of
from control.backend import Bookkeeping
from control.rpc.operations.days import listed_days
from control.service import SERVICES, build_server
from hitmesh.access.roles import MERCHANT_ROLES
from hitmesh.api.control.v1 import operations_pb2, operations_pb2_grpc
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.model.generations import Drift, LedgerEntry
from hitmesh.model.rows.stream_columns import LEDGER_COLUMNS
from hitmesh.model.sites import IngestKey, KeyKind, SiteDay
from tests.support.dates import a_date
from tests.support.patience import patient
from tests.support.published_days import publish_day
from tests.support.reporters import (
    NOW,
    OPERATOR,
    OWNER,
    RIVAL,
    Mesh,
    a_question,
    assert_hidden,
    bearer,
    control_backend,
    refusal,
    served,
    start,
)
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, traffic

UTC_DAY = MIDNIGHT // DAY
Count = tuple[int, int, int]


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=True)


@pytest.fixture
def closed() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def put_ledger(mesh: Mesh, site: str, *rows: tuple[str, int, str, Count]) -> None:
    """Store entries in the ledger as the stream stores them."""
    entries = [(site, kind, at, name, "hits-1", 0, 0, 1, *count) for kind, at, name, count in rows]
    mesh.stores.ledger.put(pl.DataFrame(entries, schema=LEDGER_COLUMNS, orient="row"))


def three_hits(mesh: Mesh, site: str = SITE, day: int = UTC_DAY, lost: int = 0) -> None:
    """Store the ledger of a day with three accepted hits: a copy and two counted hits.

    In the stored ledger, the number of counted hits is too low by `lost`. If `lost` is not 0, the ledger does not
    balance.
    """
    put_ledger(
        mesh,
        site,
        ("cell", day * DAY, "received", (4, 40, 4)),
        ("cell", day * DAY, "rejected", (1, 10, 1)),
        ("cell", day * DAY, "accepted", (3, 30, 5)),
        ("day", day, "accepted", (3, 30, 5)),
        ("day", day, "counted", (2 - lost, 20, 4)),
        ("day", day, "duplicate", (1, 10, 1)),
    )


def ask_ledger(mesh: Mesh, secret: str | None = None, **fields: object) -> operations_pb2.GetLedgerResponse:
    filled: dict[str, object] = {"site": SITE} | fields
    request = operations_pb2.GetLedgerRequest(**filled)  # type: ignore[arg-type]  # protobuf checks the fields
    return mesh.operations.GetLedger(request, metadata=bearer(secret) if secret else None)


def test_a_ledger_that_adds_up_has_no_imbalance(mesh: Mesh) -> None:
    three_hits(mesh)
    found = ask_ledger(mesh)
    assert (found.site, found.imbalance, found.totals.imbalance) == (SITE, 0, 0)
    assert (found.totals.received.hits, found.totals.rejected.hits, found.totals.accepted.hits) == (4, 1, 3)
    assert found.totals.accepted_by_day.hits == 3
    (day,) = found.days
    assert (day.utc_date, day.settled, day.HasField("generation")) == (a_date("2015-05-17"), False, False)
    assert (day.accepted.hits, day.counted, day.duplicate, day.excluded, day.pending.hits) == (3, 2, 1, 0, 0)
    assert (day.accepted.sum64, day.accepted.xor64, day.classified.hits) == (30, 5, 3)


def test_a_lost_hit_is_an_imbalance_of_its_day(mesh: Mesh) -> None:
    three_hits(mesh, lost=1)
    found = ask_ledger(mesh)
    assert (found.imbalance, found.totals.imbalance, found.days[0].imbalance) == (1, 0, 1)


def test_a_settled_day_is_its_published_entry(mesh: Mesh) -> None:
    three_hits(mesh)
    site_day = SiteDay(SITE, UTC_DAY)
    entry = LedgerEntry(accepted=3, counted=1, duplicate=1, excluded=1, sum64=30, xor64=5)
    publish_day(mesh.stores.generations, site_day, NOW, entry)
    (day,) = ask_ledger(mesh).days
    assert (day.settled, day.generation, day.counted, day.excluded, day.imbalance) == (True, 1, 1, 1, 0)


def test_days_are_listed_in_the_requested_range_and_the_others_are_counted(mesh: Mesh) -> None:
    for back in range(70):
        three_hits(mesh, day=UTC_DAY - back, lost=int(back == 69))
    found = ask_ledger(mesh)
    assert (len(found.days), found.omitted_days, found.imbalance) == (60, 10, 1)
    assert found.days[-1].utc_date == a_date("2015-05-17")
    found = ask_ledger(mesh, first_utc_date=a_date("2015-05-16"), last_utc_date=a_date("2015-05-16"))
    assert ([day.utc_date for day in found.days], found.omitted_days) == ([a_date("2015-05-16")], 69)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        (
            {"first_utc_date": Date(year=2015, month=13, day=1)},
            "first_utc_date",
            "first_utc_date 2015-13-01 is not a calendar date: send a year from 1 to 9999, a month from 1 to 12 and a "
            "day of that month",
        ),
        ({"last_utc_date": Date(year=2015, month=2, day=29)}, "last_utc_date", "2015-02-29 is not a calendar date"),
        ({"last_utc_date": Date(year=2015)}, "last_utc_date", "2015-00-00 is not a calendar date"),
        ({"first_utc_date": Date(year=-1, month=1, day=1)}, "first_utc_date", "is not a calendar date"),
        ({"first_utc_date": a_date("1969-12-31")}, "first_utc_date", "outside 1970-01-01"),
        (
            {"first_utc_date": a_date("2015-05-18"), "last_utc_date": a_date("2015-05-17")},
            "first_utc_date",
            "first_utc_date 2015-05-18 is after last_utc_date 2015-05-17: swap the dates",
        ),
        ({"site": "merchants/demo/sites/-"}, "site", "is not a site name"),
        ({"site": "demo"}, "site", "is not a site name"),
    ],
)
def test_a_bad_question_names_its_field(mesh: Mesh, fields: dict[str, Any], field: str, message: str) -> None:
    found = refusal(lambda: ask_ledger(mesh, **fields))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert message in found.message


def test_hits_of_no_site_are_shown_where_reads_are_open_only(mesh: Mesh) -> None:
    put_ledger(mesh, "", ("cell", 0, "received", (2, 7, 7)), ("cell", 0, "rejected", (2, 7, 7)))
    totals = mesh.operations.GetSitelessLedger(operations_pb2.GetSitelessLedgerRequest()).totals
    assert (totals.received.hits, totals.rejected.hits, totals.imbalance) == (2, 2, 0)
    assert not totals.HasField("accepted_by_day")
    # Hits without a site must not appear in a site's ledger.
    assert ask_ledger(mesh).totals.received.hits == 0


def a_drift(mesh: Mesh, day: int, drift: Drift, site: str = SITE) -> None:
    publish_day(mesh.stores.generations, SiteDay(site, day), NOW, drift=drift)


def test_drift_is_listed_per_settled_day(mesh: Mesh) -> None:
    a_drift(mesh, UTC_DAY - 1, Drift(confirmed=True, rows_differ=False, sketch_provisional=False, measures={}))
    changed = Drift(confirmed=False, rows_differ=True, sketch_provisional=True, measures={"visits": -2, "hits": 0})
    a_drift(mesh, UTC_DAY, changed)
    found = mesh.operations.GetDrift(operations_pb2.GetDriftRequest(site=SITE))
    first, second = found.days
    assert first.utc_date == a_date("2015-05-16")
    assert (first.confirmed, first.rows_differ, dict(first.measures)) == (True, False, {})
    assert (second.confirmed, second.rows_differ, second.sketch_provisional) == (False, True, True)
    assert dict(second.measures) == {"visits": -2}
    assert (found.drifted_days, found.omitted_days) == (1, 0)
    later = operations_pb2.GetDriftRequest(site=SITE, first_utc_date=a_date("2015-05-17"))
    assert (len(mesh.operations.GetDrift(later).days), mesh.operations.GetDrift(later).omitted_days) == (1, 1)


def test_drift_of_cells_and_of_rows_are_listed_apart_for_the_listed_days(mesh: Mesh) -> None:
    moved = Drift(confirmed=False, rows_differ=True, sketch_provisional=False, measures={}, row_measures={"tax": -7})
    for day in (UTC_DAY - 1, UTC_DAY):
        a_drift(mesh, day, moved)
    later = operations_pb2.GetDriftRequest(site=SITE, first_utc_date=a_date("2015-05-17"))
    found = mesh.operations.GetDrift(later)
    (listed,) = found.days
    assert (dict(listed.measures), dict(listed.row_measures)) == ({}, {"tax": -7})
    assert (found.drifted_days, found.omitted_days) == (1, 1)


def test_a_range_with_a_first_date_lists_its_last_400_days() -> None:
    request = operations_pb2.GetLedgerRequest(first_utc_date=a_date("1970-01-11"), last_utc_date=a_date("1972-02-15"))
    assert listed_days(range(1_000), request) == list(range(376, 776))
    assert listed_days(range(20, 100), request) == list(range(20, 100))


def test_calls_beyond_the_limit_of_control_are_refused_at_once(mesh: Mesh) -> None:
    begun, release = threading.Event(), threading.Event()

    def held() -> Bookkeeping:
        begun.set()
        release.wait(patient(20))
        return bookkeeping_of(mesh.stores)

    backend = replace(control_backend(mesh.stores, mesh.clock, open_reads=True), bookkeeping=held)
    server = build_server(backend, workers=1, max_calls=1)
    port, request = served(server, SERVICES), operations_pb2.GetSitelessLedgerRequest()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = operations_pb2_grpc.OperationsServiceStub(channel)
        first = stub.GetSitelessLedger.future(request, timeout=patient(20))
        try:
            assert begun.wait(patient(10))
            found = refusal(lambda: stub.GetSitelessLedger(request, timeout=patient(5)))
        finally:
            release.set()
        assert first.result().HasField("totals")
    server.stop(None).wait()
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")


def test_rows_and_meta_have_the_state_of_their_cells(mesh: Mesh) -> None:
    mesh.apply_log(NOW - 1_000)
    mesh.settle([traffic(MIDNIGHT - DAY, hits=1), traffic(hits=5)], [])
    days = reporter_pb2.TimeRange(last_days=4)
    question = a_question("hits", time_grain=reporter_pb2.TIME_GRAIN_DAY, time_range=days)
    found = mesh.reporter.RunReport(question)
    settled, provisional = reporter_pb2.CELL_STATE_SETTLED, reporter_pb2.CELL_STATE_PROVISIONAL
    live = reporter_pb2.CELL_STATE_LIVE
    # 2015-05-16 is settled, because it ended more than 26 h ago and nothing is pending. The last cell of the range is
    # still live.
    assert [row.time_bucket.state for row in found.rows] == [settled, provisional, live, live]
    assert found.meta.state == live
    assert found.meta.freshness.provisional_from.ToMilliseconds() == MIDNIGHT
    assert found.meta.freshness.live_from.ToMilliseconds() == NOW - 15 * 60_000
    mesh.stores.dirty.await_close([SiteDay(SITE, UTC_DAY - 1)])
    found = mesh.reporter.RunReport(question)
    assert found.rows[0].time_bucket.state == provisional
    fresh = mesh.reporter.GetFreshness(reporter_pb2.GetFreshnessRequest(site=SITE))
    assert (fresh.open_days, fresh.dirty_days) == (1, 0)


def test_a_rivals_ledger_and_drift_are_not_found_like_those_of_no_site(closed: Mesh) -> None:
    three_hits(closed)
    a_drift(closed, UTC_DAY, Drift(confirmed=True, rows_differ=False, sketch_provisional=False, measures={}))
    reads: list[Callable[[str | None], object]] = [
        lambda secret: ask_ledger(closed, secret),
        lambda secret: closed.operations.GetDrift(
            operations_pb2.GetDriftRequest(site=SITE), metadata=bearer(secret) if secret else None
        ),
    ]
    for read in reads:
        assert_hidden(SITE, read)


def test_the_ledger_without_a_site_is_refused_to_merchants(closed: Mesh) -> None:
    put_ledger(closed, "", ("cell", 0, "received", (2, 7, 7)))
    request = operations_pb2.GetSitelessLedgerRequest()
    for secret in (OWNER, RIVAL):
        found = refusal(lambda: closed.operations.GetSitelessLedger(request, metadata=bearer(secret)))  # noqa: B023 called at once
        assert found.code is grpc.StatusCode.PERMISSION_DENIED
    assert refusal(lambda: closed.operations.GetSitelessLedger(request)).code is grpc.StatusCode.UNAUTHENTICATED


def test_an_operator_reads_the_ledger_without_a_site_and_no_other(closed: Mesh) -> None:
    put_ledger(closed, "", ("cell", 0, "received", (2, 7, 7)))
    request = operations_pb2.GetSitelessLedgerRequest()
    assert closed.operations.GetSitelessLedger(request, metadata=bearer(OPERATOR)).totals.received.hits == 2
    assert refusal(lambda: ask_ledger(closed, OPERATOR)).code is grpc.StatusCode.NOT_FOUND


def test_a_key_of_one_site_sees_no_other_ledger(closed: Mesh) -> None:
    blog = "merchants/demo/sites/blog"
    closed.stores.directory.create_key(
        IngestKey("demo-2", "merchants/demo", KeyKind.SERVER, site=blog, roles=MERCHANT_ROLES), "blog-secret"
    )
    assert refusal(lambda: ask_ledger(closed, "blog-secret")).code is grpc.StatusCode.NOT_FOUND
    closed.stores.directory.create_key(IngestKey("demo-3", "merchants/demo", KeyKind.BROWSER, site=SITE), "browser")
    assert refusal(lambda: ask_ledger(closed, "browser")).code is grpc.StatusCode.PERMISSION_DENIED
