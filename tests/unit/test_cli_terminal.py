"""Test output to a terminal. Clients' control characters and invisible characters are escaped in every format."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hitmesh.api.control.v1 import admin_pb2, reprocessing_pb2, trace_pb2
from hitmesh.tools.cli import output, reprocess_output
from hitmesh.tools.cli.__main__ import run
from tests.unit.commands import WEBLOG, mesh_of_home
from tests.unit.scripted_mesh import ScriptedMesh

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x00\x08\r\n\tb\x7f\x9b31m\u202e\u2028\u2066c"
COMMANDS = Path(output.__file__).parent


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    monkeypatch.setenv("TERM", "dumb")  # no colours, because their codes are control characters
    with mesh_of_home(tmp_path / "home", monkeypatch) as mesh:
        mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, time_zone="UTC")
        yield mesh


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Make standard output and error a terminal.

    Yield a list that contains the terminal's text when the block has ended.
    """
    controller, end = os.openpty()
    tty.setraw(end, termios.TCSANOW)
    got: list[str] = []
    chunks: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(controller, 4_096):
                chunks.append(chunk)
        except OSError:  # the terminal is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patched, os.fdopen(end, "w", encoding="utf-8") as stream:
        patched.setattr(sys, "stdout", stream)
        patched.setattr(sys, "stderr", stream)
        yield got
    reader.join()
    os.close(controller)
    got.append(b"".join(chunks).decode())


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def file_of(form: str) -> bytes:
    if form == "csv":
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows([["page_path", "visits"], [HOSTILE, "1"]])
        return lines.getvalue().encode()
    row = {"page_path": HOSTILE, "visits": 1}
    warnings = {"filter": f"page_path=={HOSTILE}", "warnings": [HOSTILE]}
    document = {"rows": [row], "meta": warnings} if form == "json" else row
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize("form", ["csv", "json", "ndjson", "table", "plot"])
def test_a_value_of_a_dimension_has_no_power_over_a_terminal(
    mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    mesh.exports |= {each: file_of(each) for each in ("csv", "json", "ndjson")}
    options = ["--dimensions", "page_path", *(["--plot"] if form == "plot" else ["-o", form])]
    with terminal(monkeypatch) as got:
        code = run(["query", "--site", "demo/weblog", "--metrics", "visits", "--last", "7d", *options])
    assert code == 0
    assert harmless(got[0]), got
    assert "owned" in got[0]
    if form == "ndjson":
        assert json.loads(got[0]) == {"page_path": HOSTILE, "visits": 1}
    if form == "csv":
        assert got[0].count("\n") == 2


def test_a_file_that_is_no_text_has_no_power_over_a_terminal(
    mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.exports["csv"] = b'\xff\x9b\x1b"\n"open'
    with terminal(monkeypatch) as got:
        assert run(["query", "--site", "demo/weblog", "--metrics", "visits", "--last", "7d", "-o", "csv"]) == 0
    assert harmless(got[0]), got


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_trace_an_error_and_a_warning_have_no_power_over_a_terminal(
    mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    refusal = trace_pb2.TracedRefusal(reason=HOSTILE, field=HOSTILE, message=HOSTILE)
    mesh.traces["h"] = trace_pb2.TraceHitResponse(site=WEBLOG, hit_id="h", refusals=[refusal])
    for arguments in (["h"], [f"unknown{HOSTILE}"]):
        with terminal(monkeypatch) as got:
            run(["trace", *arguments, "--site", "demo/weblog", "-o", form])
        assert harmless(got[0]), got
        assert "owned" in got[0]
    with terminal(monkeypatch) as got:
        run([f"no{HOSTILE}", "-o", form])
    assert harmless(got[0]), got


def test_a_pipe_gets_data_as_it_is(mesh: ScriptedMesh, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    mesh.exports["csv"] = file_of("csv")
    assert run(["query", "--site", "demo/weblog", "--metrics", "visits", "--last", "7d", "-o", "csv"]) == 0
    assert capfdbinary.readouterr().out == mesh.exports["csv"]


@pytest.mark.parametrize("path", sorted(COMMANDS.glob("*.py")), ids=lambda path: path.name)
def test_commands_print_in_no_other_way(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {ast.unparse(each) for each in calls}
    forbidden = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"}
    assert path.name == "output.py" or not names & forbidden


# ---------------------------------------------------------------------------------------------------- narrow terminals

IDS = ["20261130-c1f3a9d2b7e4", "demo_shop_1764442463195_0_42_3_rejected.52c1"]
HEADERS = ["id", "state", "days of the plan", "hits"]
ROWS = [
    [IDS[0], "DIFF_READY", "2015-05-15 to 2015-05-16, 3 site-days", "1,000,000"],
    [IDS[1], "PUBLISHED", "", "-7"],
]


@pytest.mark.parametrize("columns", range(12, 140, 8))
def test_a_terminal_of_any_width_shows_every_id_and_number_whole(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", str(columns))
    with terminal(monkeypatch) as got:
        output.print_table(HEADERS, ROWS, right_from=3)
    shown = got[0].split()
    for word in " ".join([*HEADERS, *(cell for row in ROWS for cell in row)]).split():
        assert word in shown, (word, got[0])
    is_table = "\u2500" in got[0]
    assert is_table is (columns >= 44 + len("DIFF_READY") + len("2015-05-15") + len("1,000,000") + 9)
    assert not is_table or max(map(len, got[0].splitlines())) <= columns


def test_a_cell_with_wide_characters_is_whole_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    with terminal(monkeypatch) as got:
        output.print_table(["page", "hits"], [["\u65e5\u672c" * 4, "12"]], right_from=1)
    assert "\u65e5\u672c" * 4 in got[0]


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_lists_of_reprocessings_and_retired_rows_keep_ids_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    plan = reprocessing_pb2.Reprocessing(
        name=f"reprocessings/{IDS[0]}", sites=[WEBLOG], site_count=1, site_days=3, hits=1_234_567
    )
    for day in (plan.first_utc_date, plan.last_utc_date):
        day.year, day.month, day.day = 2015, 5, 15
    with terminal(monkeypatch) as got:
        reprocess_output.print_list([plan], "table")
    assert {IDS[0], "demo/weblog", "2015-05-15", "1,234,567"} <= set(got[0].split())
