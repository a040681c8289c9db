"""Test `hitmesh erase` with a control service and a reprocessor on in-memory stores."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hitmesh.client import reprocessing
from hitmesh.model.days import date_text
from hitmesh.model.erasures import Receipt
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.telemetry import unmeasured
from hitmesh.tools.cli.__main__ import run
from processor.reprocess.reprocessor import Reprocessor
from processor.settle.loop import run_in_turns
from tests.reference.hits import RefHit
from tests.support.erasing import PACE, key_of
from tests.support.published_days import publish_day
from tests.support.raw_hits import a_record
from tests.support.rebuilt_days import UTC_DAY, a_ledger, a_reprocessing
from tests.support.reporters import NOW, Mesh
from tests.support.settled_rows import SITE
from tests.support.small_mesh import settler_stores
from tests.unit.commands import control_of_home, operators_home

ERASE = ("erase", "--site", "demo/shop")
ID = "an-id-of-a-person"


@pytest.fixture
def idle_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    """Provide a mesh without a reprocessor, so that the state of a reprocessing does not change."""
    with control_of_home(operators_home(tmp_path / "home", monkeypatch)) as mesh:
        yield mesh


@pytest.fixture
def mesh(idle_mesh: Mesh) -> Iterator[Mesh]:
    """Run a mesh whose reprocessor works in a background thread."""
    stop, stores = threading.Event(), idle_mesh.stores
    reprocessor = Reprocessor(settler_stores(stores), stores.reprocessings, idle_mesh.clock, PACE, stop)
    worker = threading.Thread(target=lambda: run_in_turns((reprocessor.run_once,), stop, unmeasured(), pause_s=0.05))
    worker.start()
    try:
        yield idle_mesh
    finally:
        stop.set()
        worker.join()


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])  # earlier lines are logs of the reprocessor


def test_an_erasure_shows_plan_and_difference_then_a_receipt(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY - 1), NOW, a_ledger(7))
    assert run([*ERASE, "--visitor", ID, "--unknown", "-o", "json"]) == 0
    planned = printed(capsys)
    assert (planned["kind"], planned["state"], planned["site_days"], planned["hits"]) == ("erase", "DIFF_READY", 1, 7)
    assert planned["diff"]["site_days"] == 0
    assert mesh.stores.erasures.of(SITE) == []
    assert run(["reprocess", "publish", planned["id"], "--wait", "-o", "json"]) == 0
    erased = printed(capsys)
    assert (erased["state"], erased["receipt"]["hits"], erased["receipt"]["log_until_time"]) == ("ERASED", 0, None)
    assert erased["receipt"]["scanned"] == {"carries": 0, "raw_days": 0, "refusals": 0, "snapshots": 0}
    assert len(mesh.stores.erasures.of(SITE)) == 1
    assert run(["reprocess", "status", planned["id"], "-o", "table"]) == 0
    out = capsys.readouterr().out
    assert "nothing found at" in out
    assert ID not in out
    assert run(["reprocess", "rollback", planned["id"]]) == 73
    assert "is ERASED: the visitor's hits are removed" in capsys.readouterr().err


def test_an_erasure_shows_how_many_hits_of_the_visitor_are_known(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    hits = [RefHit(SITE, "v", f"h{number}", NOW - 1_000 * number) for number in range(1, 3)]
    mesh.stores.raw.put([a_record(hits, NOW, 0)])
    key = visitor_key_text("v")
    assert run([*ERASE, "--key", key, "-o", "json"]) == 0
    planned = printed(capsys)
    assert (planned["state"], planned["known_hits"]) == ("DIFF_READY", {"settled": 0, "open": 2})
    assert run(["reprocess", "cancel", planned["id"], "--wait"]) == 0
    capsys.readouterr()
    assert run([*ERASE, "--key", key, "-o", "table"]) == 0
    known = "known hits of the visitor: 0 on settled days, 2 on days that are not settled yet"
    assert known in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--publish",)])
def test_an_erasure_of_a_visitor_without_hits_is_cancelled(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY - 1), NOW, a_ledger(7))
    assert run([*ERASE, "--visitor", ID, *options]) == 69
    err = capsys.readouterr().err
    (erasure,) = mesh.stores.reprocessings.all()
    assert f"no hit of the visitor is known in demo/shop, so the erasure {erasure.id} is cancelled" in err
    assert ID not in err
    assert erasure.state in (State.CANCELLED, State.RUNNING)
    assert mesh.stores.erasures.of(SITE) == []


def test_status_of_an_erasure_shows_what_it_waits_for(idle_mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = Receipt(waiting="replaced generations").to_text()
    erasing = a_reprocessing("e1", state=State.RUNNING, work=Work.PUBLISH, sites=(), kind=Kind.ERASE, receipt=receipt)
    idle_mesh.stores.reprocessings.create(replace(erasing, site_days=3, done=2, error="", begun_at=NOW))
    assert run(["reprocess", "status", "e1", "-o", "table"]) == 0
    shown = capsys.readouterr().out
    assert "RUNNING (PUBLISH: 2 site-days)" in shown
    assert "  waits for replaced generations\n" in shown


def visitor_key_text(visitor: str) -> str:
    return "".join(f"{part:016x}" for part in key_of(visitor))


def test_a_dry_run_stores_nothing_and_a_visitor_is_required(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ERASE, "--key", "0" * 32, "--dry-run", "--unknown", "-o", "json"]) == 0
    assert "id" not in printed(capsys)
    assert run([*ERASE]) == 2
    assert "give --visitor, --user or --key" in capsys.readouterr().err
    assert mesh.stores.reprocessings.all() == []


def test_a_dry_run_shows_on_which_days_the_visitor_has_hits(
    idle_mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    days_ago = (0, 0, 2)
    of_visitor = [RefHit(SITE, "v", f"h{number}", NOW - 1_000 - ago * DAY_MS) for number, ago in enumerate(days_ago)]
    idle_mesh.stores.raw.put([a_record([*of_visitor, RefHit(SITE, "w", "x", NOW - 1_000 - DAY_MS)], NOW, 0)])
    dry_run = [*ERASE, "--key", visitor_key_text("v"), "--dry-run"]
    assert run([*dry_run, "-o", "json"]) == 0
    assert printed(capsys)["search"] == {
        "hits": 3,
        "site_days": 2,
        "utc_dates": [date_text(day) for day in ((NOW - 1) // DAY_MS, (NOW - 1) // DAY_MS - 2)],
        "searched_days": 3,
        "days": 3,
        "complete": True,
    }
    assert run([*dry_run, "-o", "table"]) == 0
    err = capsys.readouterr().err
    assert "stored hits of the visitor: 3 on 2 UTC days" in err
    assert "the search read all raw hits of 3 UTC days" in err
    assert idle_mesh.stores.reprocessings.all() == []


def test_a_dry_run_for_a_visitor_without_hits_ends_with_69(idle_mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    idle_mesh.stores.raw.put([a_record([RefHit(SITE, "w", "x", NOW - 1_000)], NOW, 0)])
    assert run([*ERASE, "--visitor", ID, "--dry-run"]) == 69
    err = capsys.readouterr().err
    assert "no raw hit of the visitor is stored in demo/shop" in err
    assert ID not in err


@pytest.mark.parametrize("is_published", [False, True])
def test_interrupted_erasure_names_the_command_that_continues(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_published: bool
) -> None:
    """The command is interrupted while it waits for the recomputation or the publication."""
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY - 1), NOW, a_ledger(7))

    def interrupted(_seconds: float) -> None:
        (erasure,) = mesh.stores.reprocessings.all()
        if not is_published or erasure.work is Work.PUBLISH:
            raise KeyboardInterrupt

    monkeypatch.setattr(reprocessing, "DEFAULT_WAIT", replace(reprocessing.DEFAULT_WAIT, sleep=interrupted))
    assert run([*ERASE, "--visitor", ID, "--unknown", "--publish"]) == 130
    (erasure,) = mesh.stores.reprocessings.all()
    err = capsys.readouterr().err
    if is_published:
        assert f"the erasure goes on without this command: see hitmesh reprocess status {erasure.id}" in err
    else:
        assert "nothing is erased yet" in err
        assert f"hitmesh reprocess publish {erasure.id} --wait" in err
        assert "goes on without this command" not in err


def test_a_refused_erasure_is_cancelled(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    publish_day(mesh.stores.generations, SiteDay(SITE, UTC_DAY - 1), NOW, a_ledger(7))
    mesh.stores.reprocessings.create(a_reprocessing("other", state=State.DIFF_READY, days=(UTC_DAY - 1, UTC_DAY)))
    assert run([*ERASE, "--visitor", ID]) == 73
    erasure, _ = mesh.stores.reprocessings.all()
    assert (erasure.kind, erasure.state) == (Kind.ERASE, State.CANCELLED)
    err = capsys.readouterr().err
    assert f"the erasure {erasure.id} could not be started and was cancelled" in err
    assert "finish or cancel reprocessings/other first" in err
