"""Test CheckHistory over gRPC, on in-memory stores: pages, limits, names, and values that do not add up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import grpc
import polars as pl
import pytest

from control.history.checking import CheckLimits
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.positions import Position
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.columns import pack_record
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from processor.settle.rows import SettledRows
from processor.settle.series import settled_series
from tests.reference.hits import RefHit
from tests.support.checking import checked, stores_of
from tests.support.dates import a_date
from tests.support.reporters import NOW, OPERATOR, Mesh, bearer, refusal, start
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, frame, traffic, visits
from tests.support.small_mesh import hit_rows
from tests.support.whole_days import LOG, settle_whole_day

RIVAL = "merchants/rival/sites/shop"
UTC_DAY = MIDNIGHT // DAY


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=True)


def settle(mesh: Mesh, site: str = SITE, day: int = UTC_DAY, offset: int = 0, hits: int = 2) -> None:
    settle_whole_day(mesh.stores, SiteDay(site, day), NOW, offset, hits)


def check(mesh: Mesh, *sites: str, **fields: object) -> pb.CheckHistoryResponse:
    request = pb.CheckHistoryRequest(sites=sites, **fields)  # type: ignore[arg-type]  # protobuf checks the fields
    return mesh.reprocessings.CheckHistory(request, metadata=bearer(OPERATOR))


def test_days_that_add_up_are_counted_and_no_problem_is_named(mesh: Mesh) -> None:
    settle(mesh)
    settle(mesh, RIVAL, UTC_DAY - 1, offset=1, hits=3)
    found = check(mesh, "merchants/-/sites/-")
    assert (found.site_days, found.hits, list(found.problems), found.next_page_token) == (2, 5, [], "")


def series_of(of_hits: pl.DataFrame, of_visits: pl.DataFrame) -> pl.DataFrame:
    """Return the series of the given rows."""
    return settled_series(SettledRows.in_memory(of_hits, of_visits))


def test_each_sum_that_differs_is_named_with_both_values(mesh: Mesh) -> None:
    settle(mesh)
    mesh.stores.sink.drop([(SiteDay(SITE, UTC_DAY), 1)])
    of_hits = frame(RowSource.TRAFFIC, [traffic(UTC_DAY * DAY, hits=2, pageviews=1)])
    of_visits = frame(RowSource.VISITS, [visits(UTC_DAY * DAY, visits=4)])
    mesh.stores.sink.write(of_hits, of_visits)
    mesh.stores.series.put_settled(
        SiteDay(SITE, UTC_DAY), 1, series_of(of_hits.with_columns(hits=pl.lit(3, pl.Int64)), of_visits)
    )
    (problem,) = check(mesh, SITE).problems
    assert [(each.store, each.measure, each.found, each.expected) for each in problem.findings] == [
        (pb.CHECKED_STORE_SERIES, "hits", 3, 2)
    ]
    mesh.stores.series.put_settled(
        SiteDay(SITE, UTC_DAY),
        1,
        series_of(
            of_hits.with_columns(pageviews=pl.lit(9, pl.Int64)), of_visits.with_columns(visits=pl.lit(1, pl.Int64))
        ),
    )
    (problem,) = check(mesh, SITE).problems
    assert [(each.store, each.measure, each.found, each.expected) for each in problem.findings] == [
        (pb.CHECKED_STORE_METRICS, "pageviews", 1, 9),
        (pb.CHECKED_STORE_METRICS, "visits", 4, 1),
    ]


def test_pages_are_bounded_and_together_check_every_site_day_once(mesh: Mesh) -> None:
    for offset, (site, day) in enumerate((site, UTC_DAY - day) for site in (SITE, RIVAL) for day in range(3)):
        settle(mesh, site, day, offset)
    mesh.stores.raw.restore([replace(a_record(mesh, 1), value=b"damaged")])
    for limits in (
        CheckLimits(site_days=1),
        CheckLimits(site_days=2),
        CheckLimits(sites=1),
        CheckLimits(rows=0),
        CheckLimits(page_ms=-1),
        CheckLimits(),
    ):
        pages = checked(mesh.stores, mesh.clock, ["merchants/demo/sites/-", SITE, RIVAL], limits)
        assert sum(page.site_days for page in pages) == 6
        assert [SiteDay(each.site, each.utc_date.day) for page in pages for each in page.problems] == [
            SiteDay(SITE, a_date("2015-05-16").day)
        ]
    days = {"first_utc_date": a_date("2015-05-16"), "last_utc_date": a_date("2015-05-16")}
    assert sum(page.site_days for page in checked(mesh.stores, mesh.clock, [SITE, RIVAL], **days)) == 2


def a_record(mesh: Mesh, offset: int) -> RawRecord:
    found = mesh.stores.raw.get(Position(*LOG, offset))
    assert found is not None
    return found


def test_hits_that_neither_raw_store_nor_log_has_are_lost(mesh: Mesh) -> None:
    settle(mesh)
    mesh.stores.raw.restore([replace(a_record(mesh, 0), value=b"damaged")])
    (page,) = checked(mesh.stores, mesh.clock, [SITE])
    assert stores_of(page.problems[0]) == {"raw"}
    assert (page.problems[0].missing_hits, page.problems[0].lost_hits) == (2, 2)


def test_exchanged_hits_are_found_by_their_checksums(mesh: Mesh) -> None:
    settle(mesh)
    others = pack_record(hit_rows([RefHit(SITE, "v", f"other-{number}", UTC_DAY * DAY) for number in range(2)]))
    mesh.stores.raw.restore([replace(a_record(mesh, 0), value=others)])
    (problem,) = check(mesh, SITE).problems
    (finding,) = problem.findings
    assert finding.store == pb.CHECKED_STORE_RAW
    assert "checksums" in finding.damage


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        (pb.CheckHistoryRequest(), grpc.StatusCode.INVALID_ARGUMENT, "sites"),
        (pb.CheckHistoryRequest(sites=["shop"]), grpc.StatusCode.INVALID_ARGUMENT, "sites[0]"),
        (pb.CheckHistoryRequest(sites=["merchants/demo/sites/no"]), grpc.StatusCode.NOT_FOUND, "sites[0]"),
        (pb.CheckHistoryRequest(sites=["merchants/none/sites/-"]), grpc.StatusCode.NOT_FOUND, "sites[0]"),
        (pb.CheckHistoryRequest(sites=[SITE], page_size=-1), grpc.StatusCode.INVALID_ARGUMENT, "page_size"),
        (pb.CheckHistoryRequest(sites=[SITE], page_token="x"), grpc.StatusCode.INVALID_ARGUMENT, "page_token"),
        (
            pb.CheckHistoryRequest(
                sites=[SITE], first_utc_date=a_date("2015-05-17"), last_utc_date=a_date("2015-05-16")
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "first_utc_date",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(
    mesh: Mesh, request_: pb.CheckHistoryRequest, code: grpc.StatusCode, field: str
) -> None:
    found = refusal(lambda: mesh.reprocessings.CheckHistory(request_, metadata=bearer(OPERATOR)))
    assert (found.code, found.field) == (code, field)


def test_a_token_of_another_request_is_refused(mesh: Mesh) -> None:
    for day in range(2):
        settle(mesh, SITE, UTC_DAY - day, day)
    token = check(mesh, SITE, page_size=1).next_page_token
    assert check(mesh, SITE, page_size=1, page_token=token).site_days == 1
    found = refusal(lambda: check(mesh, RIVAL, page_token=token))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH")


def test_rows_of_another_generation_or_site_do_not_count(mesh: Mesh) -> None:
    settle(mesh)
    more = frame(RowSource.TRAFFIC, [traffic(UTC_DAY * DAY, generation=7, hits=100)])
    rival = frame(RowSource.TRAFFIC, [traffic(UTC_DAY * DAY, site=RIVAL, hits=100)])
    mesh.stores.sink.write(pl.concat([more, rival]), frame(RowSource.VISITS, []))
    assert list(check(mesh, SITE).problems) == []
