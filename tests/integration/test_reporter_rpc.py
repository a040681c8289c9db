"""Test the answers and errors of the reporter's services, over gRPC and on in-memory stores."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.model.generations import DirtyMark
from hitmesh.model.positions import Position
from hitmesh.model.sites import SiteDay
from reporter.question.catalogue import METRICS
from tests.support.reporters import NOW, OWNER, RIVAL, Mesh, a_question, a_site, bearer, refusal, some_rows, start
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, sketch_of, traffic


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=True)


@pytest.fixture
def closed() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def test_a_report_has_typed_cells_totals_and_meta(mesh: Mesh) -> None:
    some_rows(mesh)
    metrics = "hits,visitors,bounce_rate,visit_duration_total,net_revenue"
    response = mesh.reporter.RunReport(a_question(metrics, time_grain=reporter_pb2.TIME_GRAIN_DAY, include_totals=True))
    first, second, third = response.rows
    assert first.time_bucket.label == "2015-05-17T00:00:00+00:00"
    assert first.time_bucket.end.ToMilliseconds() == MIDNIGHT + DAY
    assert [cell.WhichOneof("value") for cell in first.cells] == [
        "int64_value",
        "int64_value",
        "ratio",
        "duration",
        "money",
    ]
    hits, visitors, bounce_rate, duration, revenue = first.cells
    assert (hits.int64_value, visitors.int64_value) == (5, 2)
    assert (bounce_rate.ratio.numerator, bounce_rate.ratio.denominator, bounce_rate.ratio.value) == (1, 2, 0.5)
    assert duration.duration.ToMilliseconds() == 61_500
    assert (revenue.money.currency_code, revenue.money.units, revenue.money.nanos) == ("USD", 30, 0)
    assert second.cells[0].int64_value == 1
    assert third.cells[2].null_reason == reporter_pb2.NULL_REASON_NO_DATA
    assert [cell.int64_value for cell in response.totals.cells[:2]] == [6, 2]
    assert response.total_row_count == 3
    headers = {header.metric: header for header in response.metric_headers}
    assert headers["net_revenue"].unit == "USD"
    assert headers["net_revenue"].exactness == reporter_pb2.EXACTNESS_PARTIAL
    assert headers["visitors"].exactness == reporter_pb2.EXACTNESS_EXACT


def test_the_meta_has_freshness_exactness_and_the_understood_question(mesh: Mesh) -> None:
    some_rows(mesh)
    message = reporter_pb2.Filter(
        dimension_filter=reporter_pb2.DimensionFilter(
            dimension="channel", operator=reporter_pb2.FILTER_OPERATOR_NE, values=["a,b"]
        )
    )
    question = a_question("hits,gross_revenue", filter=message, time_zone="Asia/Kathmandu")
    meta = mesh.reporter.RunReport(question).meta
    assert meta.freshness.complete_through.ToMilliseconds() == NOW - 1_000
    assert meta.freshness.state == reporter_pb2.FRESHNESS_STATE_LIVE
    assert meta.data_version == "s2.p10"
    assert (meta.time_zone, meta.policy_version, meta.currency) == ("Asia/Kathmandu", "v1", "USD")
    assert list(meta.logic_versions) == ["v1"]
    assert meta.tzdb_version
    assert meta.filter == r"channel!=a\,b"
    assert list(meta.missing_currencies) == ["EUR"]
    assert meta.excluded_hits == 3
    assert meta.served_by == reporter_pb2.STORE_MEMORY
    assert meta.query_id
    assert meta.cost.rows > 0
    assert meta.request.limit == 10_000
    assert meta.request.time_range.dates.last_date.day == 19
    assert meta.request.gap_fill == reporter_pb2.GAP_FILL_ZERO
    assert [order.field for order in meta.request.order_by] == ["hits"]
    assert meta.request.filter == message


def test_the_understood_question_gives_the_same_answer(mesh: Mesh) -> None:
    some_rows(mesh)
    question = a_question(dimensions=["channel"], time_grain=reporter_pb2.TIME_GRAIN_DAY)
    first = mesh.reporter.RunReport(question)
    assert mesh.reporter.RunReport(first.meta.request).rows == first.rows


def test_include_excluded_adds_bots(mesh: Mesh) -> None:
    some_rows(mesh)
    (row,) = mesh.reporter.RunReport(a_question("hits,bot_hits", include_excluded=True)).rows
    assert [cell.int64_value for cell in row.cells] == [9, 3]


def test_many_visitors_have_bounds(mesh: Mesh) -> None:
    mesh.settle([traffic(visitors=sketch_of(*range(1, 40_001)))], [])
    response = mesh.reporter.RunReport(a_question("visitors"))
    cell, header = response.rows[0].cells[0], response.metric_headers[0]
    assert cell.lower < cell.double_value < cell.upper
    assert header.exactness == reporter_pb2.EXACTNESS_SKETCH
    assert header.relative_standard_error > 0


def test_all_sites_of_a_merchant_are_one_report_by_site(mesh: Mesh) -> None:
    blog = "merchants/demo/sites/blog"
    mesh.stores.directory.create_site(a_site(blog))
    mesh.settle([traffic(hits=1), traffic(hits=2, site=blog), traffic(hits=4, site="merchants/rival/sites/shop")], [])
    everything = "merchants/demo/sites/-"
    (total,) = mesh.reporter.RunReport(a_question("hits", site=everything)).rows
    assert total.cells[0].int64_value == 3
    rows = mesh.reporter.RunReport(a_question("hits", site=everything, dimensions=["site"])).rows
    assert {row.dimension_values[0]: row.cells[0].int64_value for row in rows} == {SITE: 1, blog: 2}
    assert mesh.reporter.GetFreshness(reporter_pb2.GetFreshnessRequest(site=everything)).data_version == "s2.p10"


def test_sites_of_several_currencies_add_up_no_money(mesh: Mesh) -> None:
    mesh.stores.directory.create_site(a_site("merchants/demo/sites/eu", "Europe/Berlin", "EUR"))
    question = a_question("gross_revenue", site="merchants/demo/sites/-")
    found = refusal(lambda: mesh.reporter.RunReport(question))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MIXED_CURRENCIES")
    assert "EUR, USD" in found.message
    counted = mesh.reporter.RunReport(a_question("hits", site="merchants/demo/sites/-"))
    assert counted.meta.time_zone == "UTC"
    assert "2 time zones" in counted.meta.warnings[0]


def test_an_unknown_site_is_not_found_and_a_malformed_name_is_invalid(mesh: Mesh) -> None:
    found = refusal(lambda: mesh.reporter.RunReport(a_question(site="merchants/demo/sites/none")))
    assert (found.code, found.reason, found.field) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "site")
    assert found.message.startswith("site 'merchants/demo/sites/none' does not exist or is not yours: check the name")
    found = refusal(lambda: mesh.reporter.RunReport(a_question(site="demo")))
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (
        refusal(lambda: mesh.reporter.RunReport(a_question(site="merchants/none/sites/-"))).code
        is grpc.StatusCode.NOT_FOUND
    )


def test_a_bad_question_names_field_reason_and_remedy(mesh: Mesh) -> None:
    found = refusal(lambda: mesh.reporter.RunReport(a_question("vists")))
    assert (found.code, found.reason, found.field) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "UNKNOWN_METRIC",
        "metrics[0]",
    )
    assert "did you mean visits" in found.message


def test_freshness_follows_what_waits_to_be_settled(mesh: Mesh) -> None:
    some_rows(mesh)
    before = mesh.reporter.GetFreshness(reporter_pb2.GetFreshnessRequest(site=SITE))
    assert before.dirty_days == 0
    (partition,) = before.partitions
    assert partition.next_offset == 10
    position = Position(partition.log, partition.partition, 4)
    mesh.stores.dirty.mark([DirtyMark(SiteDay(SITE, MIDNIGHT // DAY), position, NOW - 16 * 60_000)])
    after = mesh.reporter.GetFreshness(reporter_pb2.GetFreshnessRequest(site=SITE))
    assert (after.dirty_days, after.resettling_days) == (1, 0)
    assert after.partitions[0].next_offset == 4
    assert after.freshness.state == reporter_pb2.FRESHNESS_STATE_DELAYED
    assert list(after.freshness.stalled_partitions) == [f"{partition.log}/{partition.partition}"]
    assert after.freshness.provisional_from.ToMilliseconds() == MIDNIGHT


def test_the_catalogue_is_listed_and_every_listed_pair_can_be_queried(mesh: Mesh) -> None:
    some_rows(mesh)
    metrics = mesh.reporter.ListMetrics(reporter_pb2.ListMetricsRequest()).metrics
    dimensions = [
        dimension.id for dimension in mesh.reporter.ListDimensions(reporter_pb2.ListDimensionsRequest()).dimensions
    ]
    assert [metric.id for metric in metrics] == list(METRICS)
    for metric in metrics:
        for dimension in dimensions:
            question = a_question(metric.id, dimensions=[dimension])
            if dimension in metric.dimensions:
                mesh.reporter.RunReport(question)
            else:
                assert refusal(lambda: mesh.reporter.RunReport(question)).field == "dimensions[0]"  # noqa: B023 called at once


def test_explain_answers_to_the_same_callers_as_the_report(closed: Mesh) -> None:
    request = reporter_pb2.ExplainReportRequest(report=a_question("hits"))
    explained = closed.reporter.ExplainReport(request, metadata=bearer(OWNER))
    assert (explained.path, explained.store) == (reporter_pb2.SERVING_PATH_SERIES, reporter_pb2.STORE_MEMORY)
    assert refusal(lambda: closed.reporter.ExplainReport(request, metadata=bearer(RIVAL))) == refusal(
        lambda: closed.reporter.RunReport(request.report, metadata=bearer(RIVAL))
    )
    beside = reporter_pb2.ExplainReportRequest(site=SITE, report=a_question("hits", site=""))
    assert closed.reporter.ExplainReport(beside, metadata=bearer(OWNER)) == explained
    beside.report.site = a_site("merchants/demo/sites/other").name
    assert refusal(lambda: closed.reporter.ExplainReport(beside, metadata=bearer(OWNER))).field == "site"
    wrong = reporter_pb2.ExplainReportRequest(report=a_question("visit"))
    assert refusal(lambda: closed.reporter.ExplainReport(wrong, metadata=bearer(OWNER))).reason == "UNKNOWN_METRIC"


def test_totals_come_from_the_series_and_the_rest_from_the_metrics(mesh: Mesh) -> None:
    some_rows(mesh)
    totals, by_channel = (mesh.reporter.RunReport(a_question(dimensions=names)) for names in ([], ["channel"]))
    assert totals.meta.path == reporter_pb2.SERVING_PATH_SERIES
    assert by_channel.meta.path == reporter_pb2.SERVING_PATH_METRICS
    assert totals.meta.data_version == by_channel.meta.data_version
    added = [sum(row.cells[place].int64_value for row in by_channel.rows) for place in (0, 1)]
    assert added == [cell.int64_value for cell in totals.rows[0].cells]
    stores = mesh.reporter.GetFreshness(reporter_pb2.GetFreshnessRequest(site=SITE)).stores
    assert [(store.path, store.answers) for store in stores] == [
        (reporter_pb2.SERVING_PATH_SERIES, True),
        (reporter_pb2.SERVING_PATH_METRICS, True),
    ]
