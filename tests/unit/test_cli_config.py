"""Test `hitmesh config show`: values, origins, hidden secrets, problems, and the settings of `hitmesh dev`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.config import PARTS
from hitmesh.tools.cli.config_parts import BY_DEV, BY_OPTION, CLI
from hitmesh.tools.dev.given_settings import Given, read_given, write_given
from hitmesh.tools.dev.instances import SERVICES

KEY = "hms_never_shown"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("HITMESH_")]:
        monkeypatch.delenv(name)
    found = tmp_path / "home"
    (found / "keys").mkdir(parents=True)
    (found / "run").mkdir()
    monkeypatch.setenv("HITMESH_HOME", str(found))
    return found


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Return the JSON output and the text on stderr."""
    assert run(["config", "show", *arguments, "-o", "json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def values(output: Mapping[str, Any], part: str) -> dict[str, tuple[str | None, str | None]]:
    """Return pairs of value and origin, keyed by variable."""
    found = next(each for each in output["parts"] if each["part"] == part)
    return {setting["name"]: (setting["value"], setting["origin"]) for setting in found["settings"]}


def test_parts_are_the_services_and_the_command_line() -> None:
    assert (*SERVICES, CLI) == PARTS


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_shows_its_settings_with_origins(
    service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = f"HITMESH_{service.upper()}_"
    monkeypatch.setenv(f"{prefix}STORE", "memory:")
    found = values(shown(capsys, service)[0], service)
    assert found[f"{prefix}STORE"] == ("memory:", "environment")
    assert found[f"{prefix}NODE"] == ("dev-0", "default")


def test_a_table_has_origins_only_with_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_COLLECTOR_STORE", "memory:")
    assert run(["config", "show", "collector", "--origin", "-o", "table"]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["setting", "value", "unit", "origin"]
    assert any(line.split() == ["HITMESH_COLLECTOR_STORE", "memory:", "environment"] for line in table.splitlines())
    assert run(["config", "show", "collector", "-o", "table"]) == 0
    assert "origin" not in capsys.readouterr().out


def test_a_wrong_value_is_3_with_value_rule_and_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_CONTROL_STORE", "nowhere:")
    monkeypatch.setenv("HITMESH_CONTROL_WORKERS", "0")
    output, errors = shown(capsys, "control", code=3)
    status = json.loads(errors)
    assert status["details"][0]["reason"] == "INVALID_CONFIG"
    assert "setting HITMESH_CONTROL_WORKERS '0': " in status["message"]
    assert "store 'nowhere:': write memory:," in status["message"]
    problems = {problem["variable"]: problem for problem in output["parts"][0]["problems"]}
    assert problems["HITMESH_CONTROL_WORKERS"]["value"] == "0"
    assert problems["HITMESH_CONTROL_WORKERS"]["cure"].startswith("write an integer, at least 1, at most 256")
    assert problems["HITMESH_CONTROL_STORE"]["cure"].startswith("write memory:")


def test_a_missing_setting_is_3_only_if_the_service_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, errors = shown(capsys)
    assert [part["part"] for part in output["parts"]] == [CLI]
    assert "name a service to see its defaults" in errors
    assert "set HITMESH_REPORTER_STORE to" in shown(capsys, "reporter", code=3)[1]
    monkeypatch.setenv("HITMESH_REPORTER_STORE", "memory:")
    assert [part["part"] for part in shown(capsys)[0]["parts"]] == [CLI, "reporter"]


def test_unknown_variables_are_named_with_the_nearest_right_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_HOEM", "/srv")
    monkeypatch.setenv("HITMESH_COLECTOR_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("HITMESH_TEST_SERVERS", "servers:?kafka=k:1")  # known
    output, errors = shown(capsys, code=3)
    assert output["unknown"] == [
        {"variable": "HITMESH_COLECTOR_LISTEN", "similar": "HITMESH_COLLECTOR_LISTEN"},
        {"variable": "HITMESH_HOEM", "similar": "HITMESH_HOME"},
    ]
    assert "environment variable HITMESH_HOEM is not a setting; did you mean HITMESH_HOME?" in errors


def test_an_unknown_variable_of_another_service_is_only_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_CONTROL_STORE", "memory:")
    monkeypatch.setenv("HITMESH_REPORTER_QUESTON_S", "3")
    output, errors = shown(capsys, "control")
    assert "warning: environment variable HITMESH_REPORTER_QUESTON_S is not a setting" in errors
    assert "HITMESH_REPORTER_QUESTION_S" in errors
    assert output["parts"][0]["problems"] == []
    assert "HITMESH_REPORTER_QUESTON_S" in shown(capsys, "reporter", code=3)[1]


def test_keys_are_hidden_and_their_origin_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "keys" / "dev-server").write_text(KEY)
    monkeypatch.setenv("HITMESH_OPERATOR_KEY", KEY)
    found = values(shown(capsys, CLI)[0], CLI)
    assert found["HITMESH_KEY"] == ("(hidden)", str(home / "keys" / "dev-server"))
    assert found["HITMESH_OPERATOR_KEY"] == ("(hidden)", "environment")
    assert found["HITMESH_HOME"] == (str(home), "environment")
    assert found["HITMESH_ENDPOINT"] == (None, None)
    for output in ("json", "table"):
        run(["config", "show", CLI, "--origin", "-o", output])
        captured = capsys.readouterr()
        assert KEY not in captured.out + captured.err


def test_a_key_file_that_is_missing_is_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_KEY_FILE", str(tmp_path / "none"))
    output, errors = shown(capsys, CLI, code=3)
    (problem,) = output["parts"][0]["problems"]
    assert problem["cure"] == "set HITMESH_KEY_FILE to an existing file"
    assert str(tmp_path / "none") in errors


def test_settings_of_a_running_mesh_name_the_origin(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "ready.json").write_text(json.dumps({"grpc": "127.0.0.1:8080", "pid": os.getpid()}))
    given = Given(
        "processor",
        "processor",
        {"HITMESH_PROCESSOR_STORE": f"embedded:{home}", "HITMESH_PROCESSOR_LOGIC": "v0"},
        ["HITMESH_PROCESSOR_LOGIC"],
    )
    write_given(home / "run", [given])
    assert read_given(home / "run") == [given]
    found = values(shown(capsys, "--home", str(home))[0], "processor")
    assert found["HITMESH_PROCESSOR_STORE"] == (f"embedded:{home}", BY_DEV)
    assert found["HITMESH_PROCESSOR_LOGIC"] == ("v0", BY_OPTION)
    assert found["HITMESH_PROCESSOR_NODE"] == ("dev-0", "default")
    assert values(shown(capsys, "--home", str(home))[0], CLI)["HITMESH_HOME"] == (str(home), "--home")
    assert shown(capsys, "collector", "--home", str(home))[0]["parts"] == []


def test_a_home_without_a_running_mesh_is_5(home: Path) -> None:
    assert run(["config", "show", "--home", str(home), "-o", "json"]) == 5
