"""Test the export of reports as files over gRPC, on in-memory stores."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import grpc
import pytest

from hitmesh.api.reporter.v1 import export_pb2, export_pb2_grpc, reporter_pb2
from tests.support.pieces import joined
from tests.support.reporters import Mesh, a_question, last_days, refusal, some_rows, start
from tests.support.settled_rows import SITE, traffic


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=True)


# By default, a client's window grows with the bandwidth, so that a small export fits into the window.
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))


def running(**limits: int) -> Iterator[Mesh]:
    """Yield a reporter with the given limits instead of the production limits."""
    return start(open_reads=True, limits=limits)


def a_file(**fields: object) -> export_pb2.ExportReportRequest:
    filled: dict[str, object] = {"site": SITE, "metrics": ["hits,visits"], "last": "3d"} | fields
    return export_pb2.ExportReportRequest(**filled)  # type: ignore[arg-type]  # protobuf checks the fields


def export(mesh: Mesh, **fields: object) -> tuple[str, str]:
    body = joined(mesh.exports.ExportReport(a_file(**fields)))
    return body.content_type, body.data.decode()


def without_query_id(file: bytes) -> bytes:
    return re.sub(rb'"query_id":"[^"]*"', b"", file)


def test_an_export_is_csv_by_default(mesh: Mesh) -> None:
    some_rows(mesh)
    content_type, text = export(mesh, time_grain="day", order_by=["-time"])
    assert content_type == "text/csv; charset=utf-8"
    assert text.splitlines() == [
        "time,hits,visits",
        "2015-05-19T00:00:00+00:00,0,0",
        "2015-05-18T00:00:00+00:00,1,1",
        "2015-05-17T00:00:00+00:00,5,2",
    ]


def test_an_export_filters_by_text_between_dates_of_a_zone(mesh: Mesh) -> None:
    some_rows(mesh)
    fields = {"last": "", "first_date": "2015-05-16", "last_date": "2015-05-17", "time_zone": "America/New_York"}
    _, text = export(mesh, metrics=["hits", "visits"], dimensions=["channel"], filter="channel in(email,x)", **fields)
    assert text == "channel,hits,visits\r\nemail,5,2\r\n"


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


def test_answers_have_complete_through_in_their_metadata(mesh: Mesh) -> None:
    _, call = mesh.reporter.RunReport.with_call(a_question())
    expected = ("x-hitmesh-complete-through", "2015-05-18T23:59:59.000Z")
    assert expected in [tuple(pair) for pair in call.initial_metadata()]
    request = export_pb2.ExportReportRequest(site=SITE, metrics=["hits"], last="1d")
    call = mesh.exports.ExportReport(request)
    assert expected in [tuple(pair) for pair in call.initial_metadata()]


def many_pages(mesh: Mesh, pages: int) -> None:
    mesh.settle([traffic(hits=1, page_path=f"/{page}") for page in range(pages)], [])


@pytest.mark.parametrize("form", ["csv", "ndjson", "json"])
def test_an_export_without_a_limit_has_every_row(mesh: Mesh, form: str) -> None:
    many_pages(mesh, 150)
    _, text = export(mesh, metrics=["hits"], dimensions=["page_path"], time_grain="hour", format=form)
    assert text.count("/") == 150 * 72


def test_an_export_that_would_be_cut_is_refused_and_a_limit_cuts_it_with_a_warning(mesh: Mesh) -> None:
    many_pages(mesh, 1_400)
    fields = {"site": SITE, "metrics": ["hits"], "dimensions": ["page_path"], "time_grain": "hour", "last": "3d"}
    request = export_pb2.ExportReportRequest(**fields)  # type: ignore[arg-type]  # protobuf checks the fields
    for form in ("csv", "ndjson"):
        request.format = form
        found = refusal(lambda: joined(mesh.exports.ExportReport(request)))
        assert (found.code, found.reason, found.field) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "TOO_MANY_ROWS",
            "gap_fill",
        )
        assert (
            "100,800 rows; the limit is 100,000: use gap_fill none, a coarser grain, a shorter range or a filter"
            in found.message
        )
    request.limit = 5
    call = mesh.exports.ExportReport(request)
    assert joined(call).data.count(b"\n") == 5
    warnings = [text for name, text in call.initial_metadata() if name == "x-hitmesh-warning"]
    assert warnings == [
        "empty buckets are left out: filling all buckets needs 100,800 rows; the limit is 100,000",
        "5 of 1,400 rows are shown: raise limit, or narrow the question",
    ]


@pytest.mark.parametrize(
    "form", ["csv", pytest.param("ndjson", marks=pytest.mark.long), pytest.param("json", marks=pytest.mark.long)]
)
def test_an_export_of_more_rows_than_a_file_holds_names_number_rule_and_remedy(mesh: Mesh, form: str) -> None:
    many_pages(mesh, 100_001)
    found = refusal(lambda: export(mesh, metrics=["hits"], dimensions=["page_path"], format=form))
    assert (found.code, found.reason, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_ROWS", "limit")
    assert found.message == (
        "the report has 100,001 rows; a file without a limit holds at most 100,000: set a limit, or ask for a "
        "shorter range, a coarser grain or fewer dimensions"
    )


def test_an_unknown_grain_is_refused_with_the_list_of_grains(mesh: Mesh) -> None:
    found = refusal(lambda: export(mesh, metrics=["hits"], time_grain="minute"))
    assert found.message == "unknown time_grain 'minute': use one of none, hour, day, week, month"


def test_the_metadata_of_an_export_lists_the_cut_buckets(mesh: Mesh) -> None:
    request = export_pb2.ExportReportRequest(
        site=SITE, metrics=["hits"], first_date="2026-02-24", last_date="2026-03-08", time_zone="UTC"
    )

    def cut(grain: str) -> list[str | bytes]:
        request.time_grain = grain
        call = mesh.exports.ExportReport(request)
        joined(call)
        return [text for name, text in call.initial_metadata() if name == "x-hitmesh-partial"]

    assert cut("week") == ["2026-02-24T00:00:00+00:00"]
    assert cut("month") == ["2026-02-24T00:00:00+00:00,2026-03-01T00:00:00+00:00"]
    assert cut("day") == cut("none") == []


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"format": "xlsx"}, "UNKNOWN_FORMAT", "format"),
        ({"time_grain": "dya"}, "UNKNOWN_GRAIN", "time_grain"),
        ({"gap_fill": "x"}, "UNKNOWN_GAP_FILL", "gap_fill"),
        ({"filter": "channel"}, "INVALID_FILTER", "filter"),
        ({"time_zone": "Mars/Base"}, "UNKNOWN_TIME_ZONE", "time_zone"),
        ({"last": "7x"}, "INVALID_TIME_RANGE", "last"),
        ({"last": ""}, "INVALID_TIME_RANGE", "first_date"),
        ({"first_date": "2015-05-17"}, "INVALID_TIME_RANGE", "last"),
        ({"limit": -1}, "INVALID_FIELD", "limit"),
        ({"limit": 0}, "INVALID_FIELD", "limit"),
        ({"last": "", "first_date": "17.5.2015"}, "INVALID_TIME_RANGE", "first_date"),
        ({"last": "", "first_date": "2015-05-17", "last_date": "2015-02-30"}, "INVALID_TIME_RANGE", "last_date"),
    ],
)
def test_a_bad_export_names_its_field(mesh: Mesh, fields: dict[str, object], reason: str, field: str) -> None:
    found = refusal(lambda: export(mesh, **fields))
    assert (found.code, found.reason, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)


LONG_PATH = "/" + "x" * 1_900
# The export has hourly rows over 100 days. The export has 2,400 rows with the long path, 4.6 MB in total.
BEYOND_4_MIB: dict[str, object] = {
    "metrics": ["hits"],
    "dimensions": ["page_path"],
    "time_grain": "hour",
    "last": "100d",
    "format": "ndjson",
}


def test_a_file_beyond_4_mib_comes_in_pieces_that_every_client_can_read(mesh: Mesh) -> None:
    mesh.settle([traffic(hits=1, page_path=LONG_PATH)], [])
    pieces = list(mesh.exports.ExportReport(a_file(**BEYOND_4_MIB)))
    assert sum(len(piece.data) for piece in pieces) > 4 << 20
    assert {len(piece.data) for piece in pieces[:-1]} == {1 << 20}
    rows = [json.loads(line) for line in joined(pieces).data.splitlines()]
    assert len(rows) == 2_400
    assert sum(row["hits"] for row in rows) == 1


@pytest.mark.parametrize("form", ["csv", "ndjson", "json"])
def test_pieces_of_any_size_are_the_same_file(mesh: Mesh, form: str) -> None:
    some_rows(mesh)
    request = a_file(dimensions=["channel"], format=form)
    (whole,) = mesh.exports.ExportReport(request)
    for small in running(piece_bytes=3):
        some_rows(small)
        pieces = list(small.exports.ExportReport(request))
        assert [len(piece.data) for piece in pieces[:-1]] == [3] * (len(whole.data) // 3 - (len(whole.data) % 3 == 0))
        assert without_query_id(joined(pieces).data) == without_query_id(whole.data)
        assert {piece.content_type for piece in pieces} == {whole.content_type}


def test_an_empty_file_is_one_piece_with_its_content_type(mesh: Mesh) -> None:
    (piece,) = mesh.exports.ExportReport(a_file(dimensions=["channel"], format="ndjson"))
    assert (piece.content_type, piece.data) == ("application/x-ndjson", b"")


def test_a_slow_reader_of_a_file_holds_no_thread_of_reports() -> None:
    for mesh in running(export_workers=1, max_exports=1):
        mesh.settle([traffic(hits=1, page_path=LONG_PATH)], [])
        with grpc.insecure_channel(f"127.0.0.1:{mesh.port}", options=SMALL_WINDOW) as channel:
            slow = export_pb2_grpc.ExportServiceStub(channel).ExportReport(a_file(**BEYOND_4_MIB))
            next(slow)
            found = refusal(lambda: joined(mesh.exports.ExportReport(a_file())))  # noqa: B023 called at once
            assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
            assert mesh.reporter.RunReport(a_question("hits")).rows[0].cells[0].int64_value == 1
            slow.cancel()


def test_a_report_beyond_3_mib_is_refused_and_names_the_limit_and_the_remedy(mesh: Mesh) -> None:
    mesh.settle([traffic(hits=1, page_path=LONG_PATH)], [])
    hours = {"time_grain": reporter_pb2.TIME_GRAIN_HOUR, "dimensions": ["page_path"]}
    found = refusal(lambda: mesh.reporter.RunReport(a_question("hits", time_range=last_days(100), **hours)))
    assert (found.code, found.reason, found.field) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "ANSWER_TOO_LARGE",
        "limit",
    )
    assert found.message == (
        "the answer has 2,400 rows; about 1,000 fit into 3,145,728 bytes, the limit of a message: set a smaller limit, "
        "or ask for fewer metrics, a shorter range or a coarser grain"
    )
    assert len(mesh.reporter.RunReport(a_question("hits", time_range=last_days(60), **hours)).rows) == 1_440


def test_the_limit_of_a_report_is_a_setting() -> None:
    for mesh in running(answer_bytes=1_000):
        many_pages(mesh, 100)
        question = a_question("hits", dimensions=["page_path"])
        assert refusal(lambda: mesh.reporter.RunReport(question)).reason == "ANSWER_TOO_LARGE"  # noqa: B023 called at once
        question.limit = 5
        assert len(mesh.reporter.RunReport(question).rows) == 5
