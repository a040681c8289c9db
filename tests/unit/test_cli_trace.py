"""Test `hitmesh trace` with ids of orders and requests, and with a mesh in which a part does not answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.api.control.v1 import admin_pb2, trace_pb2
from hitmesh.tools.cli import silent_part, trace
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.access_log import ACCESS_LOG, logged_requests
from hitmesh.tools.cli.exits import NOTHING_FOUND, Exit
from processor.inspect import search
from tests.unit.commands import WEBLOG, mesh_of_home
from tests.unit.scripted_mesh import ScriptedMesh

FOUND = trace_pb2.TraceHitResponse(
    site=WEBLOG, copies=[trace_pb2.TracedCopy(hit_id="h1", batch_id="b7"), trace_pb2.TracedCopy(hit_id="h2")]
)


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    with mesh_of_home(tmp_path / "home", monkeypatch) as mesh:
        mesh.sites[WEBLOG] = admin_pb2.Site(name=WEBLOG)
        yield mesh


def traced(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["trace", *arguments, "--site", "demo/weblog", "-o", "json"]) == 0
    printed: dict[str, object] = json.loads(capsys.readouterr().out)
    return printed


def kinds(mesh: ScriptedMesh) -> list[str]:
    """Return the kind of id in each request to the mesh."""
    fields = ("hit_id", "order_id", "batch_id")
    return [field for question in mesh.questions for field in fields if getattr(question, field, "")]


def test_an_id_is_a_hit_then_an_order_then_a_request(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.traces["order 1001"] = FOUND
    printed = traced(capsys, "1001")
    assert (printed["found_by"], printed["hit_id"]) == ("order", None)
    copies = printed["copies"]
    assert isinstance(copies, list)
    assert [(copy["hit_id"], copy["batch_id"]) for copy in copies] == [("h1", "b7"), ("h2", None)]
    assert kinds(mesh) == ["hit_id", "order_id"]


def test_a_kind_that_is_given_is_the_only_kind(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.traces["batch b7"] = FOUND
    assert traced(capsys, "b7", "--by", "request")["found_by"] == "request"
    assert kinds(mesh) == ["batch_id"]
    assert run(["trace", "b7", "--site", "demo/weblog", "--by", "order"]) == NOTHING_FOUND


def test_an_unknown_id_ends_with_the_error_about_the_first_kind(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["trace", "h9", "--site", "demo/weblog"]) == NOTHING_FOUND
    assert "'h9' is not known" in capsys.readouterr().err
    assert kinds(mesh) == ["hit_id", "order_id", "batch_id"]


@pytest.mark.parametrize(("visitors", "cause"), [(1, "give fewer days"), (trace.MAX_VISITORS, "of 20 visitors")])
def test_a_note_names_the_limit_that_a_search_reached(
    visitors: int, cause: str, mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [trace_pb2.TracedCopy(hit_id=f"h{number}", visitor_key=str(number)) for number in range(visitors)]
    mesh.traces["batch b7"] = trace_pb2.TraceHitResponse(site=WEBLOG, copies=copies, truncated=True)
    assert run(["trace", "b7", "--site", "demo/weblog", "--by", "request"]) == 0
    assert cause in capsys.readouterr().err


def test_the_limit_on_visitors_is_the_processors() -> None:
    assert trace.MAX_VISITORS == search.MAX_VISITORS


def test_a_request_is_found_in_envoys_access_log(
    mesh: ScriptedMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "home" / ACCESS_LOG
    log.parent.mkdir()
    entries = [{"request_id": "r1", "status": 200, "flags": None}, {"request_id": "r11"}, {"path": "/r1"}]
    log.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries) + '{"request_id": "r1", "cut')
    printed = traced(capsys, "r1")
    assert (printed["found_by"], printed["requests"]) == ("request", [{"request_id": "r1", "status": 200}])
    assert (printed["first_utc_date"], printed["last_utc_date"]) == (None, None), "no day was searched"
    assert run(["trace", "r1", "--site", "demo/weblog", "-o", "table"]) == 0
    assert "request r1\n" in capsys.readouterr().out


def test_only_the_end_of_a_long_access_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / ACCESS_LOG
    log.parent.mkdir()
    line = json.dumps({"request_id": "r1"}) + "\n"
    log.write_text(line * 3)
    assert len(logged_requests(tmp_path, "r1", max_bytes=len(line) + 5)) == 1
    assert logged_requests(tmp_path / "none", "r1") == []


def test_an_envoy_that_does_not_answer_is_named_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trace, "PATIENCE_S", 0.2)
    monkeypatch.setattr(silent_part, "PROBE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts connections, and never answers
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        began_s = time.monotonic()
        code = run(["trace", "h1", "--site", "demo/weblog", "--endpoint", address, "--home", str(tmp_path)])
    assert code == Exit.UNREACHABLE
    assert time.monotonic() - began_s < 10
    assert f"Envoy at {address} does not answer" in capsys.readouterr().err
