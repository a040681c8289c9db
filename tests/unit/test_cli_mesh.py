"""Commands against a scripted mesh: what goes out, what is printed, and the exit codes of failed calls."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from hitmesh.admin.v1 import admin_pb2
from hitmesh.cli.__main__ import run
from hitmesh.cli.import_run import Stored, duplicates
from hitmesh.cli.output import visible
from hitmesh.cli.plot import bars, columns
from hitmesh.cli.progress import Progress
from hitmesh.cli.report_table import caption, number_texts
from hitmesh.client.sender import SendTotals
from hitmesh.collector.v1 import collector_pb2 as pb
from tests.unit.scripted_mesh import KEY, Requests, Responses, ScriptedMesh, ack, issue, ready, running

WEBLOG = "merchants/demo/sites/weblog"
LINE = '1.2.3.4 - - [17/May/2015:10:05:0{second} +0000] "GET {target} HTTP/1.1" 200 203 "-" "Firefox"\n'
SHOP_CSV = (
    "event_time,event_type,product_id,category_code,brand,price,user_id,user_session\n"
    "2019-10-01 00:00:00 UTC,view,1,a.b,x,35.79,7,s1\n"
    "2019-10-01 00:00:01 UTC,purchase,1,a.b,x,35.79,7,s1\n"
    "2019-10-01 00:00:01 UTC,purchase,2,,,4.21,7,s1\n"
    "cut"
)


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    """A mesh whose home has a key and a ready file, as `hitmesh dev` leaves it."""
    for name in ("HITMESH_ENDPOINT", "HITMESH_KEY", "HITMESH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "dev-server").write_text(KEY)
    monkeypatch.setenv("HITMESH_HOME", str(home))
    with running(ScriptedMesh()) as mesh:
        (home / "ready.json").write_text(json.dumps({"grpc": mesh.endpoint}))
        yield mesh


def an_access_log(directory: Path, pages: int = 3) -> Path:
    path = directory / "access.log"
    lines = [LINE.format(second=number % 10, target=f"/p{number}") for number in range(pages)]
    path.write_text("".join(lines) + LINE.format(second=0, target="/x.css") + "junk\n")
    return path


def import_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, object]:
    assert run(["import", *map(str, arguments), "-o", "json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    printed: dict[str, object] = json.loads(captured.out)
    return printed


# ---- import


def test_import_prints_one_line_of_json(mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = import_json(capsys, "access-log", an_access_log(tmp_path), "--site", "demo/weblog")
    assert printed == {
        "lines": 5,
        "sent": 3,
        "accepted": 3,
        "rejected": 0,
        "duplicate": 0,
        "skipped": {"static": 1, "unparsable": 1},
    }
    assert list(printed) == ["lines", "sent", "accepted", "rejected", "duplicate", "skipped"]
    assert mesh.sites[WEBLOG].currency == "USD"
    assert mesh.stream_sites == [WEBLOG]
    [sent] = mesh.batches
    assert all(hit.HasField("true_time") for hit in sent.batch.hits)


def test_file_imported_twice_sends_the_same_hits_and_counts_them_as_duplicates(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = an_access_log(tmp_path)
    import_json(capsys, "access-log", path, "--site", "demo/weblog")
    again = import_json(capsys, "access-log", path, "--site", "demo/weblog")
    assert (again["sent"], again["accepted"], again["duplicate"]) == (3, 3, 3)
    first, second = (one.batch for one in mesh.batches)
    assert (first.batch_id, list(first.hits)) == (second.batch_id, list(second.hits))


def test_compressed_file_and_standard_input_are_read_like_a_file(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = an_access_log(tmp_path)
    packed = tmp_path / "access.log.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    import_json(capsys, "access-log", packed, "--site", "demo/weblog")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    import_json(capsys, "access-log", "-", "--site", "demo/weblog")
    assert mesh.batches[0].batch.hits == mesh.batches[1].batch.hits


def test_import_waits_until_the_numbers_can_be_queried(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.polls_until_visible = 2
    import_json(capsys, "access-log", an_access_log(tmp_path), "--site", "demo/weblog")
    assert mesh.polls_until_visible == 0


def test_import_that_waits_too_long_ends_with_6(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.polls_until_visible = 1_000
    path = str(an_access_log(tmp_path))
    assert run(["import", "access-log", path, "--site", "demo/weblog", "--timeout", "0", "-o", "json"]) == 6
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["details"][0]["reason"] == "NOT_VISIBLE_YET"


def test_import_without_waiting_asks_no_report(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.polls_until_visible = 1_000
    printed = import_json(capsys, "access-log", an_access_log(tmp_path), "--site", "demo/weblog", "--no-wait")
    assert (printed["accepted"], printed["duplicate"]) == (3, 0)


def test_refused_hits_are_counted_and_the_first_shown(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        for request in requests:
            mesh.take(request)
            yield ack(1, *(issue(1, index, pb.OUTCOME_REJECTED) for index in range(7)))

    mesh.scripts = [script]
    assert run(["import", "access-log", str(an_access_log(tmp_path, 10)), "--site", "demo/weblog", "-o", "json"]) == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert (printed["sent"], printed["accepted"], printed["rejected"]) == (10, 3, 7)
    assert captured.err.count("INVALID_FIELD: because") == 5


def test_empty_file_is_imported_as_nothing(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    printed = import_json(capsys, "access-log", tmp_path / "empty", "--site", "demo/weblog")
    assert (printed["lines"], printed["sent"], printed["skipped"]) == (0, 0, {})


def test_shop_import_takes_the_currency_of_the_option_and_makes_the_site_with_it(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(SHOP_CSV)
    printed = import_json(capsys, "shop-csv", path, "--site", "demo/shop", "--currency", "eur")
    assert (printed["lines"], printed["sent"], printed["skipped"]) == (4, 2, {"unparsable": 1})
    assert mesh.sites["merchants/demo/sites/shop"].currency == "EUR"
    order = mesh.batches[0].batch.hits[1].order
    assert (order.currency, order.total_micros) == ("EUR", 40_000_000)
    # Without the option the site's currency is taken.
    import_json(capsys, "shop-csv", path, "--site", "demo/shop")
    assert mesh.batches[1].batch.hits[1].order.currency == "EUR"


def test_another_currency_than_the_sites_ends_with_2_and_sends_nothing(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.sites["merchants/demo/sites/shop"] = admin_pb2.Site(name="merchants/demo/sites/shop", currency="EUR")
    path = tmp_path / "shop.csv"
    path.write_text(SHOP_CSV)
    assert run(["import", "shop-csv", str(path), "--site", "demo/shop", "--currency", "USD"]) == 2
    assert "currency EUR, not USD" in capsys.readouterr().err
    assert mesh.opens == []


def test_file_of_another_kind_ends_with_2_and_makes_no_site(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", "shop-csv", str(an_access_log(tmp_path)), "--site", "demo/shop"]) == 2
    assert "not the header of a shop export" in capsys.readouterr().err
    assert mesh.sites == {}


@pytest.mark.parametrize("more", [[], ["--format", "combined"], ["--format", "json"]])
def test_log_of_which_nothing_can_be_read_ends_with_2_and_makes_no_site(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    good, bad = an_access_log(tmp_path), tmp_path / "error.log"
    bad.write_text("[error] something\n" * 3)
    files = [str(bad)] if more[1:] == ["json"] else [str(good), str(bad)]
    assert run(["import", "access-log", *files, "--site", "demo/weblog", *more]) == 2
    assert "error.log" in capsys.readouterr().err
    assert mesh.sites == {}
    assert mesh.opens == []


def test_several_files_and_patterns_are_one_import_and_the_format_is_said(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = an_access_log(tmp_path, 6)
    lines = path.read_bytes().splitlines(keepends=True)
    (tmp_path / "access.log.1").write_bytes(b"".join(lines[:4]))
    (tmp_path / "access.log.2.gz").write_bytes(gzip.compress(b"".join(lines[2:6])))
    files = (str(path), f"{tmp_path}/access.log*")
    assert run(["import", "access-log", *files, "--site", "demo/weblog", "-o", "json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["lines"] == 8 + 4 + 4
    said = captured.err.splitlines()
    assert [line.rpartition("/")[2] for line in said] == [
        f"access.log{end}: read as combined" for end in ("", ".1", ".2.gz")
    ]
    ids = [hit.hit_id for sent in mesh.batches for hit in sent.batch.hits]
    assert (len(ids), len(set(ids))) == (6 + 4 + 4, 6)


def test_options_of_logs_reach_the_hits(mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.log"
    line = LINE.format(second=0, target="/a").replace('"-"', '"https://shop.example/b"')
    path.write_text(line.replace("\n", ' "192.0.2.1"\n'))
    more = ["--host", "shop.example", "--own-host", "Shop.example", "--client-from", "x-forwarded-for"]
    assert run(["import", "access-log", str(path), "--site", "demo/weblog", *more]) == 0
    assert run(["import", "access-log", str(path), "--site", "demo/weblog"]) == 0
    named, bare = (sent.batch.hits[0] for sent in mesh.batches)
    assert (named.page_view.url, named.page_view.referrer) == ("https://shop.example/a", "")
    assert (bare.page_view.url, bare.page_view.referrer) == ("/a", "https://shop.example/b")
    assert named.visitor_id != bare.visitor_id
    assert named.hit_id == bare.hit_id


def test_a_pattern_that_matches_no_file_is_a_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "access-log", f"{tmp_path}/no*.log", "--site", "demo/weblog"]) == 2
    assert "no file matches it" in capsys.readouterr().err


def test_unknown_key_ends_with_the_code_of_the_call(
    mesh: ScriptedMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_KEY", "wrong")
    assert run(["import", "access-log", str(an_access_log(tmp_path)), "--site", "demo/weblog", "-o", "json"]) == 80
    status = json.loads(capsys.readouterr().err)
    assert (status["code"], status["message"]) == (16, "the key is not known")


@pytest.mark.parametrize(
    ("before", "after", "totals", "expected"),
    [
        (Stored(0, 0), Stored(10, 0), SendTotals(sent=10, accepted=10), 0),
        (Stored(10, 2), Stored(10, 12), SendTotals(sent=10, accepted=10), 10),
        (Stored(4, 0), Stored(10, 4), SendTotals(sent=10, accepted=10), 4),
        # Three hits went out twice and two of them were stored twice; none was there before.
        (Stored(0, 0), Stored(10, 2), SendTotals(sent=10, accepted=10, resent=3), 0),
        (Stored(4, 0), Stored(10, 6), SendTotals(sent=10, accepted=10, resent=3), 4),
        # Somebody else's hits came in between.
        (Stored(0, 0), Stored(90, 0), SendTotals(sent=10, accepted=10, resent=3), 0),
        (Stored(0, 0), Stored(10, 50), SendTotals(sent=10, accepted=10), 10),
    ],
)
def test_duplicates_are_copies_of_what_was_stored_before(
    before: Stored, after: Stored, totals: SendTotals, expected: int
) -> None:
    assert duplicates(before, after, totals) == expected


def test_progress_off_a_terminal_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 0.0
    with Progress(on_terminal=False, clock_s=lambda: now_s) as progress:
        progress.phase("sending", 4_000)
        for now_s in (1.0, 9.9, 10.0, 15.0, 20.5):
            progress.reached(int(now_s * 100))
    assert capsys.readouterr().err == "sending: 1,000 of 4,000\nsending: 2,050 of 4,000\n"


def test_progress_on_a_terminal_writes_nothing_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(on_terminal=True) as progress:
        progress.phase("reading")
        progress.reached(1)
        progress.phase("sending", 10)
        progress.reached(10)
    assert capsys.readouterr().out == ""


# ---- query


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


def test_files_are_asked_for_whole_and_tables_at_a_length_for_people(mesh: ScriptedMesh) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    mesh.exports |= {"csv": b"", "ndjson": b"", "json": b'{"rows": [], "meta": {}}'}
    for output in ("csv", "ndjson", "json", "table"):
        assert ask("--last", "7d", "-o", output) == 0
    assert ask("--last", "7d", "-o", "table", "--limit", "20000", "--gap-fill", "none") == 0
    assert [(asked.limit, asked.gap_fill) for asked in mesh.asked] == [
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


def test_query_asks_for_exactly_what_the_options_say(mesh: ScriptedMesh) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    mesh.exports["csv"] = b""
    line = "--since 2015-05-17 --until 2015-05-20 --grain day --tz Asia/Kathmandu --dimensions channel,browser"
    rest = ["--filter", r"page_path==a\,b", "--include-excluded", "--limit", "7", "--order-by", "-visits", "-o", "csv"]
    assert ask(*line.split(), *rest) == 0
    [asked] = mesh.asked
    assert (asked.site, list(asked.metrics), list(asked.dimensions)) == (
        WEBLOG,
        ["visits", "bounce_rate"],
        ["channel", "browser"],
    )
    assert (asked.since, asked.until, asked.last, asked.grain) == ("2015-05-17", "2015-05-20", "", "day")
    assert (asked.tz, asked.filter, asked.limit, asked.include_excluded) == (
        "Asia/Kathmandu",
        r"page_path==a\,b",
        7,
        True,
    )
    assert (list(asked.order_by), asked.format) == (["-visits"], "csv")


def test_query_without_grain_and_zone_leaves_them_to_the_defaults(mesh: ScriptedMesh) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, time_zone="Asia/Kathmandu")
    mesh.exports["ndjson"] = b""
    assert ask("--last", "7d", "-o", "ndjson") == 0
    assert ask("--since", "yesterday", "-o", "ndjson") == 0
    first, second = mesh.asked
    assert (first.grain, first.tz, first.last, first.since) == ("none", "", "7d", "")
    assert first.until == ""
    assert len(second.since) == len(second.until) == 10


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
    assert "complete through 2026-01-01T00:00:00Z (live) · 1,234 hits left out (bots)" in shown[4]
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
    assert (captured.out, captured.err) == ("visits\n1\n", "--plot draws below a table only: use it with -o table\n")


def test_numbers_of_a_column_have_equally_many_decimals() -> None:
    assert number_texts([59442.63, 100.5, 0]) == ["59,442.63", "100.50", "0.00"]
    assert number_texts([0.408893, None, 1]) == ["0.4089", "–", "1.0000"]
    assert number_texts([1234567, 0]) == ["1,234,567", "0"]
    assert number_texts([]) == []


def test_caption_says_what_there_is_and_nothing_of_what_is_absent() -> None:
    assert caption({}) == ""
    assert caption({"time_zone": "UTC", "warnings": ["w"], "filter": "a==b"}) == "UTC · filter a==b · w"
    assert caption({"missing_currencies": ["EUR", "JPY"]}) == "money in EUR, JPY left out"
    assert "left out" not in caption({"excluded_hits": 5, "include_excluded": True})
    provisional = {"cell_state": "PROVISIONAL", "provisional_from": "2026-01-01T00:00:00.000Z"}
    assert caption(provisional) == "provisional from 2026-01-01T00:00:00.000Z"
    assert caption(provisional | {"cell_state": "SETTLED"}) == ""


def test_what_a_terminal_would_obey_is_shown_as_escapes() -> None:
    assert visible("a\x1b[2J\n\u202eb") == r"a\x1b[2J\n\u202eb"
    assert visible("日本 café 👩\u200d👧 \\n") == "日本 café 👩\u200d👧 \\n"


def test_columns_show_the_greatest_first_and_last_label() -> None:
    lines = columns("visits", ["mon", "tue", "wed"], [0, 5, 10], width=40)
    assert lines[0] == "visits"
    assert lines[1].startswith("10 ┤")
    assert lines[1].rstrip().endswith("█")
    assert lines[-1].split() == ["mon", "wed"]
    assert len(lines) == 12


def test_more_values_than_columns_share_them() -> None:
    lines = columns("hits", [str(n) for n in range(1_000)], [float(n) for n in range(1_000)], width=60)
    assert "the greatest of" in lines[0]
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [3.5]])
def test_plots_of_nothing_and_of_one_value_are_drawn(values: list[float]) -> None:
    labels = ["x"] * len(values)
    assert columns("m", labels, values, width=20)[0] == "m"
    assert len(bars("m", labels, values, width=20)) == len(values) + 1


def test_bars_fit_the_width_and_say_how_many_are_missing() -> None:
    lines = bars("visits", [f"/{'p' * 80}{n}" for n in range(50)], [float(n) for n in range(50)], width=80)
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "… and 10 more"
    assert set(bars("m", ["a"], [1], width=30, blocks=False)[1]) <= set("a# 1")


# ---- send, sites, freshness


def test_send_page_prints_id_and_receipt_and_keeps_the_visitor(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in ("/hello", "/again"):
        assert run(["send", "page", target, "--site", "demo/weblog", "-o", "json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first, second = (request.batch for request in mesh.sent)
    assert [one["hit_id"] for one in printed] == [first.hits[0].hit_id, second.hits[0].hit_id]
    assert printed[0]["receipts"] == ["hits-1/3@12"]
    assert first.hits[0].visitor_id == second.hits[0].visitor_id != ""
    assert (first.ingest_key, first.hits[0].page_view.url) == (KEY, "/hello")
    assert first.hits[0].HasField("true_time")
    assert WEBLOG in mesh.sites


def test_page_that_is_refused_ends_with_67(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["send", "page", "/refuse", "--site", "demo/weblog", "-o", "json"]) == 67
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["details"][0]["reason"] == "INVALID_FIELD"


def test_bytes_of_a_shell_that_are_no_text_are_sent_replaced(mesh: ScriptedMesh) -> None:
    assert run(["send", "page", "/\udcff", "--site", "demo/weblog", "-o", "json"]) == 0
    assert mesh.sent[0].batch.hits[0].page_view.url == "/\ufffd"


def test_sites_are_listed_and_none_is_an_empty_list(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sites", "-o", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    for name in ("a", "b", "c"):
        full = f"merchants/demo/sites/{name}"
        mesh.sites[full] = admin_pb2.Site(name=full, time_zone="UTC", currency="USD")
    assert run(["sites", "-o", "json"]) == 0
    assert [site["site"] for site in json.loads(capsys.readouterr().out)] == ["demo/a", "demo/b", "demo/c"]
    assert run(["sites", "-o", "table"]) == 0
    assert capsys.readouterr().out.split()[:4] == ["site", "zone", "currency", "created"]


def test_freshness_of_one_site_is_an_object_and_of_all_a_list(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
    assert run(["freshness", "--site", "demo/weblog", "-o", "json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["site"], one["state"], one["dirty_days"], one["open_days"]) == ("demo/weblog", "LIVE", 0, 0)
    assert run(["freshness", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [one]
    assert run(["freshness", "-o", "table"]) == 0
    assert "demo/weblog" in capsys.readouterr().out
