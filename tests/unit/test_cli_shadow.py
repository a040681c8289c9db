"""Test `hitmesh shadow` with a control service on in-memory stores, without a processor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitmesh.model.positions import Topic
from hitmesh.tools.cli.__main__ import run
from tests.support.reporters import NOW, Mesh
from tests.support.settled_rows import MIDNIGHT, SITE
from tests.support.stream_builders import a_partial, partials
from tests.unit.commands import control_of_home, operators_home

DAY_MS = 86_400_000
NEXT = "next: hitmesh shadow "


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    """Provide a mesh whose live stream has flushed all records."""
    with control_of_home(operators_home(tmp_path / "home", monkeypatch)) as mesh:
        mesh.stores.series.note_flushed(mesh.stores.progress.progress(Topic.HITS))
        yield mesh


def begun(mesh: Mesh) -> None:
    """Act as the processor: store the logic that the shadow stream replaces, and let the shadow stream catch up."""
    table = mesh.stores.streams.read()
    assert mesh.stores.streams.replace(table.replacing("v0"))
    shadow = mesh.stores.stream(table.newest, is_shadow=True)
    reached = mesh.stores.progress.progress(Topic.HITS)
    shadow.outbox.transaction(shadow.outbox.take_over(), [], reached)
    shadow.series.note_flushed(reached)


def shadow(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["shadow", *arguments, "-o", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["shadow", *arguments]) == 73
    return capsys.readouterr().err


def test_shadow_is_started_published_rolled_back_and_stopped(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert shadow(capsys, "status") == {"state": None, "removed_streams": 0}
    started = shadow(capsys, "start", "--logic", "v1")
    assert (started["state"], started["logic"], started["live_logic"]) == ("RUNNING", "v1", None)
    assert "the processor has not begun to run the shadow stream" in refused(capsys, "publish")
    assert not shadow(capsys, "status")["caught_up"]
    begun(mesh)
    assert shadow(capsys, "start", "--logic", "v1")["live_logic"] == "v0"
    assert "stop the shadow stream first" in refused(capsys, "start", "--logic", "v0")
    assert shadow(capsys, "publish", "--wait")["state"] == "PUBLISHED"
    assert shadow(capsys, "rollback")["state"] == "RUNNING"
    assert shadow(capsys, "publish")["state"] == "PUBLISHED"
    assert shadow(capsys, "stop")["state"] == "ADOPTING"
    assert "when the shadow stream is the live stream, start a shadow stream" in refused(capsys, "rollback")


def test_unpublished_shadow_is_dropped_at_once(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    shadow(capsys, "start", "--logic", "v1")
    assert shadow(capsys, "stop", "--wait") == {"state": None, "removed_streams": 0}
    assert shadow(capsys, "status") == {"state": None, "removed_streams": 1}
    assert shadow(capsys, "stop") == {"state": None, "removed_streams": 0}, "repeating changes nothing"


def test_diff_shows_old_and_new_sums(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    shadow(capsys, "start", "--logic", "v1")
    begun(mesh)
    at = {"site": SITE, "day": NOW // DAY_MS, "cell": NOW - NOW % DAY_MS, "hits": 4}
    mesh.stores.series.put_partials(partials(a_partial(**at, visits=4), a_partial(**at, visits=1, generation=-1)))
    found = shadow(capsys, "diff", "--site", "demo/shop")
    assert (found["site_days"], found["changed_site_days"], found["settled_site_days"]) == (1, 1, 0)
    totals = {name: (metric["old"], metric["new"]) for name, metric in found["totals"].items()}
    assert totals == {"hits": (4, 4), "visits": (4, 1)}
    assert [list(day["metrics"]) for day in found["days"]] == [["visits"]]
    assert run(["shadow", "diff", "-o", "table"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("shadow stream v1 beside v0: RUNNING, reports read the live stream\n1 of 1 site-day changed")
    assert "-75.00 %" in text


def test_diff_of_a_site_that_does_not_exist_is_refused(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    shadow(capsys, "start", "--logic", "v1")
    assert run(["shadow", "diff", "--site", "demo/shop", "--site", "demo/shpo"]) == 69
    assert "site 'merchants/demo/sites/shpo' does not exist" in capsys.readouterr().err


def test_status_and_advice_are_for_a_person(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["shadow", "start", "--logic", "v1", "-o", "table"]) == 0
    assert capsys.readouterr().err.strip() == f"{NEXT}diff, then hitmesh shadow publish --wait"
    begun(mesh)
    assert run(["shadow", "status", "-o", "table"]) == 0
    title, days, *_, progress = capsys.readouterr().out.splitlines()
    assert title == "shadow stream v1 beside v0: RUNNING, reports read the live stream"
    assert days.split() == ["days", "from", "2015-05-17", "on,", "except", "settled", "days"]
    assert progress.split() == ["progress", "0.0", "s", "behind", "the", "live", "stream,", "caught", "up"]
    assert MIDNIGHT < NOW


def test_unknown_logic_is_refused(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["shadow", "start", "--logic", "v9"]) == 67
    assert "is not a version of the logic" in capsys.readouterr().err
