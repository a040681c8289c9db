"""Test `hitmesh rules` with a control service on in-memory stores: requests, output and exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.reprocess_tables import diff_fields, print_diff
from tests.support.reporters import OPERATOR, Mesh
from tests.support.settled_rows import SITE
from tests.unit.commands import control_of_home, operators_home

SHOP = ("--site", "demo/shop")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return operators_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def mesh(home: Path) -> Iterator[Mesh]:
    with control_of_home(home) as mesh:
        yield mesh


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command that must succeed; return its JSON."""
    assert run(["rules", *arguments, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_rules_are_added_listed_and_removed(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    added = printed(capsys, "add", *SHOP, "page", "^/admin/")
    assert (added["id"], added["kind"], added["value"]) == ("1", "page", "^/admin/")
    printed(capsys, "add", *SHOP, "user-agent", "(?i)probe")
    found = printed(capsys, "list", *SHOP)
    assert [(rule["id"], rule["kind"]) for rule in found] == [("1", "page"), ("2", "user-agent")]
    removed = printed(capsys, "remove", *SHOP, "1")
    assert removed == {"site": "demo/shop", "id": "1", "removed": True, "rules_version": 3}
    assert [rule["id"] for rule in printed(capsys, "list", *SHOP)] == ["2"]


def test_dry_run_changes_nothing(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert "id" not in printed(capsys, "add", *SHOP, "country", "at", "--dry-run")
    assert printed(capsys, "list", *SHOP) == []


def test_server_key_of_the_merchant_serves_where_no_operator_key_is_found(
    mesh: Mesh, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "keys" / "dev-operator").unlink()
    assert printed(capsys, "add", *SHOP, "country", "AT")["id"] == "1"


def test_key_that_a_variable_gives_is_used_instead_of_the_operators_key_in_the_home(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_KEY", "hms_key-of-nobody-0123456789abcdef0123456789")
    assert run(["rules", "add", *SHOP, "country", "AT", "-o", "json"]) == 80
    assert json.loads(capsys.readouterr().err)["details"][0]["reason"] == "UNKNOWN_KEY"
    monkeypatch.setenv("HITMESH_OPERATOR_KEY", OPERATOR)
    assert printed(capsys, "add", *SHOP, "country", "AT")["id"] == "1"


def test_networks_are_stored_on_request_and_network_rules_need_them(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    network = ("add", *SHOP, "network", "203.0.113.0/24")
    assert run(["rules", *network, "-o", "json"]) != 0
    assert json.loads(capsys.readouterr().err)["details"][0]["reason"] == "RULE_NOT_APPLICABLE"
    assert printed(capsys, "store-network", *SHOP) == {"site": "demo/shop", "store_network": True}
    assert printed(capsys, *network)["value"] == "203.0.113.0/24"
    printed(capsys, "remove", *SHOP, "2")
    assert printed(capsys, "store-network", *SHOP, "--off") == {"site": "demo/shop", "store_network": False}


def test_tables_name_the_next_command(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "add", *SHOP, "page", "^/admin/", "-o", "table"]) == 0
    shown = capsys.readouterr()
    assert "^/admin/" in shown.out
    assert "hitmesh reprocess plan --kind rules" in shown.err
    site = mesh.stores.directory.site(SITE)
    assert site is not None
    assert site.rules.version == 1


def test_difference_names_the_hits_that_have_no_network(capsys: pytest.CaptureFixture[str]) -> None:
    warning = pb.ReprocessingWarning(reason="RULE_NOT_APPLICABLE", hits=7, message="seven hits")
    found = pb.GetReprocessingDiffResponse(
        site_days=1, changed_site_days=1, reasons=pb.ChangeReasons(), warnings=[warning]
    )
    print_diff(found, "")
    assert "\n\nRULE_NOT_APPLICABLE: seven hits\n\n" in capsys.readouterr().out
    assert diff_fields(found, "")["warnings"] == [{"reason": "RULE_NOT_APPLICABLE", "hits": 7, "message": "seven hits"}]
