"""Test `hitmesh reprocess retired` with a control service on in-memory stores, and `query --data-version`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.model.generations import Drift
from hitmesh.model.sites import SiteDay
from hitmesh.tools.cli import reprocess_retired
from hitmesh.tools.cli.__main__ import run
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import UTC_DAY
from tests.support.reporters import NOW, Mesh
from tests.support.settled_rows import SITE
from tests.unit.commands import WEBLOG, control_of_home, mesh_of_home, operators_home

BLOG = "merchants/demo/sites/blog"
DRIFT = Drift(confirmed=False, rows_differ=True, sketch_provisional=False, measures={})


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    """Provide a mesh with replaced rows that may be removed.

    The stream wrote the replaced rows for a day of two sites.
    """
    with control_of_home(operators_home(tmp_path / "home", monkeypatch)) as mesh:
        for site in (SITE, BLOG):
            publish_day(mesh.stores.generations, SiteDay(site, UTC_DAY), NOW - 1_000, drift=DRIFT)
        yield mesh


def test_retired_generations_are_listed_as_json(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reprocess", "retired", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["site"] for each in found] == ["demo/blog", "demo/shop"]
    assert found[1] == {
        "site": "demo/shop",
        "utc_date": "2015-05-17",
        "generation": 0,
        "replace_time": None,
        "keep_until_time": "2015-05-18T23:59:59Z",
        "reason": "DUE",
        "reprocessing": None,
        "rows": None,
        "size_bytes": None,
    }


def test_retired_generations_of_a_site_are_a_table(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reprocess", "retired", "--site", "demo/shop", "-o", "table"]) == 0
    header, _, row = capsys.readouterr().out.strip().splitlines()
    assert header.split()[:4] == ["site", "UTC", "day", "replaced"]
    assert row.split() == ["demo/shop", "2015-05-17", "–", "2015-05-18T23:59:59Z", "removed", "next", "0", "–", "–"]


def test_the_list_is_bounded(mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reprocess_retired, "MAX_LISTED", 1)
    assert run(["reprocess", "retired", "-o", "json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 1
    assert "more than 1 generations: only these are listed; name a site with --site" in captured.err


def test_query_requests_the_given_data_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mesh_of_home(tmp_path / "home", monkeypatch) as mesh:
        mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, time_zone="UTC")
        mesh.exports["csv"] = b""
        query = ["query", "--site", "demo/weblog", "--metrics", "visits", "--last", "7d", "-o", "csv"]
        assert run([*query, "--data-version", "k1-abc"]) == 0
        assert run(query) == 0
        assert [request.data_version for request in mesh.export_requests] == ["k1-abc", ""]
