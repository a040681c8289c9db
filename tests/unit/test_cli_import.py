"""Test `hitmesh import` with a scripted mesh: sent batches, output, and exit codes after failures."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from hitmesh.api.collector.v1 import collector_pb2 as pb
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.progress import Progress
from tests.unit.commands import WEBLOG, mesh_of_home
from tests.unit.scripted_mesh import Requests, Responses, ScriptedMesh, ack, issue, ready

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
    with mesh_of_home(tmp_path / "home", monkeypatch) as mesh:
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


def test_import_prints_one_line_of_json(mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = import_json(capsys, "access-log", an_access_log(tmp_path), "--site", "demo/weblog")
    assert printed == {
        "lines": 5,
        "sent": 3,
        "accepted": 3,
        "rejected": 0,
        "duplicate": 0,
        "erased": 0,
        "skipped": {"static": 1, "unparsable": 1},
    }
    assert list(printed) == ["lines", "sent", "accepted", "rejected", "duplicate", "erased", "skipped"]
    assert mesh.sites[WEBLOG].currency == "USD"
    assert mesh.stream_sites == [WEBLOG]
    [sent] = mesh.batches
    assert all(hit.HasField("true_time") for hit in sent.batch.hits)


@pytest.mark.parametrize(("given", "kept"), [((), "b.example"), (("--own-host", "b.example"), "a.example")])
def test_referrers_at_the_sites_own_hosts_are_dropped_unless_the_command_names_hosts(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], kept: str
) -> None:
    mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG, currency="USD", own_hosts=["a.example"])
    path = tmp_path / "access.log"
    line = LINE.format(second=1, target="/p")
    path.write_text("".join(line.replace('"-"', f'"https://{host}.example/"') for host in "ab"))
    import_json(capsys, "access-log", path, "--site", "demo/weblog", *given)
    referrers = [hit.page_view.referrer for request in mesh.batches for hit in request.batch.hits]
    assert sorted(referrers) == ["", f"https://{kept}/"]


def test_file_imported_twice_sends_the_same_hits_and_counts_them_as_duplicates(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = an_access_log(tmp_path)
    import_json(capsys, "access-log", path, "--site", "demo/weblog")
    again = import_json(capsys, "access-log", path, "--site", "demo/weblog")
    assert (again["sent"], again["accepted"], again["duplicate"]) == (3, 3, 3)
    first, second = (request.batch for request in mesh.batches)
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


def test_import_without_waiting_does_not_wait_for_visibility(
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


@pytest.mark.parametrize("output", ["json", "table"])
def test_hits_of_an_erased_visitor_are_counted_as_refused_with_the_reason(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    mesh.erased = {"7"}
    path = tmp_path / "shop.csv"
    rows = [f"2019-10-01 00:00:0{number} UTC,view,1,a.b,x,35.79,{7 + number % 2},s{number}" for number in range(5)]
    path.write_text("\n".join([SHOP_CSV.splitlines()[0], *rows, "cut"]))
    assert run(["import", "shop-csv", str(path), "--site", "demo/shop", "-o", output]) == 0
    captured = capsys.readouterr()
    assert "refused 3 hits: VISITOR_ERASED: " in captured.err
    if output == "json":
        counts = json.loads(captured.out)
        assert (counts["sent"], counts["accepted"], counts["rejected"], counts["erased"]) == (5, 2, 0, 3)
        assert counts["lines"] == counts["sent"] + sum(counts["skipped"].values())
    else:
        assert "6 lines, 5 hits sent: 2 accepted, 0 rejected, 3 erased, 0 duplicate" in captured.out


@pytest.mark.parametrize("output", ["json", "table"])
def test_import_whose_hits_are_all_refused_ends_with_67_the_counts_and_the_reason(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    def script(requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready()
        for request in requests:
            mesh.take(request)
            yield ack(1, *(issue(1, index, pb.OUTCOME_REJECTED) for index in range(3)))

    mesh.scripts = [script]
    assert run(["import", "access-log", str(an_access_log(tmp_path)), "--site", "demo/weblog", "-o", output]) == 67
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]
    assert "all 3 hits were refused; the first refusal: because" in last
    if output == "json":
        assert json.loads(captured.out)["rejected"] == 3
        status = json.loads(last)
        assert (status["code"], status["details"][0]["reason"]) == (3, "INVALID_FIELD")
    else:
        assert "3 hits sent: 0 accepted, 3 rejected" in captured.out


def test_import_that_sends_nothing_ends_with_0(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "static.log"
    path.write_text(LINE.format(second=0, target="/x.css"))
    assert import_json(capsys, "access-log", path, "--site", "demo/weblog")["sent"] == 0


def test_empty_file_alone_is_refused_and_makes_no_site(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert run(["import", "access-log", str(tmp_path / "empty"), "--site", "demo/new"]) == 2
    assert "empty: import a file that is not empty" in capsys.readouterr().err
    assert "merchants/demo/sites/new" not in mesh.sites


def test_empty_file_beside_others_changes_nothing(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "access.log.1").write_bytes(b"")
    path = an_access_log(tmp_path)
    printed = import_json(capsys, "access-log", tmp_path / "access.log.1", path, "--site", "demo/weblog")
    assert (printed["lines"], printed["sent"]) == (5, 3)


def test_directory_is_refused_and_named_as_a_directory(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", "access-log", str(tmp_path), "--site", "demo/weblog"]) == 2
    assert "is a directory: name files or a pattern" in capsys.readouterr().err


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
    # Without the option `--currency`, the site's currency applies.
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


def test_several_files_and_patterns_are_one_import_and_each_format_is_reported(
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
    messages = captured.err.splitlines()
    assert [line.rpartition("/")[2] for line in messages] == [
        *(f"access.log{end}: read as combined" for end in ("", ".1", ".2.gz")),
        "access.log, line 8: skipped as unparsable, because the line is not in the format combined: junk",
        "unparsable lines: 1 (shown: the first 1); correct the lines and import the files again: hits that are already "
        "stored do not count twice",
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
    assert "matches no file" in capsys.readouterr().err


def test_unknown_key_ends_with_the_code_of_the_call(
    mesh: ScriptedMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HITMESH_KEY", "wrong")
    assert run(["import", "access-log", str(an_access_log(tmp_path)), "--site", "demo/weblog", "-o", "json"]) == 80
    status = json.loads(capsys.readouterr().err)
    assert (status["code"], status["message"]) == (16, "the key is not known; the key comes from HITMESH_KEY")


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


def test_lines_that_cannot_be_read_are_shown(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = an_access_log(tmp_path)
    path.write_text(path.read_text() + "".join(f"junk {number} {'x' * 200}\n" for number in range(7)))
    assert run(["import", "access-log", str(path), "--site", "demo/weblog"]) == 0
    lines = capsys.readouterr().err.splitlines()
    shown = [line for line in lines if ": skipped as unparsable, " in line]
    complaint = "skipped as unparsable, because the line is not in the format combined"
    assert shown[:2] == [f"{path}, line 5: {complaint}: junk", f"{path}, line 6: {complaint}: junk 0 {'x' * 93}…"]
    assert len(shown) == 5
    assert "unparsable lines: 8 (shown: the first 5); correct the lines" in lines[-2] + lines[-1]


@pytest.mark.parametrize("kind", ["access-log", "shop-csv"])
@pytest.mark.parametrize("damage", ["cut short", "damaged", "followed by other bytes"])
def test_damaged_gzip_ends_with_2_and_sends_nothing(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, damage: str
) -> None:
    packed = gzip.compress(SHOP_CSV.encode() if kind == "shop-csv" else an_access_log(tmp_path).read_bytes())
    changed = {"cut short": packed[:-4], "damaged": packed[:-8] + b"\0" * 8, "followed by other bytes": packed + b"x"}
    path = tmp_path / "backup.gz"
    path.write_bytes(changed[damage])
    assert run(["import", kind, str(path), "--site", "demo/new", "-o", "json"]) == 2
    error = json.loads(capsys.readouterr().err)
    assert error["details"][0]["reason"] == "INVALID_FILE"
    assert error["message"].startswith(f"{path}: the gzip data is {damage}")
    assert ", and no hit of any file was sent: get an intact copy" in error["message"]
    assert not mesh.batches
    assert "merchants/demo/sites/new" not in mesh.sites
