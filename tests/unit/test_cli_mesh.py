"""Test `hitmesh send`, `hitmesh sites` and `hitmesh freshness` with a scripted mesh."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.home import NotStarted, is_starting, wait_until_started
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.dev.envoy import Address
from hitmesh.tools.dev.home import Home, write_ready_file
from tests.unit.commands import WEBLOG, mesh_of_home
from tests.unit.scripted_mesh import KEY, ScriptedMesh


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    with mesh_of_home(tmp_path / "home", monkeypatch) as mesh:
        yield mesh


def test_send_page_prints_id_and_receipt_and_keeps_the_visitor(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in ("/hello", "/again"):
        assert run(["send", "page", target, "--site", "demo/weblog", "-o", "json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first, second = (request.batch for request in mesh.sent)
    assert [page["hit_id"] for page in printed] == [first.hits[0].hit_id, second.hits[0].hit_id]
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
    freshness = json.loads(capsys.readouterr().out)
    assert (freshness["site"], freshness["state"], freshness["dirty_days"], freshness["open_days"]) == (
        "demo/weblog",
        "LIVE",
        0,
        0,
    )
    assert run(["freshness", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [freshness]
    assert run(["freshness", "-o", "table"]) == 0
    assert "demo/weblog" in capsys.readouterr().out


def test_freshness_names_partitions_that_are_ahead_once(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    times = {"log_time": Timestamp(seconds=7_200), "visits_wait_until": Timestamp(seconds=3_600)}
    mesh.ahead = [reporter_pb2.PartitionAhead(log="hits-1", partition=3, cause="a clock", **times)]
    mesh.sites |= {name: admin_pb2.Site(name=name) for name in (WEBLOG, f"{WEBLOG}2")}
    assert run(["freshness", "--site", "demo/weblog", "-o", "json"]) == 0
    (ahead,) = json.loads(capsys.readouterr().out)["ahead"]
    assert ahead == {
        "log": "hits-1",
        "partition": 3,
        "log_time": "1970-01-01T02:00:00Z",
        "visits_wait_until": "1970-01-01T01:00:00Z",
        "cause": "a clock",
    }
    assert run(["freshness", "-o", "table"]) == 0
    (line,) = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("log time of hits-1/3 is 1970-01-01T02:00:00Z, which is in the future: ")
    ]
    assert "before 1970-01-01T01:00:00Z join visits only when their day is settled; hits with later" in line
    assert line.endswith("cause: a clock.")


def test_commands_wait_for_a_mesh_that_is_starting(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "starting")
    home.prepare()
    lock = home.lock()
    assert lock is not None
    home.server_key.write_text(KEY)
    assert is_starting(home.root)
    host, _, port = mesh.endpoint.rpartition(":")
    ready = threading.Timer(
        0.3,
        lambda: write_ready_file(home.ready_file, Address(host, int(port)), {}, {}, operators=Address(host, int(port))),
    )
    ready.start()
    assert run(["sites", "-o", "json", "--home", str(home.root)]) == 0
    assert f"a mesh is starting or stopping on {home.root}: waiting up to 60 s" in capsys.readouterr().err
    home.ready_file.unlink()
    with pytest.raises(NotStarted, match="was not ready within 0 s"):
        wait_until_started(home.root, 0, lambda _: None)
    lock.close()
    assert not is_starting(home.root)


def test_mesh_that_is_not_ready_in_time_ends_with_6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hitmesh.tools.cli.options.START_TIMEOUT_S", 0.0)
    monkeypatch.delenv("HITMESH_ENDPOINT", raising=False)
    home = Home(tmp_path / "slow")
    home.prepare()
    lock = home.lock()
    assert lock is not None
    with lock:
        assert run(["sites", "-o", "json", "--home", str(home.root)]) == 6
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["details"][0]["reason"] == "NOT_STARTED_YET"


def test_command_finds_a_mesh_whose_home_does_not_exist_yet(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "fresh")
    host, _, port = mesh.endpoint.rpartition(":")

    def start() -> None:
        home.prepare()
        home.server_key.write_text(KEY)
        write_ready_file(home.ready_file, Address(host, int(port)), {}, {}, operators=Address(host, int(port)))

    starting = threading.Timer(0.2, start)
    starting.start()
    assert run(["sites", "-o", "json", "--home", str(home.root)]) == 0
    starting.join()


def test_command_without_a_mesh_names_a_start_just_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sites", "--home", str(tmp_path / "nowhere"), "-o", "table"]) == 5
    assert "If `hitmesh dev` was just started, try again in some seconds" in capsys.readouterr().err
