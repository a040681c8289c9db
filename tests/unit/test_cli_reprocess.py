"""Test `hitmesh reprocess` with a control service on in-memory stores: requests, output and exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import grpc
import pytest

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.client import home as client_home
from hitmesh.client.mesh import Mesh as ClientMesh
from hitmesh.client.reprocessing import get_reprocessing, wait_while_running
from hitmesh.client.visibility import Wait
from hitmesh.model.reprocessings import Reprocessing, State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.reprocess import reprocess_group
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import UTC_DAY, a_ledger, a_reprocessing
from tests.support.reporters import NOW, OPERATOR, OWNER, Mesh, a_site
from tests.support.settled_rows import SITE
from tests.unit.commands import control_of_home, operators_home

PLAN = ["plan", "--since", "2015-05-15", "--until", "2015-05-16"]
BLOG = "merchants/demo/sites/blog"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return operators_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def mesh(home: Path) -> Iterator[Mesh]:
    with control_of_home(home) as mesh:
        yield mesh


def settle(mesh: Mesh, hits: int = 1_000_000, site: str = SITE, day: int = UTC_DAY - 1) -> None:
    publish_day(mesh.stores.generations, SiteDay(site, day), NOW, a_ledger(hits))


def reprocess(*arguments: str) -> int:
    return run(["reprocess", *arguments])


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def store(mesh: Mesh, state: State, **fields: object) -> None:
    """Store the reprocessing r1, which covers three site-days."""
    stored = a_reprocessing(state=state, created_at=NOW, site_days=3, **fields)  # type: ignore[arg-type]  # fields of Reprocessing
    mesh.stores.reprocessings.create(stored)


def change(mesh: Mesh, **fields: object) -> None:
    """Change fields of r1, as the settler does while it works."""
    stored = mesh.stores.reprocessings.get("r1")
    assert stored is not None
    changed: Reprocessing = replace(stored, version=stored.version + 1, **fields)  # type: ignore[arg-type]  # fields of Reprocessing
    assert mesh.stores.reprocessings.replace(changed)


# -------------------------------------------------------------------------------------------------------------- plans


def test_a_plan_is_stored_and_has_an_id(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    settle(mesh)
    assert reprocess(*PLAN, "--site", "demo/shop", "--logic", "v0", "-o", "json") == 0
    planned = printed(capsys)
    assert planned["id"].startswith("20150519-")
    assert (planned["state"], planned["work"], planned["error"]) == ("PLANNED", None, None)
    assert (planned["site_days"], planned["hits"], planned["minutes"]) == (1, 1_000_000, 0.067)
    assert (planned["kind"], planned["logic"], planned["sites"]) == ("logic", "v0", ["demo/shop"])
    assert (planned["first_utc_date"], planned["last_utc_date"]) == ("2015-05-15", "2015-05-16")
    assert planned["stages"] == [
        {"stage": "scan", "site_days": 1, "hits": 1_000_000, "raw_bytes": 120_000_000},
        {"stage": "recompute", "logic": "v0", "site_days": 1, "minutes": 0.067},
        {"stage": "compare", "site_days": 1},
        {"stage": "publish", "site_days": 1},
        {"stage": "retire", "keep_days": 30},
    ]
    assert reprocess("status", planned["id"], "-o", "json") == 0
    assert printed(capsys) == planned
    assert reprocess("status", f"reprocessings/{planned['id']}", "-o", "json") == 0


def test_a_dry_run_stores_nothing_and_has_no_id(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    settle(mesh, 7)
    assert reprocess(*PLAN, "--site", "demo/shop", "--dry-run", "-o", "json") == 0
    planned = printed(capsys)
    assert not {"id", "state", "create_time"} & set(planned)
    assert (planned["site_days"], planned["hits"], len(planned["stages"])) == (1, 7, 5)
    assert mesh.stores.reprocessings.all() == []
    assert reprocess(*PLAN, "--site", "demo/shop", "--dry-run", "-o", "table") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("a plan that is not stored\n")
    assert "next:" not in captured.err


def test_a_plan_for_people_names_every_stage_and_the_next_command(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    settle(mesh)
    assert reprocess(*PLAN, "--site", "demo/shop", "-o", "table") == 0
    captured = capsys.readouterr()
    for text in (
        "PLANNED",
        "UTC days  2015-05-15 to 2015-05-16",
        "1 site-day, 1,000,000 hits, about 120.0 MB",
        "1 site-day under logic v1, less than 0.1 minutes; no report reads the result",
        "keep the replaced rows for 30 days",
    ):
        assert text in captured.out
    (stored,) = mesh.stores.reprocessings.all()
    assert captured.err == f"no report changes; next: hitmesh reprocess run {stored.id} --wait\n"


def test_a_plan_without_settled_days_shows_skipped_stages_and_is_refused(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (*PLAN, "--site", "demo/shop", "--kind", "repair", "-o", "table")
    assert reprocess(*arguments) == 69
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no UTC day of these sites from 2015-05-15 to 2015-05-16 is settled" in captured.err
    assert mesh.stores.reprocessings.all() == []
    assert reprocess(*arguments, "--dry-run") == 69
    captured = capsys.readouterr()
    assert "from 2015-05-15 to 2015-05-16 is settled, so the plan would be refused" in captured.err
    shown = captured.out
    assert shown.count("skip: no settled site-day") == 4
    assert "skip: no replaced rows" in shown
    assert "kind      repair" in shown


def test_sites_merchants_or_all_sites_are_planned(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.stores.directory.create_site(a_site(BLOG))
    for site in (SITE, BLOG, "merchants/rival/sites/shop"):
        settle(mesh, 1, site)
    for arguments, sites in (
        (["--site", "demo/shop", "--site", BLOG], ["demo/blog", "demo/shop"]),
        (["--merchant", "demo"], ["demo/blog", "demo/shop"]),
        (["--merchant", "merchants/rival", "--site", "demo/blog"], ["demo/blog", "rival/shop"]),
        (["--all-sites"], ["demo/blog", "demo/shop", "rival/shop"]),
    ):
        assert reprocess(*PLAN, *arguments, "--dry-run", "-o", "json") == 0
        assert printed(capsys)["sites"] == sites


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([*PLAN], 2, "no site is named: give --site, --merchant or --all-sites"),
        ([*PLAN, "--site", "shop"], 2, "MERCHANT/SITE"),
        ([*PLAN, "--merchant", "No Name"], 2, "'No Name' is not a merchant"),
        ([*PLAN, "--site", "demo/shop", "--kind", "erase"], 2, "'erase' is not one of 'logic', 'repair', 'rules'"),
        (["plan", "--site", "demo/shop", "--since", "2015-05-15"], 2, "Missing option '--until'"),
        ([*PLAN, "--site", "demo/none"], 69, "'merchants/demo/sites/none' does not exist"),
        ([*PLAN, "--site", "demo/shop", "--logic", "v9"], 67, "use one of v0, v1"),
        ([*PLAN, "--site", "demo/shop", "--until", "2015-05-17"], 73, "2015-05-16 is the last closed day"),
        (["run"], 2, "Missing argument 'ID'"),
        (["run", "none"], 69, "'reprocessings/none' does not exist"),
        (["diff", "r1", "--fail-above", "much"], 2, "'much' is not a percentage"),
        (["diff", "r1", "--top", "0"], 2, "not in the range"),
        (["publsh", "r1"], 2, "did you mean publish?"),
    ],
)
def test_errors_have_an_exit_code_and_a_remedy(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert reprocess(*arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


# --------------------------------------------------------------------------------------------------------------- keys


def test_the_operators_key_is_that_of_the_environment_or_of_the_home(
    mesh: Mesh, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_KEY", OWNER)
    assert reprocess("list", "-o", "json") == 0
    monkeypatch.setenv("HITMESH_OPERATOR_KEY", OWNER)
    assert reprocess("list", "-o", "json") == 71
    assert "use an operator's key" in capsys.readouterr().err
    monkeypatch.delenv("HITMESH_OPERATOR_KEY")
    monkeypatch.setenv("HITMESH_OPERATOR_KEY_FILE", str(home / "none"))
    assert reprocess("list", "-o", "json") == 3
    assert "set HITMESH_OPERATOR_KEY_FILE to an existing file" in capsys.readouterr().err
    monkeypatch.delenv("HITMESH_OPERATOR_KEY_FILE")
    (home / "keys" / "dev-operator").unlink()
    assert reprocess("list", "-o", "json") == 80
    assert reprocess("run", "r1", "-o", "json") == 3
    assert "no operator's key was found" in capsys.readouterr().err


def test_without_a_mesh_every_command_ends_with_5(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_home, "LOCK_TIMEOUT_S", 0.0)
    for arguments in ([*PLAN, "--site", "demo/shop"], ["list"], ["status"], *([verb, "r1"] for verb in VERBS)):
        for place in ([], ["--endpoint", "127.0.0.1:9"]):
            assert reprocess(*arguments, *place) == 5
            assert "`hitmesh dev`" in capsys.readouterr().err


VERBS = ("status", "run", "diff", "publish", "rollback", "cancel")


def test_every_command_has_the_same_options_and_speaks_of_utc_days() -> None:
    context = click.Context(reprocess_group)
    for name in reprocess_group.list_commands(context):
        command = reprocess_group.get_command(context, name)
        assert command is not None
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"-o", "--endpoint", "--home"} <= options, name
        if "--since" in options:
            helps = [parameter.help for parameter in command.params if isinstance(parameter, click.Option)]
            assert sum("UTC day" in (text or "") for text in helps) == 2


# --------------------------------------------------------------------------------------------------------------- work


@pytest.mark.parametrize(
    ("verb", "state", "work", "done"),
    [
        ("run", State.PLANNED, "RECOMPUTE", State.DIFF_READY),
        ("publish", State.DIFF_READY, "PUBLISH", State.PUBLISHED),
        ("rollback", State.PUBLISHED, "ROLL_BACK", State.ROLLED_BACK),
        ("cancel", State.DIFF_READY, "CANCEL", State.CANCELLED),
    ],
)
def test_work_is_requested_once_and_its_end_is_shown(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], verb: str, state: State, work: str, done: State
) -> None:
    store(mesh, state)
    for _ in range(2):
        assert reprocess(verb, "r1", "-o", "json") == 0
        found = printed(capsys)
        assert (found["id"], found["state"], found["work"]) == ("r1", "RUNNING", work)
    change(mesh, done=2)
    assert reprocess("status", "r1", "-o", "table") == 0
    assert capsys.readouterr().out.startswith(f"r1  RUNNING ({work}: 2 of 3 site-days)\n")
    change(mesh, state=done, work=None)
    assert reprocess(verb, "r1", "--wait", "-o", "json") == 0
    assert printed(capsys)["state"] == done.name


def test_the_next_commands_are_named_for_people(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    store(mesh, State.PLANNED)
    assert reprocess("run", "r1", "-o", "table") == 0
    assert capsys.readouterr().err == "next: hitmesh reprocess status r1\n"
    change(mesh, state=State.DIFF_READY, work=None)
    assert reprocess("run", "r1", "--wait", "-o", "table") == 0
    assert capsys.readouterr().err == "next: hitmesh reprocess diff r1, then hitmesh reprocess publish r1\n"


def test_no_next_command_is_named_for_a_run_that_was_cancelled(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(mesh, State.PLANNED)

    def cancelled(_: float) -> None:
        change(mesh, state=State.CANCELLED, work=None)

    monkeypatch.setattr("hitmesh.client.reprocessing.DEFAULT_WAIT", Wait(60, 1, sleep=cancelled))
    assert reprocess("run", "r1", "--wait", "-o", "table") == 0
    assert "next:" not in capsys.readouterr().err


def test_a_wrong_state_ends_with_73_and_names_the_states(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    store(mesh, State.PUBLISHED)
    assert reprocess("cancel", "r1", "-o", "json") == 73
    status = json.loads(capsys.readouterr().err)
    assert (
        status["message"]
        == "reprocessings/r1 is PUBLISHED: cancel is possible in PLANNED, RUNNING, DIFF_READY, FAILED; possible now: "
        "`hitmesh reprocess rollback r1`"
    )
    assert status["details"][0]["metadata"]["states"] == "PLANNED, RUNNING, DIFF_READY, FAILED"


def test_work_that_failed_ends_with_7_and_its_error(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(mesh, State.RUNNING, work=Work.RECOMPUTE, done=1)

    def fail(_: float) -> None:
        change(mesh, state=State.FAILED, error="demo/shop: the disk is full")

    monkeypatch.setattr("hitmesh.client.reprocessing.DEFAULT_WAIT", Wait(60, 1, sleep=fail))
    assert reprocess("run", "r1", "--wait", "-o", "json") == 7
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"] == "demo/shop: the disk is full"
    status = json.loads(captured.err)
    assert (status["message"], status["details"][0]["reason"]) == ("demo/shop: the disk is full", "REPROCESSING_FAILED")
    assert reprocess("status", "r1", "-o", "table") == 0
    assert "FAILED (RECOMPUTE: 1 of 3 site-days)" in capsys.readouterr().out


def test_work_that_the_settler_takes_back_ends_with_7_and_its_error(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(mesh, State.RUNNING, work=Work.ROLL_BACK)

    def take_back(_: float) -> None:
        change(mesh, state=State.PUBLISHED, work=None, error="roll r2 back first")

    monkeypatch.setattr("hitmesh.client.reprocessing.DEFAULT_WAIT", Wait(60, 1, sleep=take_back))
    assert reprocess("rollback", "r1", "--wait", "-o", "json") == 7
    assert json.loads(capsys.readouterr().err)["message"] == "roll r2 back first"
    assert reprocess("publish", "r1", "--wait", "-o", "json") == 0


def test_a_wait_ends_when_the_work_ends_and_outlasts_a_restart_of_the_service(mesh: Mesh) -> None:
    store(mesh, State.RUNNING, work=Work.RECOMPUTE)
    seen: list[int] = []
    steps: Iterator[dict[str, object]] = iter(
        [{"done": 1}, {"done": 2}, {"state": State.DIFF_READY, "work": None, "done": 3}]
    )
    with ClientMesh.connect(f"127.0.0.1:{mesh.control_port}", OPERATOR) as client:
        running = get_reprocessing(client, "reprocessings/r1")
        wait = Wait(60, 1, clock_s=lambda: 0.0, sleep=lambda _: change(mesh, **next(steps)))
        found = wait_while_running(client, running, lambda each: seen.append(each.done_site_days), wait)
    assert (found.state, seen) == (pb.REPROCESSING_STATE_DIFF_READY, [0, 1, 2, 3])
    ticks = iter(range(100))
    waited: list[float] = []
    after: list[int] = []
    silences: list[float] = []
    limits = Wait(3, 1, clock_s=lambda: float(next(ticks)), sleep=waited.append)
    with ClientMesh.connect("127.0.0.1:9", OPERATOR) as dead, pytest.raises(grpc.RpcError):
        wait_while_running(dead, running, lambda each: after.append(each.done_site_days), limits, silences.append)
    assert len(waited) > 1
    assert (after, silences) == ([0], [3])  # however long the mesh is silent, there is one progress line and one note


# --------------------------------------------------------------------------------------------------------------- lists


def test_all_are_listed_and_the_unfinished_are_the_status(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert reprocess("list", "-o", "json") == 0
    assert printed(capsys) == []
    for number, state in enumerate(State):
        work = Work.RECOMPUTE if state in (State.RUNNING, State.FAILED) else None
        mesh.stores.reprocessings.create(a_reprocessing(state.value, state=state, work=work, created_at=NOW + number))
    assert reprocess("list", "-o", "json") == 0
    assert [each["state"] for each in printed(capsys)] == [state.name for state in reversed(State)]
    assert reprocess("status", "-o", "json") == 0
    assert [each["state"] for each in printed(capsys)] == ["FAILED", "DIFF_READY", "RUNNING", "PLANNED"]
    assert reprocess("list", "-o", "table") == 0
    row = "rolled_back ROLLED_BACK logic v1 demo/shop 2015-05-17 to 2015-05-17 0 0 0"
    assert row in " ".join(capsys.readouterr().out.split())


# --------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("variable", "key", "code", "rule"),
    [
        ("HITMESH_OPERATOR_KEY", "wrong", 80, "an operator's key"),
        ("HITMESH_OPERATOR_KEY", OWNER, 71, "use an operator's key"),
        ("HITMESH_OPERATOR_KEY_FILE", "wrong", 80, "an operator's key"),
        ("", "wrong", 80, "an operator's key"),
    ],
)
def test_a_refused_key_is_named_by_its_variable_or_file(
    mesh: Mesh,
    home: Path,
    variable: str,
    key: str,
    code: int,
    rule: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store(mesh, State.PLANNED)
    place = home / "keys" / "dev-operator"
    if variable == "HITMESH_OPERATOR_KEY":
        monkeypatch.setenv(variable, key)
    else:
        place.write_text(key)
        monkeypatch.setenv(variable or "UNUSED", str(place))
    assert reprocess("run", "r1") == code
    message = capsys.readouterr().err
    assert rule in message
    assert f"; the key comes from {variable or place}" in message
    assert key not in message
