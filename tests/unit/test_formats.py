"""Test exported files: header, time, plain numbers, digits of currencies, empty ratios, and quoting."""

from __future__ import annotations

import csv
import io
import json

import pytest

from hitmesh.model.cells import Grain
from reporter.answer.formats import Format, ratio_text, seconds_text, to_csv, to_file
from reporter.answer.series import Series
from reporter.question.question import GapFill
from tests.support.settled_rows import DAY, MIDNIGHT, RowsStore, a_question, ask, sketch_of, traffic, visits


def a_series() -> Series:
    store = RowsStore(
        [traffic(hits=3, gross_revenue=59_442_630_000, orders=214, currency="USD", visitors=sketch_of(1, 2))],
        [visits(visits=399, bounces=287, visit_duration_total=3_320_000)],
    )
    metrics = "hits,visitors,bounce_rate,visit_duration_total,visit_duration_avg,gross_revenue,average_order_value"
    return ask(store, a_question(metrics, grain=Grain.DAY, zone="Asia/Kathmandu", until="2015-05-18"))


def test_csv_has_header_local_time_plain_numbers_zeros_and_empty_ratios() -> None:
    assert to_csv(a_series(), "USD").decode() == (
        "time,hits,visitors,bounce_rate,visit_duration_total,visit_duration_avg,gross_revenue,average_order_value\r\n"
        "2015-05-17T00:00:00+05:45,3,2,0.719298,3320,8.320802,59442.63,277.77\r\n"
        "2015-05-18T00:00:00+05:45,0,0,,0,,0.00,\r\n"
    )


def test_csv_without_grain_has_no_time_and_dimensions_before_metrics() -> None:
    store = RowsStore([traffic(hits=2, page_path="/a", hostname="h")], [])
    rows = ask(store, a_question("hits", dimensions="hostname,page_path"))
    assert to_csv(rows, "USD") == b"hostname,page_path,hits\r\nh,/a,2\r\n"


