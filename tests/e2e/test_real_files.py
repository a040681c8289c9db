"""Test that real files, sent to the real mesh, give the correct numbers.

Some tests compare the mesh's answers with literal numbers. Other tests compare every metric with the reference model,
which reads the files itself.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from tests.reference.files import read_access_log, read_shop_csv
from tests.reference.report import Report
from tests.support.comparison import Model, Question, ask, assert_equal, questions
from tests.support.mesh import Mesh, one_json_line

WEBLOG, SHOP = "merchants/demo/sites/weblog", "merchants/demo/sites/shop"
WEB_DAYS = (date(2015, 5, 16), date(2015, 5, 21))
SHOP_DAYS = (date(2019, 9, 29), date(2019, 10, 2))


@dataclass(frozen=True)
class Imported:
    """A file that was imported into a site, and the summary that the import printed."""

    command: tuple[str, ...]
    summary: dict[str, object]
    acknowledged: int
    model: Model


@pytest.fixture(scope="module")
def weblog(mesh: Mesh, access_log: Path) -> Imported:
    hits, _ = read_access_log(access_log, WEBLOG)
    command = ("import", "access-log", str(access_log), "--site", "demo/weblog", "-o", "json")
    return _imported(mesh, command, Model(hits))


@pytest.fixture(scope="module")
def shop(mesh: Mesh, shop_csv: Path) -> Imported:
    hits, _ = read_shop_csv(shop_csv, SHOP)
    command = ("import", "shop-csv", str(shop_csv), "--site", "demo/shop", "--currency", "USD", "-o", "json")
    return _imported(mesh, command, Model(hits))


def _imported(mesh: Mesh, command: tuple[str, ...], model: Model) -> Imported:
    before = mesh.acknowledged_hits()
    summary = one_json_line(mesh.cli(*command))
    mesh.wait_acknowledged(before + summary["accepted"])
    return Imported(command, summary, mesh.acknowledged_hits() - before, model)


@pytest.mark.timeout(90)
def test_the_access_log_import_reports_sent_and_skipped_lines(weblog: Imported) -> None:
    assert weblog.summary == {
        "lines": 10_000,
        "sent": 3_908,
        "accepted": 3_908,
        "rejected": 0,
        "duplicate": 0,
        "erased": 0,
        "skipped": {"static": 5_673, "status": 371, "method": 48},
    }


@pytest.mark.timeout(90)
def test_the_shop_import_reports_sent_and_skipped_lines(shop: Imported) -> None:
    assert shop.summary == {
        "lines": 17_435,
        "sent": 17_434,
        "accepted": 17_434,
        "rejected": 0,
        "duplicate": 0,
        "erased": 0,
        "skipped": {"unparsable": 1},
    }


@pytest.mark.timeout(90)
def test_imported_hits_are_the_hits_acknowledged_on_the_listener_of_envoy(weblog: Imported, shop: Imported) -> None:
    assert weblog.acknowledged == 3_908
    assert shop.acknowledged == 17_434


_WEB_CSV = """\
time,hits,visits,visitors,bounces,visit_duration_total
2015-05-17T00:00:00+00:00,702,399,258,287,3320
2015-05-18T00:00:00+00:00,1289,713,424,483,6239
2015-05-19T00:00:00+00:00,1029,616,415,446,4302
2015-05-20T00:00:00+00:00,888,558,368,418,4027
"""


def _query(mesh: Mesh, site: str, metrics: str, since: str, until: str, *more: str) -> str:
    arguments = ("--metrics", metrics, "--since", since, "--until", until, "--tz", "UTC", "--include-excluded")
    return mesh.cli("query", "--site", site, *arguments, *more)


@pytest.mark.timeout(90)
def test_the_access_log_has_the_known_numbers_by_day(mesh: Mesh, weblog: Imported) -> None:
    metrics = "hits,visits,visitors,bounces,visit_duration_total"
    days = ("2015-05-17", "2015-05-20", "--grain", "day")
    assert _query(mesh, "demo/weblog", metrics, *days, "-o", "csv") == _WEB_CSV.replace("\n", "\r\n")
    answer = one_json_line(_query(mesh, "demo/weblog", metrics, *days, "-o", "json"))
    expected = list(csv.DictReader(io.StringIO(_WEB_CSV)))
    assert [{name: str(value) for name, value in row.items()} for row in answer["rows"]] == expected
    assert all(isinstance(row["hits"], int) for row in answer["rows"])


@pytest.mark.timeout(90)
def test_the_access_log_has_the_known_visitors_over_all_days(mesh: Mesh, weblog: Imported) -> None:
    out = _query(mesh, "demo/weblog", "hits,visitors", "2015-05-17", "2015-05-20", "--grain", "none", "-o", "csv")
    assert out == "hits,visitors\r\n3908,1264\r\n"


@pytest.mark.timeout(90)
def test_the_shop_has_the_known_numbers(mesh: Mesh, shop: Imported) -> None:
    metrics = (
        "hits,visits,visitors,bounces,visit_duration_total,product_views,cart_adds,orders,items_sold,gross_revenue"
    )
    day = ("2019-10-01", "2019-10-01", "--grain", "day")
    assert _query(mesh, "demo/shop", metrics, *day, "-o", "csv") == (
        f"time,{metrics}\r\n2019-10-01T00:00:00+00:00,17434,4518,4504,1664,793204,17055,165,214,214,59442.63\r\n"
    )
    (row,) = one_json_line(_query(mesh, "demo/shop", metrics, *day, "-o", "json"))["rows"]
    assert row["gross_revenue"] == 59_442.63
    assert row["visit_duration_total"] == 793_204


@pytest.mark.timeout(120)
def test_every_metric_of_the_access_log_equals_the_model_in_four_zones(mesh: Mesh, weblog: Imported) -> None:
    _assert_model(mesh, weblog.model, WEBLOG, *WEB_DAYS)


@pytest.mark.timeout(120)
def test_every_metric_of_the_shop_equals_the_model_in_four_zones(mesh: Mesh, shop: Imported) -> None:
    _assert_model(mesh, shop.model, SHOP, *SHOP_DAYS)


# The reference model of files does not know which user agents are bots. The model reads a file once, so it does not
# count the copies that a second import sends.
_UNKNOWN_TO_MODEL = frozenset({"bot_hits", "excluded_hits", "duplicate_hits"})


def _assert_model(mesh: Mesh, model: Model, site: str, first: date, last: date) -> None:
    reporter = mesh.reporter()
    for question in questions(site, first, last, with_excluded=True):
        assert_equal(ask(reporter, question), model.answer(question), question, _UNKNOWN_TO_MODEL)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("file", ["weblog", "shop"])
def test_importing_a_file_twice_changes_no_report(mesh: Mesh, file: str, request: pytest.FixtureRequest) -> None:
    imported: Imported = request.getfixturevalue(file)
    site, days = (WEBLOG, WEB_DAYS) if file == "weblog" else (SHOP, SHOP_DAYS)
    compared_questions = [
        Question(site, *days, zone, "DAY", include_excluded=excluded)
        for zone in ("UTC", "Australia/Lord_Howe")
        for excluded in (False, True)
    ]
    before = _answers(mesh, compared_questions)
    summary = one_json_line(mesh.cli(*imported.command))
    assert summary == imported.summary | {"duplicate": imported.summary["sent"]}
    after = _answers(mesh, compared_questions)
    for question, was, now in zip(compared_questions, before, after, strict=True):
        assert_equal(now, was, question, frozenset({"duplicate_hits"}))


def _answers(mesh: Mesh, compared_questions: list[Question]) -> list[Report]:
    reporter = mesh.reporter()
    return [ask(reporter, question) for question in compared_questions]
