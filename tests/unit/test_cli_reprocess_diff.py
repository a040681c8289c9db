"""Test `hitmesh reprocess diff` with a control service on in-memory stores: tables, JSON, and `--fail-above`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from control.rpc.reprocessing.differences import UNITS
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.reprocessings import Rebuilt, State
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.reprocess import reprocess_group
from hitmesh.tools.cli.reprocess_diff import per_cent
from reporter.question.catalogue import METRICS
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import UTC_DAY, a_ledger, a_rebuilt, a_reprocessing
from tests.support.reporters import NOW, Mesh
from tests.support.settled_rows import MIDNIGHT, SITE, frame, visits
from tests.unit.commands import control_of_home, operators_home

BLOG = "merchants/demo/sites/blog"


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    with control_of_home(operators_home(tmp_path / "home", monkeypatch)) as mesh:
        yield mesh


def reprocess(*arguments: str) -> int:
    return run(["reprocess", *arguments])


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def store(mesh: Mesh, *rebuilt: Rebuilt) -> None:
    """Store the reprocessing r1, which covers three days and has recomputed the given site-days."""
    days = (UTC_DAY - 2, UTC_DAY + 1)
    mesh.stores.reprocessings.create(
        a_reprocessing(state=State.DIFF_READY, sites=(SITE, BLOG), days=days, created_at=NOW, site_days=3)
    )
    mesh.stores.reprocessings.put("r1", rebuilt)


def changed_days(mesh: Mesh) -> None:
    store(
        mesh,
        a_rebuilt({"visits": (5_272, 4_518), "hits": (9, 9), "visit_duration_total": (0, 7)}, UTC_DAY - 1),
        a_rebuilt({"visits": (2, 3), "gross_revenue": (19_990_000, 29_990_000)}, UTC_DAY, BLOG),
        a_rebuilt({"visits": (1, 1)}, UTC_DAY - 2),
    )


def test_a_difference_as_json_has_metrics_by_id(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    changed_days(mesh)
    assert reprocess("diff", "r1", "-o", "json") == 0
    found = printed(capsys)
    assert (found["id"], found["state"], found["site_days"], found["changed_site_days"]) == ("r1", "DIFF_READY", 3, 2)
    assert found["totals"]["visits"] == {
        "unit": "count",
        "old": 5_275,
        "new": 4_522,
        "difference": -753,
        "percent": pytest.approx(-14.27, abs=0.01),
        "absolute_difference": 755,
        "absolute_percent": pytest.approx(14.31, abs=0.01),
    }
    assert found["totals"]["visit_duration_total"]["percent"] is None
    assert [(day["utc_date"], sorted(day["metrics"])) for day in found["days"]] == [
        ("2015-05-16", ["visit_duration_total", "visits"]),
        ("2015-05-17", ["gross_revenue", "visits"]),
    ]
    assert found["ledger"]["before"] == {"accepted": 9, "counted": 9, "duplicate": 0, "excluded": 0, "erased": 0}
    assert [each["site"] for each in found["sites"]] == ["demo/blog"]
    assert reprocess("diff", "r1", "--order-by", "visits", "-o", "json") == 0
    assert [each["site"] for each in printed(capsys)["sites"]] == ["demo/shop", "demo/blog"]


def test_a_difference_as_a_table_has_signs_per_cent_and_a_plot(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    changed_days(mesh)
    assert reprocess("diff", "r1", "--order-by", "visits", "-o", "table") == 0
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    assert shown.startswith("r1  DIFF_READY\n2 of 3 site-days changed\n")
    for text in (
        "visits 5,275 4,522 -753 -14.27 %",
        "gross_revenue (money) 19.99 29.99 +10.00 +50.03 %",
        "visit_duration_total (ms) 0 7 +7 –",
        "before 9 9 0 0",
        "2015-05-17 1 gross_revenue (money)",
        "demo/shop visit_duration_total (ms)",
        "visits: |new − old| by UTC day",
    ):
        assert text in words
    assert [line.split()[-1] for line in shown.splitlines()[-2:]] == ["754", "1"]


def test_an_empty_difference_is_reported_in_words(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    store(mesh, a_rebuilt({"visits": (1, 1)}))
    assert reprocess("diff", "r1", "-o", "table", "--fail-above", "0%") == 0
    shown = capsys.readouterr().out
    assert "0 of 1 site-day changed" in shown
    assert "visits" not in shown
    assert reprocess("diff", "r1", "-o", "json") == 0
    found = printed(capsys)
    assert (found["totals"], found["days"], found["sites"]) == ({}, [], [])


@pytest.mark.parametrize(("limit", "code"), [("10%", 7), ("14.32", 7), ("150%", 7)])
def test_a_change_above_the_limit_ends_with_7(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], limit: str, code: int
) -> None:
    changed_days(mesh)
    assert reprocess("diff", "r1", "--fail-above", limit, "-o", "json") == code
    status = json.loads(capsys.readouterr().err)
    assert status["details"][0]["reason"] == "DIFF_TOO_LARGE"
    assert "visit_duration_total from 0" in status["message"]
    assert ("visits by 14.31 %" in status["message"]) == (limit == "10%")


@pytest.mark.parametrize(("limit", "code"), [("0.5%", 7), ("9.9 %", 7), ("10%", 0), ("11", 0)])
def test_changes_that_cancel_out_count_for_the_limit(mesh: Mesh, limit: str, code: int) -> None:
    store(mesh, a_rebuilt({"visits": (10, 9)}), a_rebuilt({"visits": (10, 11)}, UTC_DAY - 1))
    assert reprocess("diff", "r1", "--fail-above", limit, "-o", "json") == code


@pytest.mark.parametrize(("other", "where"), [(3, "in total"), (9, "2015-05-17")])
def test_a_loss_of_raw_hits_fails_whatever_the_limit(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], other: int, where: str
) -> None:
    lost = a_rebuilt({"visits": (10, 10)}, ledgers=(a_ledger(4), a_ledger(2)))
    store(mesh, lost, a_rebuilt({}, UTC_DAY - 1, ledgers=(a_ledger(3), a_ledger(other))))
    assert reprocess("diff", "r1", "--fail-above", "99%", "-o", "json") == 7
    message = json.loads(capsys.readouterr().err)["message"]
    assert f"({where}), so raw hits are missing: do not publish" in message
    assert reprocess("diff", "r1", "-o", "json") == 0


@pytest.mark.parametrize("text", ["-1%", "nan", "inf", "", "%", "1e999"])
def test_a_limit_is_a_percentage_from_0(text: str) -> None:
    with pytest.raises(click.BadParameter):
        per_cent(click.Context(reprocess_group), click.Option(["--fail-above"]), text)


def test_a_dimension_and_a_part_are_passed_on(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    changed_days(mesh)
    arguments = ["--site", BLOG, "--since", "2015-05-17", "--until", "2015-05-17", "--dimension", "channel"]
    assert reprocess("diff", "r1", *arguments, "-o", "json") == 0
    found = printed(capsys)
    assert (found["site_days"], found["dimension"], found["values"], found["settled_again_site_days"]) == (
        *(1, "channel"),
        *([], 1),
    )
    assert reprocess("diff", "r1", "--dimension", "chanel", "-o", "json") == 67
    assert "did you mean channel" in capsys.readouterr().err


def test_reasons_are_shown_as_a_table_and_in_json(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    store(
        mesh,
        a_rebuilt({"visits": (5_272, 4_518)}, reasons=ChangeReasons(merged_visits=1_754, split_visits=1_000)),
        a_rebuilt({"visits": (1, 2)}, UTC_DAY - 1),
    )
    assert reprocess("diff", "r1", "-o", "table") == 0
    captured = capsys.readouterr()
    words = " ".join(captured.out.split())
    assert "visits merged into earlier visits 1,754 visits split from earlier visits 1,000" in words
    assert "moved" not in words
    assert "the reasons are not known for 1 of 2 changed site-days" in captured.err
    assert reprocess("diff", "r1", "-o", "json") == 0
    found = printed(capsys)
    assert (found["reasons"]["explained_site_days"], found["reasons"]["merged_visits"]) == (1, 1_754)
    assert [day["reasons"] is None for day in found["days"]] == [True, False]
    assert "cells" not in found


def test_cells_are_shown_even_if_no_series_changed(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    for generation, count in ((1, 5), (2, 3)):
        rows = [visits(MIDNIGHT + 900_000, generation=generation, visits=count)]
        mesh.stores.sink.write(frame(RowSource.TRAFFIC, []), frame(RowSource.VISITS, rows))
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY), NOW, a_ledger(3))
    store(mesh, a_rebuilt({"visits": (3, 3)}))
    assert reprocess("diff", "r1", "--cells", "-o", "table") == 0
    assert "demo/shop 2015-05-17 00:15 visits 5 3 -2 -40.00 %" in " ".join(capsys.readouterr().out.split())
    assert reprocess("diff", "r1", "--cells", "-o", "json") == 0
    found = printed(capsys)
    assert (found["cells_ranked_by"], found["changed_cells"], found["settled_again_site_days"]) == ("visits", 1, 0)
    assert (found["cells"][0]["site"], found["cells"][0]["start"]) == ("demo/shop", "2015-05-17T00:15:00Z")
    assert found["cells"][0]["metrics"]["visits"]["new"] == 3


def test_days_that_follow_the_plan_are_compared_and_named(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    planned = a_reprocessing(state=State.DIFF_READY, days=(UTC_DAY - 1, UTC_DAY), created_at=NOW, site_days=1)
    mesh.stores.reprocessings.create(replace(planned, following=1, reach_day=UTC_DAY + 1))
    mesh.stores.reprocessings.put("r1", [a_rebuilt({}, UTC_DAY - 1), a_rebuilt({"visits": (2, 0)}, UTC_DAY)])
    assert reprocess("diff", "r1", "--since", "2015-05-17", "--fail-above", "99%", "-o", "json") == 7
    captured = capsys.readouterr()
    assert json.loads(captured.out)["totals"]["visits"]["new"] == 0
    assert "visits by 100.00 %" in captured.err
    assert reprocess("status", "r1", "-o", "json") == 0
    status = printed(capsys)
    assert (status["following_site_days"], status["last_following_utc_date"]) == (1, "2015-05-17")
    assert reprocess("status", "r1", "-o", "table") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "following 1 site-day up to 2015-05-17; their visits change with the planned days" in words
    assert "publish 2 site-days" in words


def test_days_that_only_the_settler_changes_are_named_and_fail_a_pipeline(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY - 5), NOW, a_ledger(3))
    disturbed = frozenset({UTC_DAY - 6, UTC_DAY - 5, UTC_DAY - 1})
    store(mesh, a_rebuilt({"visits": (3, 3)}, disturbed=disturbed), a_rebuilt({}, UTC_DAY - 1))
    assert reprocess("diff", "r1", "-o", "json") == 0
    found = printed(capsys)
    assert found["disturbed"] == [{"site": "demo/shop", "utc_date": "2015-05-12"}], "2015-05-11 is not settled"
    assert found["disturbed_site_days"] == 1
    assert reprocess("diff", "r1", "-o", "table", "--fail-above", "99%") == 7
    error = capsys.readouterr().err
    assert "not compared: 1 site-day that the settler settles again after the publication" in error
    assert "demo/shop 2015-05-12; plan these days too" in error


def test_visitors_over_several_days_are_explained(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    store(mesh, a_rebuilt({"visitors": (260, 261)}), a_rebuilt({"visitors": (263, 263)}, UTC_DAY - 1))
    text = "visitors are added up over UTC days and sites; hitmesh query counts a visitor of several days once"
    assert reprocess("diff", "r1", "-o", "table") == 0
    assert text in capsys.readouterr().err
    assert reprocess("diff", "r1", "--since", "2015-05-17", "-o", "table") == 0
    assert text not in capsys.readouterr().err


def test_each_metric_that_reports_refuse_names_the_metric_in_which_it_counts(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    store(mesh, a_rebuilt(dict.fromkeys(UNITS, (1, 2))))
    assert reprocess("diff", "r1", "-o", "table") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {words[0]: words[1:3] for words in lines if words and words[0] in set(UNITS) - set(METRICS)} == {
        "visit_views": ["(in", "views_per_visit)"]
    }
