"""Test `hitmesh ledger`, `drift` and `trace` with a scripted mesh: requests, output and exit codes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.api.control.v1 import admin_pb2, operations_pb2, trace_pb2
from hitmesh.tools.cli.__main__ import run
from tests.support.dates import a_date
from tests.unit.commands import WEBLOG, mesh_of_home
from tests.unit.scripted_mesh import ScriptedMesh

SHOP = "merchants/demo/sites/shop"


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    with mesh_of_home(tmp_path / "home", monkeypatch) as mesh:
        for name in (SHOP, WEBLOG):
            mesh.sites[name] = admin_pb2.Site(name=name)
        yield mesh


def count(hits: int, checksum: int = 0) -> operations_pb2.LedgerCount:
    return operations_pb2.LedgerCount(hits=hits, sum64=checksum, xor64=checksum)


def a_ledger(site: str = WEBLOG, imbalance: int = 0) -> operations_pb2.GetLedgerResponse:
    day = operations_pb2.LedgerDay(
        utc_date=a_date("2026-11-01"),
        settled=True,
        generation=4,
        accepted=count(1_200, (1 << 64) - 1),
        counted=1_000,
        duplicate=100,
        excluded=60,
        pending=count(40),
        imbalance=imbalance,
    )
    totals = operations_pb2.LedgerTotals(received=count(1_210), rejected=count(10), accepted=count(1_200))
    return operations_pb2.GetLedgerResponse(
        site=site,
        totals=totals,
        days=[day, operations_pb2.LedgerDay(utc_date=a_date("2026-11-02"))],
        imbalance=imbalance,
        pending_hits=40,
        omitted_days=3,
        data_version="s1.p2",
    )


def test_a_ledger_that_balances_ends_with_0(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.ledgers[WEBLOG] = [a_ledger()]
    assert run(["ledger", "--site", "demo/weblog", "-o", "json", "--since", "2026-11-01", "--until", "2026-11-02"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["site"], printed["imbalance"], printed["pending"]) == ("demo/weblog", 0, 40)
    assert printed["received"] == {"hits": 1_210, "sum64": "0" * 16, "xor64": "0" * 16}
    day = printed["days"][0]
    assert (day["utc_date"], day["settled"], day["generation"], day["counted"]) == ("2026-11-01", True, 4, 1_000)
    assert day["accepted"]["sum64"] == "f" * 16
    (request,) = mesh.questions
    assert request == operations_pb2.GetLedgerRequest(
        site=WEBLOG, first_utc_date=a_date("2026-11-01"), last_utc_date=a_date("2026-11-02")
    )


def test_a_ledger_out_of_balance_is_printed_and_ends_with_7(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.ledgers[WEBLOG] = [a_ledger(imbalance=2)]
    assert run(["ledger", "--site", "demo/weblog", "-o", "json", "--timeout", "0"]) == 7
    captured = capsys.readouterr()
    assert json.loads(captured.out)["days"][0]["imbalance"] == 2
    status = json.loads(captured.err)
    assert status["details"][0]["reason"] == "LEDGER_IMBALANCE"
    assert "out of balance by 2" in status["message"]


def test_hits_on_their_way_are_waited_for(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.ledgers[WEBLOG] = [a_ledger(imbalance=9), a_ledger(imbalance=3), a_ledger()]
    assert run(["ledger", "--site", "demo/weblog", "-o", "table"]) == 0
    assert len(mesh.questions) == 3
    captured = capsys.readouterr()
    assert "settled, generation 4" in captured.out
    assert "1,200" in captured.out
    assert "3 more days with hits" in captured.err


@pytest.mark.parametrize(("after_s", "code"), [("3600", 0), ("60", 7)])
def test_hits_that_were_not_read_for_long_end_with_7(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str], after_s: str, code: int
) -> None:
    found = a_ledger()
    found.unread_hits = 12
    found.unread_since.FromMilliseconds(int((time.time() - 600) * 1_000))
    mesh.ledgers[WEBLOG] = [found]
    assert run(["ledger", "--site", "demo/weblog", "-o", "json", "--unread-after", after_s]) == code
    captured = capsys.readouterr()
    assert json.loads(captured.out)["unread"] == 12
    assert ("12 acknowledged hits are unread" in captured.err) == (code == 7)


def test_all_sites_and_the_hits_of_none_are_checked(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.ledgers = {WEBLOG: [a_ledger()], SHOP: [a_ledger(SHOP)]}
    mesh.siteless = operations_pb2.LedgerTotals(received=count(5), rejected=count(4), imbalance=1)
    assert run(["ledger", "-o", "json"]) == 7
    printed = json.loads(capsys.readouterr().out)
    assert [site["site"] for site in printed["sites"]] == ["demo/shop", "demo/weblog"]
    assert (printed["siteless"]["received"]["hits"], printed["imbalance"]) == (5, 1)
    mesh.siteless = operations_pb2.LedgerTotals()
    assert run(["ledger", "-o", "table"]) == 0
    assert "(no site)" in capsys.readouterr().out


def test_hits_of_no_site_that_are_not_shown_are_left_out(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "-o", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["siteless"], printed["imbalance"], len(printed["sites"])) == (None, 0, 2)


def test_drift_lists_what_settlement_changed(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    days = [
        operations_pb2.DriftDay(utc_date=a_date("2026-11-01"), confirmed=True),
        operations_pb2.DriftDay(utc_date=a_date("2026-11-02"), rows_differ=True, measures={"visits": -2, "hits": 1}),
        operations_pb2.DriftDay(utc_date=a_date("2026-11-03"), sketch_provisional=True),
    ]
    mesh.drifts[WEBLOG] = operations_pb2.GetDriftResponse(site=WEBLOG, days=days, omitted_days=4)
    assert run(["drift", "--site", "demo/weblog", "-o", "json"]) == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert [drift["confirmed"] for drift in printed] == [True, False, False]
    assert printed[1]["measures"] == {"hits": 1, "visits": -2}
    assert "4 more settled days" in captured.err
    assert run(["drift", "-o", "table"]) == 0
    shown = capsys.readouterr().out
    assert "confirmed" in shown
    assert "hits +1, visits -2" in shown
    assert "visitors recounted" in shown


def a_trace() -> trace_pb2.TraceHitResponse:
    first = trace_pb2.HitPosition(log="hits-1", partition=3, offset=12, row=4)
    counted = trace_pb2.TracedCopy(
        position=first,
        verdict=trace_pb2.HIT_VERDICT_COUNTED,
        timeliness=trace_pb2.HIT_TIMELINESS_LATE,
        hit_type="ORDER",
        order=trace_pb2.ORDER_OUTCOME_WON,
        order_id="o\x1b1",
        visit=trace_pb2.TracedVisit(visit_id="00000000000000ab", hits=3, landing_page="/"),
        visitor_key="ab" * 16,
    )
    counted.event_time.FromJsonString("2026-11-01T10:00:00Z")
    copy = trace_pb2.TracedCopy(
        position=trace_pb2.HitPosition(log="hits-1", partition=3, offset=13),
        verdict=trace_pb2.HIT_VERDICT_DUPLICATE,
        original=first,
    )
    refusal = trace_pb2.TracedRefusal(position=first, reason="ID_COLLISION", field="hit_id", message="used before")
    return trace_pb2.TraceHitResponse(site=WEBLOG, hit_id="h1", copies=[counted, copy], refusals=[refusal])


def test_a_trace_shows_every_copy_and_refusal(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.traces["h1"] = a_trace()
    assert run(["trace", "h1", "--site", "demo/weblog", "-o", "json", "--since", "2026-11-01"]) == 0
    printed = json.loads(capsys.readouterr().out)
    first, second = printed["copies"]
    assert (first["position"], first["verdict"], first["timeliness"]) == ("hits-1/3@12:4", "COUNTED", "LATE")
    assert (first["order"], first["visit"]["hits"], first["duplicate_of"]) == ("WON", 3, None)
    assert (second["verdict"], second["duplicate_of"], second["visit"]) == ("DUPLICATE", "hits-1/3@12:4", None)
    assert printed["refusals"][0]["reason"] == "ID_COLLISION"
    assert mesh.questions == [trace_pb2.TraceHitRequest(site=WEBLOG, hit_id="h1", first_utc_date=a_date("2026-11-01"))]


def test_a_trace_for_people_hides_what_a_terminal_would_obey(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.traces["h1"] = a_trace()
    mesh.traces["h1"].truncated = True
    assert run(["trace", "h1", "--site", "demo/weblog", "-o", "table"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "hits-1/3@12:4  COUNTED"
    assert r"o\x1b1" in captured.out
    assert "hits-1/3@12:4  REFUSED" in captured.out
    assert "stopped at a limit" in captured.err


def test_trace_of_an_unknown_hit_exits_with_69(mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "h2", "--site", "demo/weblog", "-o", "json"]) == 69
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "is not known" in json.loads(captured.err)["message"]
