"""Test `hitmesh sites` and `hitmesh merchants` with a control service on in-memory stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitmesh.tools.cli.__main__ import run
from tests.support.reporters import Mesh
from tests.support.settled_rows import SITE
from tests.unit.commands import control_of_home, operators_home

SHORT = SITE.removeprefix("merchants/").replace("/sites/", "/")
CREATE = ["sites", "create", "demo/new", "--zone", "Europe/Berlin", "--currency", "eur", "--own-host", "New.example"]


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    with control_of_home(operators_home(tmp_path / "home", monkeypatch)) as mesh:
        yield mesh


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command that must succeed, and return its JSON output."""
    assert run([*arguments, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_sites_without_a_command_lists_as_before(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = printed(capsys, "sites")
    assert list(shown) == ["site", "name", "time_zone", "currency", "create_time"]
    assert [shown] == printed(capsys, "sites", "list")
    assert run(["sites", "-o", "table"]) == 0
    assert SHORT in capsys.readouterr().out
    assert run(["sites", "nonsense"]) == 2


@pytest.mark.parametrize("option", [["--endpoint", "127.0.0.1:1"], ["--home", "elsewhere"], ["-o", "json"]])
@pytest.mark.parametrize("group", ["sites", "keys", "merchants"])
def test_an_option_before_the_command_is_refused(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], group: str, option: list[str]
) -> None:
    printed(capsys, *CREATE)
    before = printed(capsys, "sites")
    assert run([group, *option, "delete", "demo/new"]) == 2
    if group == "sites":
        assert "options stand after the command: hitmesh sites list -o json" in capsys.readouterr().err
    assert printed(capsys, "sites") == before


def test_site_is_created_shown_and_changed(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    created = printed(capsys, *CREATE, "--no-consent-by-default")
    assert (created["site"], created["time_zone"], created["currency"]) == ("demo/new", "Europe/Berlin", "EUR")
    assert (created["own_hosts"], created["consent_by_default"], created["spread"]) == (["new.example"], False, 1)
    assert (
        created == printed(capsys, *CREATE, "--no-consent-by-default") == printed(capsys, "sites", "show", "demo/new")
    )
    origins = ["--allowed-origin", "https://new.example", "--allowed-origin", "https://*.new.example"]
    update = ["sites", "update", "demo/new", "--clear", "own_hosts", "--consent-by-default", *origins]
    changed = printed(capsys, *update, "--etag", created["etag"])
    assert (changed["own_hosts"], changed["consent_by_default"]) == ([], True)
    assert changed["allowed_origins"] == ["https://new.example", "https://*.new.example"]
    assert run([*update, "--display-name", "Late", "--etag", created["etag"]]) == 74
    assert run(["sites", "show", "demo/new", "-o", "table"]) == 0
    assert "https://*.new.example" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["--clear", "own_hosts", "--own-host", "a.example"], ["--clear", "currency"], ["--consent-by-default=maybe"]],
)
def test_wrong_change_is_a_usage_error(mesh: Mesh, arguments: list[str]) -> None:
    assert run(["sites", "update", SHORT, *arguments]) == 2


def test_site_is_deleted_listed_and_restored(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert "delete_time" in printed(capsys, "sites", "delete", SHORT)
    assert printed(capsys, "sites") == []
    (listed,) = printed(capsys, "sites", "list", "--deleted")
    assert listed["site"] == SHORT
    assert run(["sites", "list", "--deleted", "-o", "table"]) == 0
    assert listed["delete_time"] in capsys.readouterr().out
    assert run(["sites", "show", SHORT]) == run(["sites", "delete", SHORT]) == 69
    assert "delete_time" not in printed(capsys, "sites", "undelete", SHORT)
    assert [site["site"] for site in printed(capsys, "sites")] == [SHORT]


def test_merchant_is_created_shown_changed_listed_and_deleted(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    created = printed(capsys, "merchants", "create", "acme", "--display-name", "Acme")
    assert (created["merchant"], created["name"], created["display_name"]) == ("acme", "merchants/acme", "Acme")
    assert created == printed(capsys, "merchants", "show", "acme")
    changed = printed(capsys, "merchants", "update", "acme", "--display-name", "Acme Ltd", "--etag", created["etag"])
    assert changed["display_name"] == "Acme Ltd"
    assert run(["merchants", "update", "acme", "--display-name", "", "--etag", created["etag"]]) == 74
    assert [each["merchant"] for each in printed(capsys, "merchants", "list")] == ["acme", "demo", "rival"]
    assert run(["merchants", "list", "-o", "table"]) == 0
    assert "Acme Ltd" in capsys.readouterr().out
    assert run(["merchants", "create", "acme"]) == 70
    deleted = {"name": "merchants/acme", "deleted_sites": 0, "revoked_keys": 0}
    assert printed(capsys, "merchants", "delete", "acme", "--etag", changed["etag"]) == deleted
    assert run(["merchants", "show", "acme"]) == 69


def test_merchant_with_sites_is_deleted_only_with_force(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merchants", "delete", "rival"]) == 73
    assert "1 site and 1 valid key" in capsys.readouterr().err
    assert run(["merchants", "delete", "rival", "--force", "-o", "table"]) == 0
    assert capsys.readouterr().out == "deleted merchants/rival with 1 site, and revoked 1 key\n"


def test_merchants_need_an_operators_key(mesh: Mesh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home" / "keys" / "dev-operator").unlink()
    for arguments in (["list"], ["create", "acme"], ["update", "demo", "--display-name", "x"], ["delete", "demo"]):
        assert run(["merchants", *arguments]) == 3
    assert run(["merchants", "show", "demo"]) == 0
