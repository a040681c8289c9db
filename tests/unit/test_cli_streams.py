"""Test failing output: a full disk, a closed descriptor, a closed pipe, and a character that the encoding lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.streams import checked
from tests.support.reporters import Mesh
from tests.unit.commands import control_of_home, operators_home

DAYS = ["--since", "2015-05-15", "--until", "2015-05-16"]
COMMANDS = [
    ["--help"],
    ["query", "--help"],
    ["--version"],
    ["version"],
    ["sites"],
    ["ledger", "--site", "demo/shop"],
    ["reprocess", "list"],
    ["reprocess", "retired"],
    ["reprocess", "plan", "--site", "demo/shop", *DAYS, "--dry-run"],
    ["rejected", "list"],
    ["rules", "list", "--site", "demo/shop"],
    ["policy", "show", "--site", "demo/shop"],
]
FULL, CLOSED_PIPE = 8, 141


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    place = tmp_path_factory.mktemp("streams") / "home"
    with pytest.MonkeyPatch.context() as patched, control_of_home(operators_home(place, patched)) as mesh:
        yield mesh


def formats(arguments: list[str]) -> list[list[str]]:
    return [arguments] if arguments[-1].startswith("--") else [[*arguments, "-o", form] for form in ("table", "json")]


EVERY = [each for arguments in COMMANDS for each in formats(arguments)]


@pytest.mark.parametrize("arguments", EVERY, ids=" ".join)
def test_a_full_disk_ends_every_command_with_8_and_the_cause(
    mesh: Mesh, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:  # noqa: PTH123  # a device
        patched.setattr(sys, "stdout", checked(full))
        assert run(arguments) == FULL
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "standard output cannot be written (No space left on device)" in message
    if arguments[-1] == "json":
        assert json.loads(message)["details"][0]["reason"] == "OUTPUT_FAILED"


@pytest.mark.parametrize("arguments", EVERY, ids=" ".join)
def test_a_closed_pipe_ends_every_command_silently_with_141(
    mesh: Mesh, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", closefd=False) as pipe, monkeypatch.context() as patched:  # a descriptor
        patched.setattr(sys, "stdout", checked(pipe))
        assert run(arguments) == CLOSED_PIPE
    os.close(writer)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (">/dev/full", FULL, "error: standard output cannot be written (No space left on device)"),
        (">&-", FULL, "error: standard output cannot be written (Bad file descriptor)"),
        (">&- 2>&-", FULL, ""),
        ("<&- >&-", FULL, "error: standard output cannot be written (Bad file descriptor)"),
        (">/dev/full 2>/dev/full", FULL, ""),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
    ],
)
def test_a_process_reports_output_that_its_shell_cannot_take(redirection: str, code: int, message: str) -> None:
    command = f"exec {sys.executable} -m hitmesh.tools.cli version -o table {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.partition(": free space")[0] == message
    assert done.stdout == "" or not code


def test_a_process_whose_reader_left_ends_like_a_filter() -> None:
    pipeline = f"{sys.executable} -m hitmesh.tools.cli version | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", pipeline.replace("| true", "| (exec <&-)")], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (f"{CLOSED_PIPE}\n", "")


def test_a_wrong_option_is_reported_as_such_even_without_a_place_for_the_message() -> None:
    command = f"exec {sys.executable} -m hitmesh.tools.cli version --nosuch 2>/dev/full"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 2


def test_an_ascii_terminal_gets_ascii_alone(tmp_path: Path) -> None:
    code = (
        "from hitmesh.tools.cli import output, plot, streams; streams.set_up_streams();"
        "output.echo('\\n'.join(plot.columns('\u00fc', ['a', 'b'], [1, 2], width=30, blocks=False)));"
        "output.print_table(['page'], [['/caf\u00e9 \u00b7 \u2013']], right_from=1, caption='\u2026 \u00b7');"
        "output.note('|new \u2212 old| \u2026')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    shown, message = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert shown.startswith("\\xfc\n2 |")
    assert "/caf\\xe9 - -" in shown
    assert shown.endswith("... -\n")
    assert message == "|new - old| ...\n"


@pytest.mark.parametrize("command", [["reprocess", "retired"], ["rejected", "list"], ["policy", "show"], ["drift"]])
def test_a_site_that_does_not_exist_is_69_for_every_command(
    mesh: Mesh, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--site", "demo/nosuch", "-o", "json"]) == 69
    assert "does not exist" in capsys.readouterr().err
