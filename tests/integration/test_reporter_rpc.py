"""The reporter's services over gRPC, on the memory stores: answers, errors, tenant boundaries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import grpc
import pytest

from hitmesh.admin.v1 import admin_pb2
from hitmesh.ports import DirtyMark, Position, SiteDay
from hitmesh.reporter.v1 import export_pb2, reporter_pb2
from reporter.catalogue import METRICS
from tests.integration.reporters import NOW, OWNER, RIVAL, Mesh, a_question, a_site, bearer, refusal, start
from tests.settled_rows import DAY, MIDNIGHT, SITE, sketch_of, traffic, visits


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=True)


@pytest.fixture
def closed() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def some_rows(mesh: Mesh) -> None:
    mesh.settle(
        [
            traffic(hits=5, pageviews=4, channel="email", visitors=sketch_of(1, 2)),
            traffic(orders=2, gross_revenue=30_500_000, refunds=500_000, currency="USD"),
            traffic(gross_revenue=1_000_000, currency="EUR"),
            traffic(excluded_hits=3, bot_hits=3),
            traffic(hits=3, excluded=True),
            traffic(MIDNIGHT + DAY, hits=1, visitors=sketch_of(2)),
        ],
        [visits(visits=2, bounces=1, visit_duration_total=61_500, channel="email"), visits(MIDNIGHT + DAY, visits=1)],
    )


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


def test_the_meta_says_how_fresh_how_exact_and_what_was_understood(mesh: Mesh) -> None:
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
    assert meta.tzdb_version
    assert meta.filter == r"channel!=a\,b"
    assert list(meta.missing_currencies) == ["EUR"]
    assert meta.excluded_hits == 3
    assert meta.served_by == reporter_pb2.STORE_MEMORY
    assert meta.query_id
    assert meta.cost.rows > 0
    assert meta.request.limit == 10_000
    assert meta.request.time_range.dates.until.day == 19
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


def test_an_unknown_site_and_a_wrong_name_are_told_apart(mesh: Mesh) -> None:
    found = refusal(lambda: mesh.reporter.RunReport(a_question(site="merchants/demo/sites/none")))
    assert (found.code, found.reason, found.field) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "site")
    assert found.message == "site 'merchants/demo/sites/none' does not exist or is not yours"
    found = refusal(lambda: mesh.reporter.RunReport(a_question(site="demo")))
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (
        refusal(lambda: mesh.reporter.RunReport(a_question(site="merchants/none/sites/-"))).code
        is grpc.StatusCode.NOT_FOUND
    )


def test_a_bad_question_names_field_reason_and_cure(mesh: Mesh) -> None:
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


def test_the_catalogue_is_listed_and_every_listed_pair_can_be_asked(mesh: Mesh) -> None:
    some_rows(mesh)
    metrics = mesh.reporter.ListMetrics(reporter_pb2.ListMetricsRequest()).metrics
    dimensions = [one.id for one in mesh.reporter.ListDimensions(reporter_pb2.ListDimensionsRequest()).dimensions]
    assert [metric.id for metric in metrics] == list(METRICS)
    for metric in metrics:
        for dimension in dimensions:
            question = a_question(metric.id, dimensions=[dimension])
            if dimension in metric.dimensions:
                mesh.reporter.RunReport(question)
            else:
                assert refusal(lambda: mesh.reporter.RunReport(question)).field == "dimensions[0]"  # noqa: B023 called at once


def export(mesh: Mesh, **fields: object) -> tuple[str, str]:
    filled: dict[str, object] = {"site": SITE, "metrics": ["hits,visits"], "last": "3d"} | fields
    request = export_pb2.ExportReportRequest(**filled)  # type: ignore[arg-type]  # protobuf checks the fields
    body = mesh.exports.ExportReport(request)
    return body.content_type, body.data.decode()


def test_an_export_is_csv_by_default(mesh: Mesh) -> None:
    some_rows(mesh)
    content_type, text = export(mesh, grain="day", order_by=["-time"])
    assert content_type == "text/csv; charset=utf-8"
    assert text.splitlines() == [
        "time,hits,visits",
        "2015-05-19T00:00:00+00:00,0,0",
        "2015-05-18T00:00:00+00:00,1,1",
        "2015-05-17T00:00:00+00:00,5,2",
    ]


def test_an_export_filters_by_text_between_dates_of_a_zone(mesh: Mesh) -> None:
    some_rows(mesh)
    fields = {"last": "", "since": "2015-05-16", "until": "2015-05-17", "tz": "America/New_York"}
    _, text = export(mesh, metrics=["hits", "visits"], dimensions=["channel"], filter="channel in(email,x)", **fields)
    assert text == "channel,hits,visits\nemail,5,2\n"


def test_an_export_as_json_has_rows_totals_and_meta(mesh: Mesh) -> None:
    some_rows(mesh)
    content_type, text = export(mesh, format="json", include_totals=True, metrics=["hits", "gross_revenue"])
    document = json.loads(text)
    assert content_type == "application/json"
    assert document["rows"] == [{"hits": 6, "gross_revenue": 30.5}]
    assert document["totals"] == document["rows"][0]
    meta = document["meta"]
    assert meta["complete_through"] == "2015-05-18T23:59:59.000Z"
    assert (meta["state"], meta["data_version"], meta["excluded_hits"]) == ("LIVE", "s2.p10", 3)
    assert meta["exactness"] == {"hits": "EXACT", "gross_revenue": "PARTIAL"}
    assert meta["served_by"] == "memory"


def test_answers_say_in_their_metadata_how_far_they_reach(mesh: Mesh) -> None:
    _, call = mesh.reporter.RunReport.with_call(a_question())
    expected = ("x-hitmesh-complete-through", "2015-05-18T23:59:59.000Z")
    assert expected in [tuple(pair) for pair in call.initial_metadata()]
    request = export_pb2.ExportReportRequest(site=SITE, metrics=["hits"], last="1d")
    _, call = mesh.exports.ExportReport.with_call(request)
    assert expected in [tuple(pair) for pair in call.initial_metadata()]


def many_pages(mesh: Mesh, pages: int) -> None:
    mesh.settle([traffic(hits=1, page_path=f"/{page}") for page in range(pages)], [])


@pytest.mark.parametrize("form", ["csv", "ndjson", "json"])
def test_an_export_without_a_limit_has_every_row(mesh: Mesh, form: str) -> None:
    many_pages(mesh, 150)
    _, text = export(mesh, metrics=["hits"], dimensions=["page_path"], grain="hour", format=form)
    assert text.count("/") == 150 * 72


def test_an_export_that_would_be_cut_is_refused_and_a_limit_cuts_it_with_a_warning(mesh: Mesh) -> None:
    many_pages(mesh, 1_400)
    fields = {"site": SITE, "metrics": ["hits"], "dimensions": ["page_path"], "grain": "hour", "last": "3d"}
    request = export_pb2.ExportReportRequest(**fields)  # type: ignore[arg-type]  # protobuf checks the fields
    for form in ("csv", "ndjson"):
        request.format = form
        found = refusal(lambda: mesh.exports.ExportReport(request))
        assert (found.code, found.reason, found.field) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "TOO_MANY_ROWS",
            "gap_fill",
        )
        assert (
            "100,800 rows, beyond 100,000: use gap_fill NONE, a coarser grain, a shorter range or a filter"
            in found.message
        )
    request.limit = 5
    body, call = mesh.exports.ExportReport.with_call(request)
    assert body.data.count(b"\n") == 5
    warnings = [text for name, text in call.initial_metadata() if name == "x-hitmesh-warning"]
    assert warnings == [
        "empty buckets are left out: every bucket of every value is 100,800 rows, beyond 100,000",
        "5 of 1,400 rows are shown: raise limit, or narrow the question",
    ]


@pytest.mark.parametrize("form", ["csv", "ndjson", "json"])
def test_an_export_of_more_rows_than_a_file_has_names_number_rule_and_cure(mesh: Mesh, form: str) -> None:
    many_pages(mesh, 100_001)
    found = refusal(lambda: export(mesh, metrics=["hits"], dimensions=["page_path"], format=form))
    assert (found.code, found.reason, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_ROWS", "limit")
    assert found.message == (
        "the report has 100,001 rows; a file has all of them, at most 100,000: write a limit, or ask for a shorter "
        "range, a coarser grain or fewer dimensions"
    )


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"format": "xlsx"}, "UNKNOWN_FORMAT", "format"),
        ({"grain": "dya"}, "UNKNOWN_GRAIN", "grain"),
        ({"gap_fill": "x"}, "UNKNOWN_GAP_FILL", "gap_fill"),
        ({"filter": "channel"}, "INVALID_FILTER", "filter"),
        ({"tz": "Mars/Base"}, "UNKNOWN_TIME_ZONE", "time_zone"),
        ({"last": "7x"}, "INVALID_TIME_RANGE", "last"),
        ({"last": ""}, "INVALID_TIME_RANGE", "since"),
        ({"since": "2015-05-17"}, "INVALID_TIME_RANGE", "last"),
        ({"limit": -1}, "INVALID_FIELD", "limit"),
        ({"last": "", "since": "17.5.2015"}, "INVALID_TIME_RANGE", "since"),
        ({"last": "", "since": "2015-05-17", "until": "2015-02-30"}, "INVALID_TIME_RANGE", "until"),
    ],
)
def test_a_bad_export_names_its_field(mesh: Mesh, fields: dict[str, object], reason: str, field: str) -> None:
    found = refusal(lambda: export(mesh, **fields))
    assert (found.code, found.reason, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)


def create_site(mesh: Mesh, secret: str | None, parent: str = "merchants/demo", **site: object) -> admin_pb2.Site:
    request = admin_pb2.CreateSiteRequest(
        parent=parent,
        site_id="new",
        site=admin_pb2.Site(**site),  # type: ignore[arg-type]  # protobuf checks the fields
    )
    return mesh.admin.CreateSite(request, metadata=bearer(secret) if secret else None).site


def test_a_site_is_created_with_defaults_and_again_is_the_same(mesh: Mesh) -> None:
    site = create_site(mesh, OWNER)
    assert (site.name, site.time_zone, site.currency, site.spread) == ("merchants/demo/sites/new", "UTC", "USD", 1)
    assert site.create_time.ToMilliseconds() == NOW
    assert create_site(mesh, OWNER) == site
    assert mesh.admin.GetSite(admin_pb2.GetSiteRequest(name=site.name)).site == site
    found = refusal(lambda: create_site(mesh, OWNER, currency="EUR"))
    assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")


def test_a_policy_is_named_by_what_differs(mesh: Mesh) -> None:
    create_site(mesh, OWNER, visit_policy=admin_pb2.VisitPolicy(split_at_local_midnight=True))
    stored = mesh.stores.directory.site("merchants/demo/sites/new")
    assert stored is not None
    assert (stored.policy.version, stored.policy.split_at_local_midnight) == ("v1-midnight", True)
    assert len(stored.secret) >= 32


@pytest.mark.parametrize(
    ("site", "field"),
    [
        ({"time_zone": "Berlin"}, "site.time_zone"),
        ({"currency": "usd"}, "site.currency"),
        ({"spread": 65}, "site.spread"),
    ],
)
def test_a_bad_site_names_its_field(mesh: Mesh, site: dict[str, object], field: str) -> None:
    found = refusal(lambda: create_site(mesh, OWNER, "merchants/demo", **site))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_a_key_is_created_used_and_revoked(mesh: Mesh) -> None:
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/demo", kind=admin_pb2.KEY_KIND_SERVER, unbounded_history=True
    )
    created = mesh.admin.CreateIngestKey(request, metadata=bearer(OWNER))
    assert created.secret
    assert created.secret not in str(created.key)
    create_site(mesh, created.secret)
    revoke = admin_pb2.RevokeIngestKeyRequest(name=created.key.name)
    revoked = mesh.admin.RevokeIngestKey(revoke, metadata=bearer(OWNER)).key
    assert revoked.revoke_time.ToMilliseconds() == NOW
    mesh.clock.advance(5_000)
    assert mesh.admin.RevokeIngestKey(revoke, metadata=bearer(OWNER)).key == revoked
    found = refusal(lambda: create_site(mesh, created.secret))
    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_REVOKED")


def create_key(mesh: Mesh, secret: str | None, **fields: object) -> admin_pb2.CreateIngestKeyResponse:
    filled: dict[str, object] = {"parent": "merchants/demo", "kind": admin_pb2.KEY_KIND_BROWSER, "site": SITE} | fields
    request = admin_pb2.CreateIngestKeyRequest(**filled)  # type: ignore[arg-type]  # protobuf checks the fields
    return mesh.admin.CreateIngestKey(request, metadata=bearer(secret) if secret else None)


def test_no_key_an_unknown_one_and_a_rivals_change_nothing(mesh: Mesh) -> None:
    for secret, code, reason in (
        (None, grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_KEY"),
        ("guess", grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_KEY"),
        (RIVAL, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
        (create_key(mesh, OWNER).secret, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
        (create_key(mesh, OWNER, kind=admin_pb2.KEY_KIND_EDGE).secret, grpc.StatusCode.PERMISSION_DENIED, ""),
        (create_key(mesh, OWNER, kind=admin_pb2.KEY_KIND_SERVER).secret, grpc.StatusCode.PERMISSION_DENIED, ""),
    ):
        revoke = admin_pb2.RevokeIngestKeyRequest(name="merchants/demo/ingestKeys/demo-1")
        metadata = bearer(secret) if secret else None
        for found in (
            refusal(lambda: create_site(mesh, secret)),  # noqa: B023 called at once
            refusal(lambda: create_key(mesh, secret)),  # noqa: B023 called at once
            refusal(lambda: mesh.admin.RevokeIngestKey(revoke, metadata=metadata)),  # noqa: B023 called at once
        ):
            assert found.code is code
            assert found.reason == (reason or "PERMISSION_DENIED")
    assert mesh.stores.directory.site("merchants/demo/sites/new") is None
    owner = mesh.stores.directory.key(OWNER)
    assert owner is not None
    assert owner.revoked_at is None


def test_a_key_for_a_rivals_site_is_not_found_as_one_for_none(mesh: Mesh) -> None:
    for site in ("merchants/rival/sites/shop", "merchants/rival/sites/none", "merchants/demo/sites/none"):
        found = refusal(lambda: create_key(mesh, OWNER, site=site))  # noqa: B023 called at once
        assert (found.code, found.field) == (grpc.StatusCode.NOT_FOUND, "site")
        assert found.message == f"site {site!r} does not exist or is not yours"


def test_a_key_of_another_merchant_is_not_found_under_ones_own(mesh: Mesh) -> None:
    revoke = admin_pb2.RevokeIngestKeyRequest(name="merchants/demo/ingestKeys/rival-1")
    found = refusal(lambda: mesh.admin.RevokeIngestKey(revoke, metadata=bearer(OWNER)))
    assert found.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": admin_pb2.KEY_KIND_UNSPECIFIED}, "kind"),
        ({"site": ""}, "site"),
        ({"parent": "demo"}, "parent"),
    ],
)
def test_a_bad_key_names_its_field(mesh: Mesh, fields: dict[str, object], field: str) -> None:
    found = refusal(lambda: create_key(mesh, OWNER, **fields))
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def reads(mesh: Mesh, site: str, secret: str | None) -> list[Callable[[], object]]:
    """Returns every read that names a site."""
    metadata = bearer(secret) if secret else None
    exported = export_pb2.ExportReportRequest(site=site, metrics=["hits"], last="1d")
    listed = admin_pb2.ListSitesRequest(parent=site.split("/sites/")[0])
    return [
        lambda: mesh.reporter.RunReport(a_question(site=site), metadata=metadata),
        lambda: mesh.reporter.RunReport(a_question(site=site.rsplit("/", 1)[0] + "/-"), metadata=metadata),
        lambda: mesh.exports.ExportReport(exported, metadata=metadata),
        lambda: mesh.reporter.GetFreshness(reporter_pb2.GetFreshnessRequest(site=site), metadata=metadata),
        lambda: mesh.admin.GetSite(admin_pb2.GetSiteRequest(name=site), metadata=metadata),
        lambda: mesh.admin.ListSites(listed, metadata=metadata),
    ]


def test_closed_reads_need_a_server_key_of_the_merchant(closed: Mesh) -> None:
    for call in reads(closed, SITE, OWNER):
        call()
    for call in reads(closed, SITE, RIVAL):
        assert refusal(call).code is grpc.StatusCode.NOT_FOUND
    for call in reads(closed, SITE, None):
        assert refusal(call).code is grpc.StatusCode.UNAUTHENTICATED
    for call in reads(closed, SITE, create_key(closed, OWNER).secret):
        assert refusal(call).code is grpc.StatusCode.NOT_FOUND


def test_a_rivals_site_and_no_site_are_the_same_words(closed: Mesh) -> None:
    messages = {
        refusal(call).message.replace(name, "NAME")
        for name in ("merchants/rival/sites/shop", "merchants/rival/sites/none")
        for call in (reads(closed, name, OWNER)[0], reads(closed, name, OWNER)[3], reads(closed, name, OWNER)[4])
    }
    assert messages == {"site 'NAME' does not exist or is not yours"}


def test_a_key_for_one_site_reads_no_other(closed: Mesh) -> None:
    closed.stores.directory.create_site(a_site("merchants/demo/sites/blog"))
    secret = create_key(closed, OWNER, kind=admin_pb2.KEY_KIND_SERVER).secret
    closed.reporter.RunReport(a_question(), metadata=bearer(secret))
    other = a_question(site="merchants/demo/sites/blog")
    assert refusal(lambda: closed.reporter.RunReport(other, metadata=bearer(secret))).code is grpc.StatusCode.NOT_FOUND
    listed = closed.admin.ListSites(admin_pb2.ListSitesRequest(parent="merchants/-"), metadata=bearer(secret))
    assert [site.name for site in listed.sites] == [SITE]


def test_sites_are_listed_by_name_in_pages(mesh: Mesh) -> None:
    for name in ("a", "b", "c"):
        mesh.stores.directory.create_site(a_site(f"merchants/demo/sites/{name}"))
    found: list[str] = []
    token = ""
    while True:
        request = admin_pb2.ListSitesRequest(parent="merchants/demo", page_size=2, page_token=token)
        page = mesh.admin.ListSites(request)
        found += [site.name.rsplit("/", 1)[1] for site in page.sites]
        token = page.next_page_token
        if not token:
            break
    assert found == ["a", "b", "c", "shop"]
    everyone = mesh.admin.ListSites(admin_pb2.ListSitesRequest(parent="merchants/-", page_size=5_000)).sites
    assert len(everyone) == 5


def test_a_page_token_of_another_list_is_refused(mesh: Mesh) -> None:
    mesh.stores.directory.create_site(a_site("merchants/demo/sites/a"))
    token = mesh.admin.ListSites(admin_pb2.ListSitesRequest(parent="merchants/demo", page_size=1)).next_page_token
    for bad in (token, "???", "AAAA"):
        request = admin_pb2.ListSitesRequest(parent="merchants/rival", page_token=bad)
        assert refusal(lambda: mesh.admin.ListSites(request)).reason == "PAGE_TOKEN_MISMATCH"  # noqa: B023 called at once
    negative = admin_pb2.ListSitesRequest(parent="merchants/demo", page_size=-1)
    assert refusal(lambda: mesh.admin.ListSites(negative)).field == "page_size"


def test_the_owners_list_of_all_is_their_own(closed: Mesh) -> None:
    listed = closed.admin.ListSites(admin_pb2.ListSitesRequest(parent="merchants/-"), metadata=bearer(OWNER))
    assert [site.name for site in listed.sites] == [SITE]


def test_explain_answers_to_the_same_callers_as_the_report(closed: Mesh) -> None:
    asked = reporter_pb2.ExplainReportRequest(report=a_question("hits"))
    explained = closed.reporter.ExplainReport(asked, metadata=bearer(OWNER))
    assert (explained.path, explained.store) == (reporter_pb2.SERVING_PATH_SERIES, reporter_pb2.STORE_MEMORY)
    assert refusal(lambda: closed.reporter.ExplainReport(asked, metadata=bearer(RIVAL))) == refusal(
        lambda: closed.reporter.RunReport(asked.report, metadata=bearer(RIVAL))
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
    assert [(one.path, one.answers) for one in stores] == [
        (reporter_pb2.SERVING_PATH_SERIES, True),
        (reporter_pb2.SERVING_PATH_METRICS, True),
    ]
