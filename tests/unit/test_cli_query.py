"""Test `hitmesh query` with a scripted mesh: its requests, and the output of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.report_notes import unsettled_visits
from tests.unit.commands import WEBLOG, mesh_of_home
from tests.unit.scripted_mesh import ScriptedMesh


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    with mesh_of_home(tmp_path / "home", monkeypatch) as mesh:
        yield mesh


def ask(*arguments: str) -> int:
    return run(["query", "--site", "demo/weblog", "--metrics", "visits, bounce_rate", *arguments])


@pytest.mark.parametrize("output", ["csv", "json", "ndjson"])
def test_query_prints_the_reporters_bytes_unchanged(
    mesh: ScriptedMesh, output: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, time_zone="UTC")
    mesh.exports[output] = b'\xe2\x80\xae,"\r\n\x00'
    assert ask("--last", "7d", "-o", output) == 0
    captured = capfdbinary.readouterr()
    assert (captured.out, captured.err) == (mesh.exports[output], b"")


@pytest.mark.parametrize("output", ["csv", "ndjson"])
def test_warnings_of_a_file_without_meta_go_to_stderr(
    mesh: ScriptedMesh, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, time_zone="UTC")
    mesh.exports[output] = b"1\n"
    mesh.warnings = ("5 of 9 rows are shown", "amounts in EUR are left out")
    assert ask("--last", "7d", "-o", output) == 0
    captured = capsys.readouterr()
    assert captured.out == "1\n"
    assert captured.err == "warning: 5 of 9 rows are shown\nwarning: amounts in EUR are left out\n"


def test_files_are_requested_without_a_limit_and_tables_with_a_limit(mesh: ScriptedMesh) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    mesh.exports |= {"csv": b"", "ndjson": b"", "json": b'{"rows": [], "meta": {}}'}
    for output in ("csv", "ndjson", "json", "table"):
        assert ask("--last", "7d", "-o", output) == 0
    assert ask("--last", "7d", "-o", "table", "--limit", "20000", "--gap-fill", "none") == 0
    assert [(request.limit, request.gap_fill) for request in mesh.export_requests] == [
        (0, ""),
        (0, ""),
        (0, ""),
        (10_000, ""),
        (20_000, "none"),
    ]


def test_reads_without_a_key_are_for_the_mesh_to_refuse(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, time_zone="UTC")
    mesh.exports["csv"] = b""
    elsewhere = ["--endpoint", mesh.endpoint, "--home", str(tmp_path / "no-key-here")]
    reads = [
        ["sites", *elsewhere],
        ["freshness", *elsewhere],
        ["query", "--site", "demo/weblog", "--metrics", "hits", "--since", "2015-05-17", "-o", "csv", *elsewhere],
    ]
    for arguments in reads:
        assert run(arguments) == 80
        assert "UNAUTHENTICATED" in capsys.readouterr().err
    mesh.open_reads = True
    for arguments in reads:
        assert run(arguments) == 0


def test_query_requests_exactly_its_options(mesh: ScriptedMesh) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    mesh.exports["csv"] = b""
    line = "--since 2015-05-17 --until 2015-05-20 --grain day --tz Asia/Kathmandu --dimensions channel,browser"
    rest = ["--filter", r"page_path==a\,b", "--include-excluded", "--limit", "7", "--order-by", "-visits", "-o", "csv"]
    assert ask(*line.split(), *rest) == 0
    [request] = mesh.export_requests
    assert (request.site, list(request.metrics), list(request.dimensions)) == (
        WEBLOG,
        ["visits", "bounce_rate"],
        ["channel", "browser"],
    )
    assert (request.first_date, request.last_date, request.last, request.time_grain) == (
        "2015-05-17",
        "2015-05-20",
        "",
        "day",
    )
    assert (request.time_zone, request.filter, request.limit, request.include_excluded) == (
        "Asia/Kathmandu",
        r"page_path==a\,b",
        7,
        True,
    )
    assert (list(request.order_by), request.format) == (["-visits"], "csv")


def test_query_without_grain_and_zone_leaves_them_to_the_defaults(mesh: ScriptedMesh) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, time_zone="Asia/Kathmandu")
    mesh.exports["ndjson"] = b""
    assert ask("--last", "7d", "-o", "ndjson") == 0
    assert ask("--since", "yesterday", "-o", "ndjson") == 0
    first, second = mesh.export_requests
    assert (first.time_grain, first.time_zone, first.last, first.first_date) == ("none", "", "7d", "")
    assert first.last_date == ""
    assert len(second.first_date) == len(second.last_date) == 10


def test_query_of_an_unknown_site_is_not_found(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--last", "7d", "-o", "json") == 69
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err) == {"code": 5, "message": f"there is no site {WEBLOG}", "details": []}
    assert ask("--last", "7d", "-o", "table") == 69
    assert capsys.readouterr().err == f"error: NOT_FOUND: there is no site {WEBLOG}\n"


ANSWER = {
    "rows": [
        {"time": "2015-05-17T00:00:00+00:00", "visits": 1399, "bounce_rate": 0.719},
        {"time": "2015-05-18T00:00:00+00:00", "visits": 0, "bounce_rate": None},
    ],
    "meta": {
        "time_zone": "UTC",
        "start": "2015-05-17T00:00:00Z",
        "end": "2015-05-19T00:00:00Z",
        "complete_through": "2026-01-01T00:00:00Z",
        "state": "LIVE",
        "excluded_hits": 1234,
    },
}


def test_table_has_numbers_to_the_right_and_a_caption(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    mesh.exports["json"] = json.dumps(ANSWER).encode()
    assert ask("--since", "2015-05-17", "--until", "2015-05-18", "--grain", "day", "-o", "table", "--plot") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["time", "visits", "bounce_rate"]
    assert shown[2].endswith("   1,399         0.719")
    assert shown[3].endswith("       0             –")
    assert (
        "complete through 2026-01-01T00:00:00Z (live) · 1,234 hits left out (bots, referrer spam, exclusion rules)"
        in shown[4]
    )
    assert "visits" in shown
    assert "\x1b" not in "".join(shown)


def test_plot_without_a_written_output_is_a_table_wherever_it_goes(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    mesh.exports["json"] = json.dumps(ANSWER).encode()
    assert ask("--since", "2015-05-17", "--until", "2015-05-18", "--grain", "day", "--plot") == 0
    captured = capsys.readouterr()
    assert "complete through" in captured.out
    assert "┤" in captured.out or "█" in captured.out
    assert captured.err == ""


def test_plot_is_only_for_tables(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    mesh.exports["csv"] = b"visits\n1\n"
    assert ask("--last", "7d", "-o", "csv", "--plot") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("visits\n1\n", "--plot needs a table: use -o table\n")


WEEKS = ("2015-05-13T00:00:00+00:00", "2015-05-18T00:00:00+00:00")


def a_file_of_weeks(mesh: ScriptedMesh) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, time_zone="UTC")
    rows = [f'{{"time":"{time}","channel":"a\\"b","visits":{number}}}' for number, time in enumerate(WEEKS)]
    mesh.exports["csv"] = "".join(f"{time},1\r\n" for time in WEEKS).encode()
    mesh.exports["ndjson"] = "".join(f"{row}\n" for row in rows).encode()
    mesh.exports["json"] = f'{{"rows":[{",".join(rows)}],"meta":{{}}}}\n'.encode()
    mesh.cut_buckets = WEEKS[:1]


def weeks(*arguments: str) -> int:
    common = ["query", "--site", "demo/weblog", "--metrics", "visits", "--since", "2015-05-13", "--grain", "week"]
    return run([*common, "--dimensions", "channel", *arguments])


def test_rows_of_cut_buckets_are_flagged_in_json_and_ndjson(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    a_file_of_weeks(mesh)
    assert weeks("-o", "ndjson") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line).get("partial") for line in lines] == [True, None]
    assert lines[1].encode() == mesh.exports["ndjson"].splitlines()[1]
    assert weeks("-o", "json") == 0
    assert [row.get("partial") for row in json.loads(capsys.readouterr().out)["rows"]] == [True, None]


def test_cut_buckets_are_marked_in_a_table_and_noted_beside_csv(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    a_file_of_weeks(mesh)
    assert weeks("-o", "table") == 0
    shown = capsys.readouterr().out
    assert f"{WEEKS[0]}*" in shown
    assert f"{WEEKS[1]}*" not in shown
    assert "* the range or a clock change cuts this bucket" in shown
    assert weeks("-o", "csv") == 0
    captured = capsys.readouterr()
    assert captured.out.encode() == mesh.exports["csv"]
    assert captured.err == (
        f"buckets that are shorter than one week, because the range or a clock change cuts them: {WEEKS[0]}\n"
    )


UNSETTLED = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-30T00:00:00Z", "provisional_from": "2026-11-28T00:00:00Z"}


@pytest.mark.parametrize(
    ("change", "today", "days"),
    [
        ({}, 29, "2026-11-28"),
        ({}, 30, "2026-11-28 to 2026-11-29"),
        ({}, 28, ""),
        ({"end": "2026-11-28T00:00:00Z"}, 30, ""),
        ({"start": "2026-11-29T00:00:00+01:00"}, 30, "2026-11-28 to 2026-11-29"),
        ({"provisional_from": None}, 30, ""),
    ],
)
def test_days_before_today_that_are_not_settled_are_noted(change: dict[str, str | None], today: int, days: str) -> None:
    noted = unsettled_visits(UNSETTLED | change, date(2026, 11, today))
    assert noted == (f"visits of {days} are complete when the day is settled, 26 hours after its end" if days else "")


def test_note_of_unsettled_visits_is_for_tables_with_a_metric_of_visits(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    meta = {"start": "2015-05-17T00:00:00Z", "end": "2015-05-18T00:00:00Z", "provisional_from": "2015-05-17T00:00:00Z"}
    mesh.exports["json"] = json.dumps({"rows": [{"visits": 0, "hits": 0}], "meta": meta}).encode()
    for metrics, output, noted in (("visits", "table", True), ("hits", "table", False), ("visits", "json", False)):
        assert run(["query", "--site", "demo/weblog", "--metrics", metrics, "--last", "7d", "-o", output]) == 0
        assert ("visits of 2015-05-17 are complete" in capsys.readouterr().err) is noted
