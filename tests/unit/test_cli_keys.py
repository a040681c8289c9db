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
        (["--kind", "browser", "--merchant", "demo"], 2),
        (["--kind", "browser", "--site", SHORT, "--role", "read"], 67),
        (["--kind", "server", "--merchant", "nobody"], 69),
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


def printed_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command of `hitmesh keys` on merchant demo, and return its JSON output."""
    assert run(["keys", *arguments, "--merchant", "demo", "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_key_is_shown_updated_listed_rotated_revoked_and_deleted(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made(capsys, "--merchant", "demo", "--kind", "server", "--name", "night", "--expires", "2020-01-31")
    assert (key["display_name"], key["expire_time"], key["update_time"]) == (
        "night",
        "2020-01-31T00:00:00Z",
        key["create_time"],
    )
    shown = printed_by(capsys, "show", key["id"])
    assert shown == {name: value for name, value in key.items() if name != "secret"}
    mesh.clock.advance(1_000)
    changed = printed_by(capsys, "update", key["id"], "--expires", "never", "--role", "read", "--etag", key["etag"])
    assert (changed["expire_time"], changed["roles"], changed["display_name"]) == (None, ["read"], "night")
    assert changed["update_time"] > changed["create_time"]
    assert run(["keys", "update", key["id"], "--merchant", "demo", "--name", "x", "--etag", key["etag"]]) == 74
    assert "repeat the change with its etag" in capsys.readouterr().err
    new = printed_by(capsys, "rotate", key["id"], "--overlap", "2d")
    assert (new["rotated_from"], new["roles"], new["display_name"]) == (key["id"], ["read"], "night")
    assert new["replaced_key"]["expire_time"] is not None
    assert mesh.stores.directory.key(new["secret"]) is not None
    assert [found["id"] for found in printed_by(capsys, "list")] == sorted([key["id"], new["id"], "demo-1"])
    assert run(["keys", "delete", key["id"], "--merchant", "demo"]) == 73
    assert printed_by(capsys, "revoke", key["id"])["revoke_time"] is not None
    assert key["id"] not in {found["id"] for found in printed_by(capsys, "list")}
    assert key["id"] in {found["id"] for found in printed_by(capsys, "list", "--show-revoked")}
    assert printed_by(capsys, "delete", key["id"]) == {"id": key["id"], "merchant": "merchants/demo", "deleted": True}
    assert run(["keys", "show", key["id"], "--merchant", "demo"]) == 69


def test_tables_show_state_and_expiry_and_no_secret(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    key = made(capsys, "--site", SHORT, "--kind", "browser", "--expires", "2020-01-31T12:00:00+01:00")
    assert run(["keys", "list", "--merchant", "demo", "-o", "table"]) == 0
    listed = capsys.readouterr().out
    for text in ("2020-01-31T11:00:00Z", "expired", "never", "valid", "(all sites)", SHORT):
        assert text in listed
    assert run(["keys", "show", key["id"], "--merchant", "demo", "-o", "table"]) == 0
    assert key["etag"] in capsys.readouterr().out
    assert run(["keys", "rotate", key["id"], "--merchant", "demo", "-o", "table"]) == 0
    assert f"key {key['id']} of merchants/demo expires at " in capsys.readouterr().err
    for arguments in (["revoke", key["id"]], ["delete", key["id"]]):
        assert run(["keys", *arguments, "--merchant", "demo", "-o", "table"]) == 0
    assert key["secret"] not in listed


@pytest.mark.parametrize(
    "arguments",
    [
        ["update", "demo-1"],
        ["update", "demo-1", "--expires", "soon"],
        ["rotate", "demo-1", "--overlap", "2 weeks"],
        ["rotate", "demo-1", "--overlap", "-1d"],
    ],
)
def test_a_wrong_option_is_refused_before_any_call(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    before = list(mesh.stores.directory.keys("merchants/demo"))
    assert run(["keys", *arguments, "--merchant", "demo"]) == 2
    assert list(mesh.stores.directory.keys("merchants/demo")) == before


def test_an_operator_manages_the_keys_of_a_merchant(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = made(capsys, "--merchant", "demo", "--kind", "server")
    (tmp_path / "home" / "keys" / "dev-server").unlink()
    assert printed_by(capsys, "show", key["id"])["id"] == key["id"]
    assert printed_by(capsys, "rotate", key["id"])["rotated_from"] == key["id"]


def test_a_list_without_revoked_keys_names_the_option_that_shows_them(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made(capsys, "--merchant", "demo", "--kind", "server")
    assert run(["keys", "list", "--merchant", "demo", "-o", "table"]) == 0
    assert "revoked" not in capsys.readouterr().err
    mesh.stores.directory.revoke_key("merchants/demo", key["id"], mesh.clock.now())
    assert run(["keys", "list", "--merchant", "demo", "-o", "table"]) == 0
    shown = capsys.readouterr()
    assert key["id"] not in shown.out
    assert "1 revoked key not shown: --show-revoked shows revoked keys too" in shown.err
    assert run(["keys", "list", "--merchant", "demo", "--show-revoked", "-o", "table"]) == 0
    shown = capsys.readouterr()
    assert key["id"] in shown.out
    assert "not shown" not in shown.err
