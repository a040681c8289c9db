"""Test that every HITMESH_* variable is described, that docs/settings.md is current, and that load explains errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from collector.settings import CollectorSettings
from control.settings import ControlSettings
from dev import make_settings
from hitmesh.model.errors import RefusedError
from hitmesh.runtime.config import LogLevel, ServiceSettings, checked, load
from hitmesh.runtime.config_report import report
from hitmesh.runtime.described import as_text, variables_of
from hitmesh.runtime.variables import HIDDEN, NUMBERS, Secret, Unit, Variable, masked, nearest_name
from hitmesh.tools.cli.variables import TESTS

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {variable.name: variable for variable in make_settings.known_variables()}
# Misspelt names in the examples of docstrings.
MISSPELT = {"HITMESH_PROCESSOR_FOO", "HITMESH_HOEM"}
# The unit that each ending of a name stands for. A rate, such as bytes/s, also ends in _S.
UNITS = {"_MS": "ms", "_S": "s", "_BYTES": "bytes", "_DAYS": "days", "_HITS": "hits", "_ROWS": "rows"}
SECRETS = re.compile(r"_(KEY|TOKEN|SECRET|PASSWORD)$")
MEMORY = {"HITMESH_COLLECTOR_STORE": "memory:"}


@pytest.mark.parametrize("variable", KNOWN.values(), ids=KNOWN)
def test_every_variable_has_a_meaning_and_every_number_has_a_unit(variable: Variable) -> None:
    assert len(variable.meaning) > 10, f'{variable.name}: write Field(description="…")'
    if variable.kind in NUMBERS:
        assert variable.unit, f'{variable.name}: write Annotated[int, Unit("…")]'
    else:
        assert variable.unit == ""
    assert variable.is_secret == (variable.kind == "text" and bool(SECRETS.search(variable.name)))


@pytest.mark.parametrize("variable", KNOWN.values(), ids=KNOWN)
def test_a_unit_agrees_with_the_ending_of_the_name(variable: Variable) -> None:
    ending = next((ending for ending in UNITS if variable.name.endswith(ending)), None)
    if ending is not None:
        assert variable.unit == UNITS[ending] or (ending == "_S" and variable.unit.endswith("/s"))


def test_the_page_of_settings_is_current() -> None:
    assert make_settings.main(["--check"]) == 0
    assert all(f"| `{name}` |" in make_settings.page() for name in KNOWN)


def test_a_page_that_differs_fails_the_check_and_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_settings, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    assert make_settings.main(["--check"]) == 1
    assert "run `make settings`" in capsys.readouterr().err
    assert make_settings.main([]) == 0
    assert make_settings.main(["--check"]) == 0
    file = tmp_path / "docs" / "settings.md"
    file.write_text(file.read_text().replace("| `250` |", "| `251` |"))
    assert make_settings.main(["--check"]) == 1


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        ("4194304", "bytes", " (4 MiB)"),
        ("1048576", "bytes/s", " (1 MiB/s)"),
        ("180000", "ms", " (3 min)"),
        ("604800000", "ms", " (7 days)"),
        ("250", "ms", ""),
        ("0", "ms", ""),
        ("0.5", "s", ""),
    ],
)
def test_large_numbers_are_also_shown_in_a_larger_unit(value: str, unit: str, shown: str) -> None:
    assert make_settings.readable(value, unit) == shown


def _texts() -> Iterator[tuple[Path, str]]:
    """Yield every file of the product, its scripts and documents; CHANGELOG may name variables that no longer exist."""
    folders = ("hitmesh", "collector", "processor", "reporter", "control", "dev", "envoy", "k8s", "proto", "docs")
    files = [ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "pyproject.toml")]
    files += [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in files:
        if path.suffix not in {".pyc", ".binpb", ".gz"}:
            yield path, path.read_text(encoding="utf-8", errors="replace")


def test_every_variable_that_code_or_a_document_names_is_a_setting() -> None:
    wrong, count = [], 0
    for path, text in _texts():
        for name in re.findall(r"HITMESH_[A-Z0-9_]*", text):
            count += 1
            is_prefix = name.endswith("_") and any(known.startswith(name) for known in KNOWN)
            if not (is_prefix or name in KNOWN or name in MISSPELT):
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert count > 100
    assert not wrong, "describe the variable in a settings class or in hitmesh/tools/cli/variables.py"


def test_every_variable_of_the_tests_is_described() -> None:
    scripts = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "dev").iterdir()]
    text = "\n".join(path.read_text(encoding="utf-8") for path in scripts if path.is_file())
    pattern = r"HITMESH_(?:(?:TEST|KUBE)_[A-Z0-9_]*|HELM|PROMTOOL)"
    named = {name for name in re.findall(pattern, text) if not name.endswith("_")}
    assert named == {variable.name for variable in TESTS}


class SampleSettings(ServiceSettings):
    """Settings with a secret."""

    model_config = SettingsConfigDict(env_prefix="HITMESH_SAMPLE_", extra="forbid", frozen=True)

    api_token: Annotated[str, Secret()] = Field(default="", max_length=9, description="A secret for this test")
    share: Annotated[float, Unit("share")] = Field(default=0.5, gt=0, lt=1, description="A share for this test")


SAMPLE = {"HITMESH_SAMPLE_STORE": "memory:"}


def test_bounds_and_defaults_are_described() -> None:
    variables = {variable.name: variable for variable in variables_of(SampleSettings, "HITMESH_SAMPLE_")}
    assert variables["HITMESH_SAMPLE_SHARE"].bounds == "more than 0, less than 1"
    assert variables["HITMESH_SAMPLE_SHARE"].default == "0.5"
    assert variables["HITMESH_SAMPLE_STORE"].default is None
    assert KNOWN["HITMESH_COLLECTOR_RECORD_ROWS"].bounds == "at least 1, at most 20,000"
    assert KNOWN["HITMESH_CONTROL_OPEN_READS"].kind == "true or false"
    assert KNOWN["HITMESH_PROCESSOR_ROLE"].bounds == "all, stream or settler"
    assert [as_text(value) for value in (True, 600.0, 0.25, 7)] == ["true", "600", "0.25", "7"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "LINGER_MS",
            "abc",
            "setting HITMESH_COLLECTOR_LINGER_MS 'abc': Input should be a valid integer, unable to parse string as an "
            "integer; write an integer, at least 0, at most 5,000 (ms), or unset the variable for the default 250",
        ),
        (
            "LOG_LEVEL",
            "loud",
            "setting HITMESH_COLLECTOR_LOG_LEVEL 'loud': Input should be 'debug', 'info', 'warning' or 'error'; write "
            "debug, info, warning or error, or unset the variable for the default info",
        ),
        (
            "LINGRE_MS",
            "1",
            "environment variable HITMESH_COLLECTOR_LINGRE_MS is not a setting; did you mean "
            "HITMESH_COLLECTOR_LINGER_MS?",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_value_rule_and_cure(name: str, value: str, message: str) -> None:
    with pytest.raises(RefusedError) as refused:
        load(CollectorSettings, {**MEMORY, f"HITMESH_COLLECTOR_{name}": value})
    assert refused.value.message == message


def test_a_missing_setting_is_refused_with_the_values_that_are_allowed() -> None:
    with pytest.raises(RefusedError, match="set HITMESH_COLLECTOR_STORE to memory:, embedded:/absolute/directory or"):
        load(CollectorSettings, {})


def test_all_problems_are_found_at_once() -> None:
    wrong = {"HITMESH_COLLECTOR_LINGER_MS": "-1", "HITMESH_COLLECTOR_WORKERS": "0", "HITMESH_COLLECTOR_FOO": "1"}
    settings, problems = checked(CollectorSettings, wrong)
    assert settings is None
    assert {problem.variable for problem in problems} == {*wrong, "HITMESH_COLLECTOR_STORE"}
    assert all(problem.rule and problem.cure for problem in problems)


def test_only_the_given_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITMESH_COLLECTOR_LINGER_MS", "7")
    monkeypatch.setenv("hitmesh_collector_workers", "9")
    settings = load(CollectorSettings, MEMORY)
    assert (settings.linger_ms, settings.workers) == (250, 64)
    assert load(CollectorSettings, {**MEMORY, "HITMESH_COLLECTOR_LINGER_MS": "7"}).linger_ms == 7


def test_a_log_level_may_be_written_in_capitals() -> None:
    assert load(CollectorSettings, {**MEMORY, "HITMESH_COLLECTOR_LOG_LEVEL": "DEBUG"}).log_level is LogLevel.DEBUG


def test_a_report_has_values_with_their_origins() -> None:
    found = report(ControlSettings, {"HITMESH_CONTROL_STORE": "memory:", "HITMESH_CONTROL_OPEN_READS": "1"})
    values = {setting["name"]: (setting["value"], setting["origin"]) for setting in found["settings"]}
    assert values["HITMESH_CONTROL_OPEN_READS"] == ("true", "environment")
    assert values["HITMESH_CONTROL_WORKERS"] == ("8", "default")
    assert found["problems"] == []


def test_a_report_of_a_wrong_environment_has_the_texts_and_the_problems() -> None:
    found = report(ControlSettings, {"HITMESH_CONTROL_WORKERS": "0"})
    values = {setting["name"]: (setting["value"], setting["origin"]) for setting in found["settings"]}
    assert values["HITMESH_CONTROL_WORKERS"] == ("0", "environment")
    assert values["HITMESH_CONTROL_STORE"] == (None, None)
    assert {problem["variable"] for problem in found["problems"]} == {
        "HITMESH_CONTROL_STORE",
        "HITMESH_CONTROL_WORKERS",
    }


@pytest.mark.parametrize("token", ["hms-77", "longer-than-allowed"])
def test_a_secret_is_in_no_report_and_in_no_message(token: str) -> None:
    found = report(SampleSettings, {**SAMPLE, "HITMESH_SAMPLE_API_TOKEN": token})
    shown = {setting["name"]: setting["value"] for setting in found["settings"]}
    assert shown["HITMESH_SAMPLE_API_TOKEN"] == HIDDEN
    assert token not in str(found)
    assert bool(found["problems"]) == (len(token) > 9)


def test_the_password_in_a_url_is_hidden() -> None:
    url = KNOWN["HITMESH_COLLECTOR_STORE"]
    assert masked(url, "servers:?broker=http://me:s3cret@b:8082") == f"servers:?broker=http://me:{HIDDEN}@b:8082"
    assert masked(url, "embedded:/srv/a:b@c") == "embedded:/srv/a:b@c"
    assert masked(KNOWN["HITMESH_KEY"], "") == ""


def test_the_nearest_name_is_found() -> None:
    assert nearest_name("HITMESH_HOEM", KNOWN) == "HITMESH_HOME"
    assert nearest_name("HITMESH_COLECTOR_LISTEN", KNOWN) == "HITMESH_COLLECTOR_LISTEN"
    assert nearest_name("ZZZ", KNOWN) is None