def test_csv_values_come_back_through_a_csv_reader() -> None:
    values = ['a"b', "back\\", "new\nline", "cr\rhere", "a,b", "\u05e9\u05dc\u05d5\u05dd", "🛒", "1=1", " x ", "'"]
    store = RowsStore([traffic(hits=1, page_path=value) for value in values], [])
    text = to_csv(ask(store, a_question("hits", dimensions="page_path")), "USD").decode()
    found = [row[0] for row in csv.reader(io.StringIO(text, newline=""))]
    assert found[0] == "page_path"
    assert sorted(found[1:]) == sorted(values)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("'=1+1", "''=1+1"),
        ("'quoted'", "'quoted'"),
        ('=HYPERLINK("http://x.example","y")', '\'=HYPERLINK("http://x.example","y")'),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("-", "'-"),
        ("-5", "-5"),
        ("+49301234", "+49301234"),
        ("-0.5", "-0.5"),
        ("-0.5.1", "'-0.5.1"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_a_value_that_a_spreadsheet_would_run_has_an_apostrophe_in_csv_only(value: str, cell: str) -> None:
    store = RowsStore([traffic(hits=1, page_path=value)], [])
    rows = ask(store, a_question("hits", dimensions="page_path"))
    found = list(csv.reader(io.StringIO(to_csv(rows, "USD").decode(), newline="")))
    assert found[1] == [cell, "1"]
    (line,) = to_file(Format.NDJSON, rows, None, {}, "USD").splitlines()
    assert json.loads(line)["page_path"] == value


def test_a_metric_below_zero_stays_a_number_in_csv() -> None:
    rows = ask(RowsStore([traffic(refunds=1_500_000, currency="USD")], []), a_question("net_revenue"))
    assert to_csv(rows, "USD").decode() == "net_revenue\r\n-1.50\r\n"


def test_a_lone_empty_cell_is_not_a_blank_line() -> None:
    rows = ask(RowsStore([], []), a_question("bounce_rate"))
    assert to_csv(rows, "USD") == b'bounce_rate\r\n""\r\n'


@pytest.mark.parametrize(("currency", "text"), [("USD", "1234.57"), ("JPY", "1235"), ("KWD", "1234.568")])
def test_money_has_the_iso_digits_of_its_currency(currency: str, text: str) -> None:
    rows = ask(RowsStore([traffic(tax=1_234_567_890, currency=currency)], []), a_question("tax"), currency)
    assert to_csv(rows, currency).decode() == f"tax\r\n{text}\r\n"


@pytest.mark.parametrize(
    ("ms", "text"),
    [(3_320_000, "3320"), (1_500, "1.5"), (1, "0.001"), (0, "0"), (-1_500, "-1.5"), (100_000, "100")],
)
def test_durations_are_decimal_seconds(ms: int, text: str) -> None:
    assert seconds_text(ms) == text


@pytest.mark.parametrize(
    ("numerator", "denominator", "places", "text"),
    [
        (287, 399, None, "0.719298"),
        (1, 2, None, "0.5"),
        (3, 1, None, "3"),
        (0, 5, None, "0"),
        (1, 3_000_000, None, "0.000000333333"),
        (100, 3, None, "33.333333"),
        (12_345, 1_000, 2, "12.34"),
        (-12_355, 1_000, 2, "-12.36"),
        (1, 3, 0, "0"),
    ],
)
def test_quotients_are_plain_and_half_even(numerator: int, denominator: int, places: int | None, text: str) -> None:
    assert ratio_text(numerator, denominator, places) == text


def test_json_has_rows_with_real_numbers_totals_and_meta() -> None:
    series = a_series()
    document = json.loads(to_file(Format.JSON, series, series, {"data_version": "s1"}, "USD"))
    assert list(document) == ["rows", "totals", "meta"]
    first, second = document["rows"]
    assert first["time"] == "2015-05-17T00:00:00+05:45"
    assert (first["hits"], first["visitors"], first["visit_duration_total"]) == (3, 2, 3_320)
    assert first["gross_revenue"] == 59_442.63
    assert first["bounce_rate"] == pytest.approx(287 / 399)
    assert first["visit_duration_avg"] == pytest.approx(3_320 / 399)
    assert first["average_order_value"] == 277.77
    assert second["bounce_rate"] is None
    assert (second["hits"], second["gross_revenue"]) == (0, 0)
    assert document["meta"] == {"data_version": "s1"}
    assert "totals" not in json.loads(to_file(Format.JSON, series, None, {}, "USD"))


def test_an_average_of_money_has_the_same_digits_in_every_file() -> None:
    rows = ask(
        RowsStore([traffic(orders=2, gross_revenue=1_234_567, currency="KWD")], []),
        a_question("average_order_value"),
        "KWD",
    )
    assert to_csv(rows, "KWD") == b"average_order_value\r\n0.617\r\n"
    assert to_file(Format.NDJSON, rows, None, {}, "KWD") == b'{"average_order_value":0.617}\n'
    assert rows.columns[0].values.tolist() == [0.6172835]


def test_ndjson_is_a_row_a_line() -> None:
    lines = to_file(Format.NDJSON, a_series(), None, {}, "USD").decode().splitlines()
    assert [json.loads(line)["hits"] for line in lines] == [3, 0]


def test_empty_cells_of_gap_fill_null_are_empty_and_null() -> None:
    store = RowsStore([traffic(MIDNIGHT + DAY, hits=1, visitors=sketch_of(1))], [])
    metrics = "hits,visitors,visit_duration_total,tax"
    rows = ask(store, a_question(metrics, grain=Grain.DAY, gap_fill=GapFill.NULL))
    assert to_csv(rows, "USD").decode().splitlines()[1] == "2015-05-17T00:00:00+00:00,,,,"
    first = json.loads(to_file(Format.NDJSON, rows, None, {}, "USD").splitlines()[0])
    assert [first[name] for name in metrics.split(",")] == [None] * 4


def test_an_estimate_is_shown_as_a_whole_number() -> None:
    store = RowsStore([traffic(visitors=sketch_of(*range(1, 40_001)))], [])
    text = to_csv(ask(store, a_question("visitors")), "USD").decode().splitlines()[1]
    assert text.isdigit()
    assert abs(int(text) - 40_000) < 4_000
