"""Test `hitmesh keys` with a control service on in-memory stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitmesh.access.roles import roles_of
from hitmesh.model.sites import Role
from hitmesh.tools.cli.__main__ import run
from tests.support.reporters import RIVAL, Mesh
from tests.support.settled_rows import SITE
from tests.unit.commands import control_of_home, operators_home

SHORT = SITE.removeprefix("merchants/").replace("/sites/", "/")


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    with control_of_home(operators_home(tmp_path / "home", monkeypatch)) as mesh:
        yield mesh


def made(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert run(["keys", "create", *options, "-o", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_key_sends_only_unless_roles_are_given(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    plain = made(capsys, "--merchant", "demo", "--kind", "server")
    assert (plain["kind"], plain["roles"], plain["site"], plain["merchant"]) == (
        "server",
        ["send"],
        None,
        "merchants/demo",
    )
    more = made(capsys, "--merchant", "merchants/demo", "--kind", "server", "--role", "read", "--role", "administer")
    assert more["roles"] == ["read", "administer"]
    for key, roles in ((plain, {Role.SEND}), (more, {Role.READ, Role.ADMINISTER})):
        stored = mesh.stores.directory.key(key["secret"])
        assert stored is not None
        assert roles_of(stored) == roles


def test_a_key_for_one_site_is_created_and_revoked(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    browser = made(capsys, "--site", SHORT, "--kind", "browser")
    assert (browser["site"], browser["unbounded_history"], browser["revoke_time"]) == (SHORT, False, None)
    assert run(["keys", "revoke", "--merchant", "demo", browser["id"], "-o", "json"]) == 0
    revoked = json.loads(capsys.readouterr().out)
    assert (revoked["id"], "secret" in revoked) == (browser["id"], False)
    assert revoked["revoke_time"] is not None
    assert run(["keys", "create", "--site", SHORT, "--kind", "server", "--unbounded-history", "-o", "table"]) == 0
    assert SHORT in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--kind", "server"], 2),
        (["--kind", "server", "--site", SHORT, "--merchant", "demo"], 2),
        (["--kind", "server", "--merchant", "DEMO!"], 2),
        (["--kind", "operator", "--merchant", "demo"], 2),
        (["--kind", "browser", "--site", SHORT, "--role", "read"], 67),
        (["--kind", "server", "--merchant", "rival"], 69),
    ],
)
def test_a_wrong_key_is_refused(mesh: Mesh, options: list[str], code: int) -> None:
    assert run(["keys", "create", *options]) == code
    assert len(mesh.stores.directory.keys("merchants/demo")) == 1


def test_the_role_that_is_missing_is_named(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = made(capsys, "--merchant", "demo", "--kind", "server", "--role", "read")
    monkeypatch.setenv("HITMESH_KEY", reader["secret"])
    assert run(["keys", "create", "--merchant", "demo", "--kind", "server"]) == 71
    assert "this call needs the role administer" in capsys.readouterr().err
    monkeypatch.setenv("HITMESH_KEY", RIVAL)
    assert run(["keys", "create", "--merchant", "demo", "--kind", "server"]) == 69
