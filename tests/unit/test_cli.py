"""Test the command line without a mesh: help, usage errors, exit codes, errors as JSON, and dates."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from google.rpc import error_details_pb2, status_pb2

from hitmesh import __version__
from hitmesh.client import home as client_home
from hitmesh.model.errors import FatalError, NotFound, RefusedError, StoreCorrupt, Unavailable
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.__main__ import COMMANDS, root, run, wants_json
from hitmesh.tools.cli.dates import resolve_dates, utc_dates
from hitmesh.tools.cli.exits import CommandFailed, Exit, failure_of
from hitmesh.tools.cli.lazy import LazyGroup
from hitmesh.tools.cli.output import json_line
from tests.support.dates import a_date

UNUSED_ENDPOINT = "127.0.0.1:9"
QUERY = ["query", "--site", "demo/shop", "--metrics", "visits"]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HITMESH_ENDPOINT", "HITMESH_KEY", "HITMESH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HITMESH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def commands(group: LazyGroup, path: str = "") -> Iterator[tuple[str, str, click.Command]]:
    """Yield path, summary and command for everything in a group: its commands and, recursively, its groups."""
    context = click.Context(group)
    for name, (_, summary) in group.lazy.items():
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path}{name}", summary, command
        if isinstance(command, LazyGroup):
            yield from commands(command, f"{path}{name} ")


def of_this_page() -> list[tuple[str, str, click.Command]]:
    assert isinstance(root, LazyGroup)
    return [entry for entry in commands(root) if entry[0] != "dev"]


def test_help_lists_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    for code in (*Exit, "64+n"):
        assert f"\n    {code:<4} " in shown if isinstance(code, str) else f"\n    {code.value:<4} " in shown


@pytest.mark.parametrize("path", [path for path, _, _ in of_this_page()])
def test_help_of_every_command_has_a_summary_and_two_examples(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    examples = shown.partition("Examples:")[2]
    assert examples.count("hitmesh ") >= 2
    assert shown.startswith("Usage: hitmesh ")


def test_summary_in_a_groups_help_is_the_commands_own() -> None:
    for path, summary, command in of_this_page():
        assert path == "send" or summary == command.get_short_help_str(100), path


def test_help_imports_neither_grpc_nor_rich_nor_polars() -> None:
    code = (
        "import sys\nfrom hitmesh.tools.cli.__main__ import run\nrun(['--help'])\n"
        "print(' '.join({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"grpc", "google", "rich", "polars", "numpy", "pydantic", "platformdirs", "psutil"} & set(
        ran.stderr.split()
    )


def test_without_a_command_help_is_shown_as_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["qery"], "did you mean query?"),
        (["import", "acces-log"], "did you mean access-log?"),
        (["xyzzy"], "commands are dev, import"),
        (["dev", "--processor-setting", "keep_superseded_ms"], "'keep_superseded_ms' is not NAME=VALUE"),
        (["query"], "Missing option '--site'"),
        ([*QUERY], "the range is missing"),
        ([*QUERY, "--until", "2015-05-20"], "the range is missing"),
        ([*QUERY, "--last", "7d", "--since", "today"], "--last cannot be combined with --since or --until"),
        ([*QUERY, "--since", "20150517"], "is not a date"),
        ([*QUERY, "--since", "2015-02-30"], "is not a date"),
        ([*QUERY, "--last", "7d", "--grain", "minute"], "'minute' is not one of"),
        ([*QUERY, "--last", "7d", "--limit", "0"], "not in the range"),
        ([*QUERY, "--last", "7d", "-o", "xml"], "'xml' is not one of"),
        ([*QUERY, "--last", "7d", "--endpoint", "nowhere"], "write HOST:PORT"),
        ([*QUERY, "--metrcs", "a"], "--metrics"),
        (["query", "--site", "Shop", "--metrics", "visits", "--last", "7d"], "MERCHANT/SITE"),
        (["import", "access-log", "missing.log", "--site", "demo/a"], "does not exist"),
        (["import", "access-log"], "Missing argument 'FILE..."),
        (["import", "shop-csv", __file__, "--site", "demo/a", "--currency", "dollar"], "three letters"),
        (["send", "page", "/a"], "Missing option '--site'"),
        (["trace", "h1"], "Missing option '--site'"),
        (["ledger", "--since", "20150517"], "is not a date"),
        (["ledger", "--timeout", "-1"], "not in the range"),
        ([*QUERY, "--last", "7d", "--data-version", ""], "the version is empty"),
        (["policy", "schedule", "--site", "demo/a", "--from", "today"], "is not a date: write YYYY-MM-DD\n"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_remedy(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


EVERY_COMMAND = [
    [*QUERY, "--last", "7d"],
    ["sites"],
    ["freshness"],
    ["freshness", "--site", "demo/a"],
    ["ledger"],
    ["ledger", "--site", "demo/a"],
    ["drift"],
    ["drift", "--site", "demo/a"],
    ["trace", "h1", "--site", "demo/a"],
    ["send", "page", "/a", "--site", "demo/a"],
    ["import", "access-log", __file__, "--site", "demo/a"],
    ["import", "shop-csv", __file__, "--site", "demo/a"],
]


@pytest.mark.parametrize("arguments", EVERY_COMMAND)
def test_home_without_a_mesh_exits_with_5_and_names_the_remedy(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_home, "LOCK_TIMEOUT_S", 0.0)
    assert run(arguments) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "`hitmesh dev`" in captured.err


@pytest.mark.parametrize("arguments", EVERY_COMMAND)
def test_endpoint_without_a_listener_exits_with_5_and_prints_a_status(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--endpoint", UNUSED_ENDPOINT, "-o", "json"]) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    status = json.loads(captured.err)
    assert (status["code"], status["details"][0]["reason"]) == (14, "NO_MESH")
    assert "`hitmesh dev`" in status["message"]


def test_a_broken_ready_file_ends_with_3(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_home.mkdir()
    (own_home / "ready.json").write_text("{")
    assert run([*QUERY, "--last", "7d", "-o", "json"]) == 3
    assert json.loads(capsys.readouterr().err)["code"] == 9


def test_wrong_usage_is_a_status_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", "-o", "json"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["code"] == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-o", "json"], True),
        (["-ojson"], True),
        (["--output", "ndjson"], True),
        (["--output=json"], True),
        (["-o", "table", "json"], False),
        (["-o"], False),
        (["json"], False),
    ],
)
def test_json_is_recognised_in_arguments_that_may_be_wrong(arguments: list[str], expected: bool) -> None:
    assert wants_json(arguments) is expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.UsageError("x"), 2),
        (click.FileError("x"), 2),
        (RefusedError("x"), 2),
        (NotFound("x"), 2),
        (RefusedError("x", reason=LocalReason.NO_KEY), 3),
        (RefusedError("x", reason=LocalReason.INVALID_CONFIG), 3),
        (CommandFailed(Exit.CANNOT_START, "port 8080 is taken by pid 7"), 4),
        (CommandFailed(Exit.PROBLEMS_FOUND, "x"), 7),
        (CommandFailed(67, "x"), 67),
        (Unavailable("x"), 5),
        (Unavailable("x", reason=LocalReason.NOT_VISIBLE_YET), 6),
        (FatalError("x"), 1),
        (StoreCorrupt("x"), 1),
        (ValueError("x"), 1),
    ],
)
def test_every_kind_of_error_has_its_exit_code(error: BaseException, code: int) -> None:
    failure = failure_of(error)
    assert failure.code == code
    assert failure.rpc_code > 0


def test_a_bug_is_shown_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        failure = failure_of(error)
    failure.show(as_json=False)
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "boom" in shown


def test_details_of_a_failed_call_are_in_the_status() -> None:
    grpc = importlib.import_module("grpc")

    class Broken(grpc.RpcError):  # type: ignore[misc,name-defined]  # grpc is imported by name
        """A failed call, in the form in which grpc raises it."""

        def code(self) -> object:
            return grpc.StatusCode.NOT_FOUND

        def details(self) -> str:
            return "there is no site"

        def trailing_metadata(self) -> list[tuple[str, bytes]]:
            status = status_pb2.Status(code=5, message="there is no site")
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="hitmesh.dev"))
            return [("grpc-status-details-bin", status.SerializeToString())]

    failure = failure_of(Broken())
    assert (failure.code, failure.rpc_code, failure.message) == (69, 5, "there is no site")
    assert failure.details == [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "NOT_FOUND", "domain": "hitmesh.dev"}
    ]


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "-o", "table"]) == 0
    assert capsys.readouterr().out == f"hitmesh {__version__}\n"
    assert run(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["hitmesh"] == __version__
    assert run(["--version"]) == 0


NOW = datetime(2026, 7, 15, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "zone", "expected"),
    [
        ("2015-05-17", "2015-05-20", "nobody asks", ("2015-05-17", "2015-05-20")),
        ("yesterday", "today", "UTC", ("2026-07-14", "2026-07-15")),
        ("yesterday", "yesterday", "Asia/Kathmandu", ("2026-07-15", "2026-07-15")),
        ("2026-07-01", None, "Asia/Kathmandu", ("2026-07-01", "2026-07-16")),
    ],
)
def test_words_become_dates_of_the_zone(since: str, until: str | None, zone: str, expected: tuple[str, str]) -> None:
    assert resolve_dates(since, until, lambda: zone, NOW) == expected


@pytest.mark.parametrize(
    ("since", "until", "zone", "message"),
    [
        ("2015-05-20", "2015-05-17", "UTC", "is after"),
        ("today", "yesterday", "UTC", "is after"),
        ("today", None, "Europe/Berln", "unknown time zone"),
        ("today", None, "../etc", "unknown time zone"),
    ],
)
def test_empty_ranges_and_unknown_zones_are_wrong_usage(since: str, until: str | None, zone: str, message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        resolve_dates(since, until, lambda: zone, NOW)


def test_words_become_dates_of_utc() -> None:
    assert utc_dates(None, "2026-07-01", NOW) == (None, a_date("2026-07-01"))
    assert utc_dates("yesterday", "today", NOW) == (a_date("2026-07-14"), a_date("2026-07-15"))
    with pytest.raises(click.UsageError, match="swap the dates"):
        utc_dates("today", "yesterday", NOW)


def test_a_first_date_in_the_future_without_a_last_date_is_named_as_such() -> None:
    with pytest.raises(click.UsageError, match="--since 2027-01-01 is in the future, and --until is missing"):
        resolve_dates("2027-01-01", None, lambda: "UTC", NOW)


def test_json_has_escapes_of_json_where_the_output_has_no_such_characters() -> None:
    value = {"page": "/caf\u00e9/\U0001f600"}
    for encoding in ("ascii", "latin-1", "cp1252", "utf-8", None):
        line = json_line(value, encoding)
        assert line.encode(encoding or "utf-8")
        assert json.loads(line) == value
    assert "\U0001f600" in json_line(value, "utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_characters_that_an_encoding_lacks_are_written_as_escapes(encoding: str) -> None:
    code = (
        "from hitmesh.tools.cli import output, streams; streams.set_up_streams();"
        "output.print_table(['page'], [['/\U0001f600']], right_from=1, caption='\u2026');"
        "output.print_json(['\U0001f600']); output.note('done')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"done\n"), done.stderr
    assert b"/\\U0001f600" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == ["\U0001f600"]
