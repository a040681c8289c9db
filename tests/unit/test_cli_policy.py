"""Test `hitmesh policy` with a control service on in-memory stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.model.days import date_text
from hitmesh.model.sites import PolicyChange
from hitmesh.tools.cli.__main__ import run
from tests.support.reporters import RIVAL, Mesh
from tests.support.settled_rows import SITE
from tests.unit.commands import control_of_home, operators_home

SHORT = SITE.removeprefix("merchants/").replace("/sites/", "/")


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    with control_of_home(operators_home(tmp_path / "home", monkeypatch)) as mesh:
        yield mesh


def scheduling(day: str, campaign: str = "keeps", midnight: str = "splits") -> list[str]:
    switches = ["--campaign", campaign, "--midnight", midnight]
    return ["policy", "schedule", "--site", SHORT, "--from", day, *switches, "-o", "json"]


def test_a_scheduled_policy_is_shown_after_the_policy_of_the_creation(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    day = date_text(mesh.clock.now() // 86_400_000 + 9)
    assert run(scheduling(day)) == 0
    printed = json.loads(capsys.readouterr().out)
    first = {"first_utc_date": None, "campaign": "splits", "midnight": "keeps", "version": "v1"}
    later = {"first_utc_date": day, "campaign": "keeps", "midnight": "splits"}
    assert printed["policies"] == [first, {**later, "version": "v1-campaign-keeps-midnight"}]
    assert run(["policy", "show", "--site", SHORT, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == printed
    assert run(["policy", "show", "--site", SHORT, "-o", "table"]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("(creation)", day, "v1-campaign-keeps-midnight"))


def test_another_policy_for_the_same_day_is_refused(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    day = date_text(mesh.clock.now() // 86_400_000 + 9)
    assert run(scheduling(day)) == run(scheduling(day)) == 0
    assert run(scheduling(day, midnight="keeps")) != 0
    assert "never edited" in json.loads(capsys.readouterr().err)["message"]
    (change,) = stored_changes(mesh)
    assert change.split_at_local_midnight


def test_the_key_of_another_merchant_schedules_no_policy(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_KEY", RIVAL)
    assert run(scheduling(date_text(mesh.clock.now() // 86_400_000 + 9))) != 0
    assert "does not exist or is not yours" in json.loads(capsys.readouterr().err)["message"]
    assert not stored_changes(mesh)


@pytest.mark.parametrize("missing", ["--from", "--campaign", "--midnight"])
def test_each_part_of_a_change_must_be_given(missing: str, mesh: Mesh) -> None:
    given = scheduling("2030-01-01")
    at = given.index(missing)
    assert run(given[:at] + given[at + 2 :]) == 2
    assert not stored_changes(mesh)


def stored_changes(mesh: Mesh) -> tuple[PolicyChange, ...]:
    site = mesh.stores.directory.site(SITE)
    assert site is not None
    return site.policy_changes
