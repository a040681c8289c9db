"""Test `hitmesh reprocess check` with a control service on in-memory stores: output, plans and exit codes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import LostHits, RawRepair, State
from hitmesh.model.sites import SiteDay
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.reprocess_check import collected
from hitmesh.tools.cli.reprocess_check_output import MAX_PROBLEMS, Checked, is_beyond_repair, plans_for
from tests.support.dates import a_date
from tests.support.rebuilt_days import UTC_DAY, a_reprocessing
from tests.support.reporters import NOW, OWNER, Mesh, a_site
from tests.support.settled_rows import SITE
from tests.support.whole_days import settle_whole_day
from tests.unit.commands import control_of_home, operators_home

BLOG = "merchants/demo/sites/blog"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return operators_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def mesh(home: Path) -> Iterator[Mesh]:
    with control_of_home(home) as mesh:
        mesh.stores.directory.create_site(a_site(BLOG))
        days = [SiteDay(site, UTC_DAY - day) for site in (BLOG, SITE) for day in range(3)]
        for offset, site_day in enumerate(days):
            settle_whole_day(mesh.stores, site_day, NOW, offset)
        yield mesh


def check(*arguments: str) -> int:
    return run(["reprocess", "check", *arguments])


def lose_series(mesh: Mesh, site: str, *days: int) -> None:
    for day in days:
        mesh.stores.series.drop([(SiteDay(site, UTC_DAY - day), 1)])


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_days_that_add_up_end_with_0(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("-o", "table") == 0
    assert capsys.readouterr().out == "6 site-days with 12 hits checked: all add up\n"
    assert check("--site", "demo/shop", "--since", "2015-05-16", "-o", "json") == 0
    assert printed(capsys) == {"site_days": 2, "hits": 4, "problem_site_days": 0, "problems": [], "plans": []}


def test_problems_end_with_7_and_name_the_difference_and_the_plan(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    lose_series(mesh, SITE, 0)
    assert check("-o", "table") == 7
    captured = capsys.readouterr()
    row = "demo/shop 2015-05-17 series hits 0 2 -2"
    assert row in " ".join(captured.out.split())
    command = "hitmesh reprocess plan --kind repair --site demo/shop --since 2015-05-17 --until 2015-05-17"
    assert f"  {command}\n" in captured.out
    assert captured.err == "error: 1 site-day does not add up: run and publish the plans that repair them\n"


def test_json_has_each_finding_and_the_request_of_each_plan(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    lose_series(mesh, SITE, 0, 1)
    lose_series(mesh, BLOG, 0, 1)
    lose_series(mesh, BLOG, 2)
    assert check("-o", "json") == 7
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert json.loads(captured.err)["details"][0]["reason"] == "HISTORY_DAMAGED"
    assert found["problem_site_days"] == 5
    assert found["problems"][0] == {
        "site": "demo/blog",
        "utc_date": "2015-05-15",
        "findings": [{"store": "series", "measure": "hits", "found": 0, "expected": 2, "damage": None}],
        "missing_hits": 0,
        "log_hits": 0,
        "lost_hits": 0,
        "beyond_repair": False,
    }
    assert [plan["request"]["sites"] for plan in found["plans"]] == [[BLOG], [SITE]]
    assert found["plans"][1] == {
        "command": "hitmesh reprocess plan --kind repair --site demo/shop --since 2015-05-16 --until 2015-05-17",
        "request": {
            "sites": [SITE],
            "kind": "REPROCESSING_KIND_REPAIR",
            "firstUtcDate": {"year": 2015, "month": 5, "day": 16},
            "lastUtcDate": {"year": 2015, "month": 5, "day": 17},
        },
    }


def test_a_printed_plan_can_be_run_as_printed(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.stores.series.drop([(SiteDay(SITE, UTC_DAY - 1), 1)])
    assert check("-o", "json") == 7
    (plan,) = printed(capsys)["plans"]
    words = shlex.split(plan["command"])
    assert run([*words[1:], "-o", "json"]) == 0
    planned = printed(capsys)
    assert (planned["kind"], planned["sites"], planned["site_days"]) == ("repair", ["demo/shop"], 1)


def test_lost_hits_differ_from_hits_that_a_repair_restores(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.stores.raw._records.clear()  # type: ignore[attr-defined]  # a loss on purpose
    assert check("--site", "demo/shop", "--since", "2015-05-17", "-o", "table") == 7
    captured = capsys.readouterr()
    assert "demo/shop 2015-05-17: 2 raw hits are missing; the log still has 0, and 2 are lost beyond repair\n" in (
        captured.err
    )


def test_lost_hits_are_named_with_their_cure_and_no_plan(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.stores.raw._records.clear()  # type: ignore[attr-defined]  # a loss on purpose
    assert check("--site", "demo/shop", "--since", "2015-05-17", "-o", "table") == 7
    captured = capsys.readouterr()
    assert "plans that repair" not in captured.out + captured.err
    assert (
        "error: 1 site-day has raw hits that are lost beyond repair, and no plan restores them; reports keep their "
        "numbers: restore the raw store from a backup, then repair these days" in captured.err
    )
    assert check("--site", "demo/shop", "--since", "2015-05-17", "-o", "json") == 7
    found = printed(capsys)
    assert (found["plans"], [each["beyond_repair"] for each in found["problems"]]) == ([], [True])


def test_plans_leave_out_only_the_days_on_which_a_repair_changes_nothing() -> None:
    def lacking(day: str, found: int, in_log: int, settled: int | None = None) -> pb.HistoryProblem:
        raw = pb.HistoryFinding(store=pb.CHECKED_STORE_RAW, measure="hits", found=found, expected=9)
        ledger = pb.HistoryFinding(store=pb.CHECKED_STORE_LEDGER, measure="accepted", found=settled or 0, expected=9)
        lost = 9 - found - in_log
        return pb.HistoryProblem(
            site=SITE,
            utc_date=a_date(day),
            findings=[raw] if settled is None else [raw, ledger],
            missing_hits=9 - found,
            log_hits=in_log,
            lost_hits=lost,
        )

    problems = [
        lacking("2015-05-01", 5, 0),  # none of the missing hits can be restored
        lacking("2015-05-03", 5, 3),  # some of the missing hits can be restored
        lacking("2015-05-05", 5, 4),  # all missing hits can be restored
        lacking("2015-05-07", 5, 0, settled=5),  # the settled numbers lack the lost hits too
        problem(SITE, "2015-05-09"),
    ]
    assert [is_beyond_repair(each) for each in problems] == [True, False, False, False, False]
    assert [plan.first.day for plan in plans_for(problems)] == [3, 5, 7, 9]


@pytest.mark.parametrize(
    ("arguments", "code"), [(("--since", "2016-05-17"), 69), (("--until", "2014-05-17"), 69), (("--site", BLOG), 0)]
)
def test_an_empty_range_ends_with_69(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], code: int
) -> None:
    assert check(*arguments, "-o", "table") == code
    captured = capsys.readouterr()
    if code:
        assert captured.out == "0 site-days with 0 hits checked: no settled day is selected\n"
        assert "no settled UTC day of these sites lies in this range, so nothing was checked" in captured.err


def problem(site: str, day: str) -> pb.HistoryProblem:
    return pb.HistoryProblem(site=site, utc_date=a_date(day))


def test_plans_join_neighbouring_days_and_sites_with_equal_days() -> None:
    days = [("2015-05-01", "2015-05-02", "2015-05-09"), ("2015-05-01", "2015-05-02"), ("2015-05-09",)]
    names = [f"merchants/demo/sites/{name}" for name in "abc"]
    found = plans_for([problem(site, day) for site, of_site in zip(names, days, strict=True) for day in of_site])
    assert [(plan.sites, str(plan.first), str(plan.last)) for plan in found] == [
        ((names[0], names[1]), "2015-05-01", "2015-05-02"),
        ((names[0], names[2]), "2015-05-09", "2015-05-09"),
    ]


def test_problems_are_kept_up_to_a_limit_and_counted_beyond() -> None:
    found, page = Checked(), pb.CheckHistoryResponse(site_days=6_000, problems=[problem(SITE, "2015-05-01")] * 6_000)
    for _ in range(2):
        found.add(page)
    assert (len(found.problems), found.problem_site_days) == (MAX_PROBLEMS, 12_000)


def test_a_site_day_that_takes_several_pages_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    pages = [pb.CheckHistoryResponse(raw_hits=2_000_000)] * 2 + [pb.CheckHistoryResponse(site_days=1, raw_hits=5)]
    found = collected(iter(pages))
    assert (found.site_days, found.raw_hits) == (1, 4_000_005)
    assert capsys.readouterr().err.splitlines() == [
        f"0 site-days checked, 0 do not add up; {hits} raw hits read" for hits in ("2,000,000", "4,000,000")
    ]


def test_a_repair_shows_what_it_restored_and_what_is_lost(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    lost = (LostHits(SiteDay(SITE, UTC_DAY), 3, kept=True),)
    stored = a_reprocessing(state=State.DIFF_READY, created_at=NOW, raw_repair=RawRepair(4, 900, 3, 1, lost))
    mesh.stores.reprocessings.create(stored)
    assert run(["reprocess", "status", "r1", "-o", "table"]) == 0
    assert (
        "4 records with 900 hits restored from the log; 3 hits of 1 site-day are lost: demo/shop 2015-05-17 "
        "(kept as it is)" in capsys.readouterr().out
    )
    assert run(["reprocess", "status", "r1", "-o", "json"]) == 0
    assert printed(capsys)["raw_repair"] == {
        "restored_records": 4,
        "restored_hits": 900,
        "lost_hits": 3,
        "lost_site_days": 1,
        "lost": [{"site": "demo/shop", "utc_date": "2015-05-17", "hits": 3, "kept": True}],
    }


def test_a_repair_that_cannot_restore_all_hits_shows_this_to_its_end(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = (LostHits(SiteDay(SITE, UTC_DAY), 500, kept=True),)
    repair = a_reprocessing(state=State.DIFF_READY, kind=Kind.REPAIR, created_at=NOW)
    mesh.stores.reprocessings.create(replace(repair, raw_repair=RawRepair(0, 0, 500, 1, lost)))
    text = (
        "not repaired: 500 hits of 1 site-day are lost, because neither the raw store nor the log has them, and "
        "reports keep the numbers of demo/shop 2015-05-17; restore the raw store from a backup, then repair these days"
    )
    for command, code in (
        (["run", "r1", "--wait"], 7),
        (["diff", "r1", "--fail-above", "99%"], 7),
        (["diff", "r1"], 0),
    ):
        assert run(["reprocess", *command, "-o", "table"]) == code
        assert text in capsys.readouterr().err
    assert run(["reprocess", "diff", "r1", "-o", "json"]) == 0
    assert printed(capsys)["raw_repair"]["lost_hits"] == 500
    assert run(["reprocess", "publish", "r1", "-o", "table"]) == 0
    assert text in capsys.readouterr().err


def test_only_an_operator_checks(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITMESH_OPERATOR_KEY", OWNER)
    assert check("--site", "demo/shop") == 71
    assert "use an operator's key" in capsys.readouterr().err
