"""Test `hitmesh quota` with a control service on in-memory stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hitmesh.model.quotas import CollectorReport, HitLimits, Quota, QuotaUse, Use
from hitmesh.tools.cli.__main__ import run
from tests.support.reporters import Mesh
from tests.support.settled_rows import SITE
from tests.unit.commands import control_of_home, operators_home

SHORT = SITE.removeprefix("merchants/").replace("/sites/", "/")


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    with control_of_home(operators_home(tmp_path / "home", monkeypatch)) as mesh:
        yield mesh


def test_a_changed_quota_is_shown_with_its_use(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    default = HitLimits(100, 1_000)
    use = QuotaUse(SITE, default, Use(20.0), Use(200.0), 5.0)
    mesh.stores.collector_reports.put(CollectorReport("a", default, default, (use,)), 60_000)
    assert run(["quota", "set", SHORT, "--hits-per-second", "50", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": SITE, "etag": "q1", "hits_per_second": 50}
    assert mesh.stores.directory.quota(SITE) == Quota(hits_s=50)
    assert run(["quota", "show", SHORT, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": SITE,
        "etag": "q1",
        "hits_per_second": 50,
        "effective": {"hits_per_second": 50, "bytes_per_second": 1_000},
        "usage": {
            "hits_per_second": 20.0,
            "bytes_per_second": 200.0,
            "refused_hits_per_second": 5.0,
            "collectors": 1,
        },
    }
    assert run(["quota", "show", SHORT, "-o", "table"]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("hits_per_second", "50", "used_refused_hits_per_second", "5.0"))


def test_the_table_groups_the_digits_of_large_numbers(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quota", "set", SHORT, "--bytes-per-second", "67108864", "-o", "table"]) == 0
    assert "67,108,864" in capsys.readouterr().out
    assert run(["quota", "show", SHORT, "-o", "table"]) == 0
    assert "67,108,864" in capsys.readouterr().out


def test_default_removes_a_limit(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.stores.directory.change_quota(SITE, Quota(hits_s=5, bytes_s=6))
    assert run(["quota", "set", SHORT, "--hits-per-second", "default", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": SITE, "etag": "q2", "bytes_per_second": 6}


def test_a_merchant_has_report_units_and_counts(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quota", "set", "demo", "--report-units-per-minute", "7", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "merchants/demo", "etag": "q1", "report_units_per_minute": 7}
    assert run(["quota", "show", "demo", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["max_sites"], shown["max_keys"], shown["effective"]) == (1_000, 1_000, {"report_units_per_minute": 7})
    assert shown["site_count"] == 1


def test_a_change_at_a_later_time_is_shown(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime.fromtimestamp(mesh.clock.now() / 1_000 + 3_600, UTC).isoformat()
    assert run(["quota", "set", SHORT, "--hits-per-second", "50", "--effective-time", at, "-o", "json"]) == 0
    pending = json.loads(capsys.readouterr().out)["pending_change"]
    assert (datetime.fromisoformat(pending["effective_time"]), pending["hits_per_second"]) == (
        datetime.fromisoformat(at),
        50,
    )
    assert run(["quota", "show", SHORT, "-o", "table"]) == 0
    assert f"hits_per_second from {pending['effective_time']}" in capsys.readouterr().out
    assert run(["quota", "set", SHORT, "--hits-per-second", "9", "--etag", "q0"]) != 0
    assert "ABORTED: the quota was changed since etag 'q0' was read" in capsys.readouterr().err
    assert run(["quota", "set", SHORT, "--hits-per-second", "9", "--etag", "q1"]) == 0
    assert mesh.stores.directory.quota(SITE) == Quota(hits_s=9)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2027-01-31T12:00:00", "2027-01-31T12:00:00Z"),
        ("2027-01-31T12:00:00+01:00", "2027-01-31T11:00:00Z"),
    ],
)
def test_options_with_a_time_read_it_alike_and_in_utc_without_a_zone(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], text: str, time: str
) -> None:
    mesh.clock.advance(int(datetime(2027, 1, 30, tzinfo=UTC).timestamp()) * 1_000 - mesh.clock.now())
    assert run(["quota", "set", SHORT, "--hits-per-second", "50", "--effective-time", text, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["pending_change"]["effective_time"] == time
    assert run(["keys", "create", "--merchant", "demo", "--kind", "server", "--expires", text, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["expire_time"] == time


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", SHORT],
        ["set", SHORT, "--hits-per-second", "many"],
        ["set", SHORT, "--hits-per-second", "5", "--effective-time", "tomorrow"],
        ["show", "Demo!"],
    ],
)
def test_a_wrong_argument_is_a_usage_error(mesh: Mesh, arguments: list[str]) -> None:
    assert run(["quota", *arguments]) == 2
    assert mesh.stores.directory.quota(SITE) == Quota()
