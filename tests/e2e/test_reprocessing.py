"""Correct a bug in the visit rules while late hits arrive. Then repair lost values and erase a visitor.

A mesh with logic v0 counts a real day of a shop and live traffic. Under v0, visits end after 3 minutes. A shadow stream
with the current logic then takes over without a restart. Settled days keep their v0 numbers until a reprocessing
changes them.
"""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.factory import open_stores
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.model.names import short_site_name
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.clock import SystemClock
from tests.support.damaged_files import run
from tests.support.mesh import Mesh, environment, hitmesh_command, one_json_line
from tests.support.taking_over import FIELDS, SITE, assert_balanced, import_shop, take_over
from tests.support.tenants import authorized
from tests.support.waiting import eventually

DAY = "2019-10-01"
LOAD_S = 40
METRICS = ("visits", "bounces", "visit_duration_total")
UNDER_V0 = (5_272, 2_192, 524_463)
UNDER_V1 = (4_518, 1_664, 793_204)
SMALL_WAITS = (
    *("--processor-setting", "keep_superseded_ms=5000"),  # no query in this file takes 5 s
    *("--processor-setting", "marks_known_ms=3000"),
)
"""Settings that shorten two waits of an erasure.

An erasure waits until no query reads replaced rows any more. An erasure also waits until all streams know its mark.
"""
FORGOTTEN = "demo/forgotten"


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory, backend: tuple[str, ...], shop_csv: Path) -> Iterator[Mesh]:
    """Return a mesh that has counted the shop under logic v0 and then changed to the current logic."""
    mesh = Mesh(tmp_path_factory.mktemp("corrected") / "home", backend=backend)
    mesh.options = ("--no-demo-data", "--logic", "v0", *SMALL_WAITS)
    mesh.start()
    try:
        import_shop(mesh, shop_csv)
        assert numbers(mesh) == UNDER_V0
        with under_load(mesh):
            take_over(mesh, tmp_path_factory.mktemp("live"))
            yield mesh
        assert mesh.stop() == 0
    finally:
        if mesh.process is not None and mesh.process.poll() is None:
            mesh.kill_everything()
        mesh.drop_from_servers()


@contextmanager
def under_load(mesh: Mesh) -> Iterator[None]:
    """Send generated traffic during the block. At the end, every hit must be counted, and every ledger must balance.

    While reports read the v0 stream, `hitmesh load` may find differences in visits. At the end, no difference may
    remain.
    """
    traffic = ("--rate", "40", "--duration", str(LOAD_S), "--sites", "2", "--late", "1", "--duplicates", "1")
    with subprocess.Popen(
        [*hitmesh_command(), "load", *traffic, "--home", str(mesh.home), "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as loading:
        try:
            yield
            out, err = loading.communicate(timeout=LOAD_S + 120)
        finally:
            loading.kill()
    report = json.loads(out)
    assert report["hits"]["acknowledged"] == report["hits"]["offered"], err
    assert report["ledger"]["balanced"], report["ledger"]
    for each in report["comparison"]["differences"]:
        assert each["metric"] in ("visits", "bounces"), each
        of_site = ("--site", short_site_name(each["site"]), "--metrics", each["metric"], "--last", "2d")
        (row,) = one_json_line(mesh.cli("query", *of_site, "--grain", "none", "-o", "json"))["rows"]
        assert row[each["metric"]] == each["expected"], each


def query(site: str, metrics: Sequence[str], version: str = "") -> tuple[str, ...]:
    """Return the command that queries a report of DAY. If `version` is given, the report has data version `version`."""
    return (
        *("query", "--site", site, "--metrics", ",".join(metrics), "--since", DAY, "--until", DAY),
        *("--tz", "UTC", "--include-excluded", "--grain", "none", "-o", "json"),
        *(("--data-version", version) if version else ()),
    )


def answer(mesh: Mesh, version: str = "") -> dict[str, Any]:
    """Return the report of METRICS on DAY. If `version` is given, the report has data version `version`."""
    found: dict[str, Any] = one_json_line(mesh.cli(*query(SITE, METRICS, version)))
    return found


def numbers(mesh: Mesh, version: str = "") -> tuple[int, ...]:
    """Return the values of METRICS on DAY."""
    (row,) = answer(mesh, version)["rows"]
    return tuple(row[metric] for metric in METRICS)


def reprocess(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    """Run a command that must succeed; return its JSON."""
    found: dict[str, Any] = one_json_line(mesh.cli("reprocess", *arguments, "-o", "json", timeout_s=300))
    return found


def shop_file(file: Path, *events: tuple[str, str, int]) -> Path:
    """Write a shop file with events on DAY. Each event has a time, a type and a visitor."""
    with file.open("w", newline="") as output:
        writer = csv.writer(output)
        writer.writerow(FIELDS)
        for time, kind, visitor in events:
            writer.writerow([f"{DAY} {time} UTC", kind, 1, 1, "", "", "9.99", visitor, f"late-{visitor}"])
    return file


def a_late_view(mesh: Mesh, folder: Path, visitor: int) -> None:
    """Import a view of a new visitor on the settled day. Under any logic, the view adds a visit and a bounce."""
    import_shop(mesh, shop_file(folder / f"late-{visitor}.csv", ("05:00:00", "view", visitor)))


def more(known: tuple[int, ...], late: int) -> tuple[int, ...]:
    """Return the numbers after `late` further views, each of a new visitor.

    `known` has the numbers before the further views.
    """
    return (known[0] + late, known[1] + late, known[2])


@pytest.mark.timeout(600)
def test_history_is_corrected_rolled_back_and_corrected_again_while_late_hits_arrive(
    corrected: Mesh, tmp_path: Path
) -> None:
    mesh = corrected
    assert numbers(mesh) == UNDER_V0, "a stream with another logic changes no settled day"
    a_late_view(mesh, tmp_path, 1)
    assert numbers(mesh) == more(UNDER_V0, 1), "a late hit is settled under the logic of the day"
    meta = answer(mesh)["meta"]
    assert meta["pinnable"]
    version = meta["data_version"]

    planned = reprocess(mesh, "plan", "--site", SITE, "--since", DAY, "--until", DAY)
    assert (planned["site_days"], planned["hits"]) == (1, 17_435)
    assert [stage["stage"] for stage in planned["stages"]] == ["scan", "recompute", "compare", "publish", "retire"]
    id_ = planned["id"]
    reprocess(mesh, "run", id_, "--wait")
    assert numbers(mesh) == more(UNDER_V0, 1), "no report reads the new numbers before they are published"
    arguments = ("--fail-above", "0.5%", "--cells", "--order-by", "visits", "--top", "100")
    done = mesh.run("reprocess", "diff", id_, *arguments, "-o", "json")
    assert done.code == 7, done.err
    found = json.loads(done.out)
    assert found["reasons"]["merged_visits"] - found["reasons"]["split_visits"] == 5_272 - 4_518
    assert (found["reasons"]["explained_site_days"], found["reasons"]["added_visits"]) == (1, 0)
    in_cells = [cell["metrics"]["visits"]["difference"] for cell in found["cells"] if "visits" in cell["metrics"]]
    assert sum(in_cells) == 4_518 - 5_272

    reprocess(mesh, "publish", id_, "--wait")
    assert numbers(mesh) == more(UNDER_V1, 1)
    assert_balanced(mesh)
    a_late_view(mesh, tmp_path, 2)
    assert numbers(mesh) == more(UNDER_V1, 2), "a late hit keeps the published logic"
    assert numbers(mesh, version) == more(UNDER_V0, 1), "a report at an earlier version has its numbers"

    reprocess(mesh, "rollback", id_, "--wait")
    assert numbers(mesh) == more(UNDER_V0, 2), "a rollback keeps hits that arrived meanwhile"
    assert_balanced(mesh)
    reprocess(mesh, "publish", id_, "--wait")
    assert numbers(mesh) == more(UNDER_V1, 2)
    assert_balanced(mesh)

    again = reprocess(mesh, "plan", "--site", SITE, "--since", DAY, "--until", DAY, "--kind", "repair")
    reprocess(mesh, "run", again["id"], "--wait")
    assert mesh.run("reprocess", "diff", again["id"], "--fail-above", "0%", "-o", "json").code == 0, "nothing changed"
    reprocess(mesh, "cancel", again["id"])
    assert numbers(mesh) == more(UNDER_V1, 2)
    assert numbers(mesh, version) == more(UNDER_V0, 1)
    retired = one_json_line(mesh.cli("reprocess", "retired", "--site", SITE, "-o", "json"))
    assert {each["utc_date"] for each in retired} == {DAY}
    assert "REPROCESSING" in {each["reason"] for each in retired}


def by_brand(mesh: Mesh) -> str:
    """Return a report on DAY that the metric store answers."""
    return mesh.cli(
        *("query", "--site", SITE, "--metrics", "product_views,cart_adds", "--dimensions", "brand", "--tz", "UTC"),
        *("--since", DAY, "--until", DAY, "--include-excluded", "--grain", "none", "--limit", "50", "-o", "csv"),
    )


def lose_rows_series_and_raw_records(mesh: Mesh) -> None:
    """Delete values of DAY from the metric store, the series store and the raw store."""
    site, day = f"merchants/{SITE.replace('/', '/sites/')}", (date.fromisoformat(DAY) - date(1970, 1, 1)).days
    stores = open_stores(mesh.store_url, SystemClock())
    lost = [record.position for record in stores.raw.scan(site, day, day + 1)][::2]
    generation = stores.generations.current(site, day, day + 1)[day].generation
    stores.sink.drop([(SiteDay(site, day), generation)])
    stores.close()
    if mesh.on_servers is None:
        of = "log_id = ? AND partition_no = ? AND record_offset = ?"
        for position in lost:
            run(mesh.home / "data" / "raw.db", f"DELETE FROM raw_records WHERE {of}", position)
        return
    session = CassandraSession(mesh.on_servers)
    for log, partition, offset in lost:
        session.run(
            "DELETE FROM raw_records WHERE log = ? AND partition = ? AND span = ? AND offset = ?",
            (log, partition, offset >> 10, offset),
        )
    session.close()


def found_in_three_stores(mesh: Mesh, check: tuple[str, ...]) -> dict[str, Any]:
    """Wait until the check finds damage in three stores.

    For up to 1 s, the mesh may still answer from the dropped rows. Return the findings.
    """
    expected, stores = {"raw", "series", "metrics"}, set[str]()

    def found() -> dict[str, Any] | None:
        done = mesh.run(*check, "-o", "json")
        assert done.code == 7, done.err
        findings: dict[str, Any] = one_json_line(done.out)
        stores.clear()
        stores.update(each["store"] for problem in findings["problems"] for each in problem["findings"])
        return findings if stores == expected else None

    return eventually(found, "the check names three stores", 30)


@pytest.mark.timeout(600)
def test_the_printed_plan_brings_back_what_every_store_lost(corrected: Mesh) -> None:
    mesh = corrected
    before = numbers(mesh), by_brand(mesh)
    check = ("reprocess", "check", "--site", SITE)
    assert mesh.run(*check, "-o", "json").code == 0
    lose_rows_series_and_raw_records(mesh)
    found = found_in_three_stores(mesh, check)
    (problem,) = found["problems"]
    assert problem["missing_hits"] == problem["log_hits"] > 0
    assert problem["lost_hits"] == 0

    (plan,) = found["plans"]
    planned = one_json_line(mesh.cli(*shlex.split(plan["command"])[1:], "-o", "json"))
    ran = reprocess(mesh, "run", planned["id"], "--wait")
    assert ran["raw_repair"]["restored_hits"] >= problem["missing_hits"]
    assert (ran["raw_repair"]["lost_hits"], ran["raw_repair"]["lost"]) == (0, [])
    reprocess(mesh, "publish", planned["id"], "--wait")
    assert (numbers(mesh), by_brand(mesh)) == before
    assert mesh.run(*check, "-o", "json").code == 0
    assert_balanced(mesh)


def refused(mesh: Mesh, *arguments: str) -> str:
    """Run a command that the mesh refuses because of its present state, and return the message."""
    done = mesh.run(*arguments)
    assert done.code == 73, done
    return done.err


def visitors_in_raw(mesh: Mesh, site: str) -> set[tuple[int, int]]:
    """Return the visitor keys in the raw records of a site."""
    stores = open_stores(mesh.store_url, SystemClock())
    records = list(stores.raw.scan(site, 0, 10**6))
    stores.close()
    keys = ("visitor_hi", "visitor_lo")
    return {key for each in records for key in unpack_record(each.value, HITS_COLUMNS).select(keys).iter_rows()}


@pytest.mark.timeout(300)
def test_an_erased_visitor_is_in_no_report_and_in_no_store_and_does_not_come_back(
    corrected: Mesh, tmp_path: Path
) -> None:
    mesh, metrics = corrected, ("hits", "visits", "orders")
    site = "merchants/demo/sites/forgotten"
    mesh.admin().CreateSite(
        admin_pb2.CreateSiteRequest(
            parent="merchants/demo", site_id="forgotten", site=admin_pb2.Site(currency="USD", time_zone="UTC")
        ),
        metadata=authorized(mesh.key),
        timeout=60,
    )
    events = (("05:00:00", "view", 7), ("05:01:00", "purchase", 7), ("05:02:00", "view", 8))
    file = shop_file(tmp_path / "forgotten.csv", *events)
    import_shop(mesh, file, FORGOTTEN)
    before = one_json_line(mesh.cli(*query(FORGOTTEN, metrics)))
    assert before["rows"] == [{"hits": 3, "visits": 2, "orders": 1}]
    assert before["meta"]["pinnable"]
    keys = visitors_in_raw(mesh, site)
    assert len(keys) == 2

    shown = one_json_line(mesh.cli("erase", "--site", FORGOTTEN, "--visitor", "7", "-o", "json"))
    assert shown["state"] == "DIFF_READY"
    assert one_json_line(mesh.cli(*query(FORGOTTEN, metrics)))["rows"] == before["rows"], "a plan changes no report"
    erased = reprocess(mesh, "publish", shown["id"], "--wait")
    assert erased["state"] == "ERASED"
    receipt = erased["receipt"]
    assert (receipt["hits"], receipt["raw_records"], receipt["claims"], receipt["site_days"]) == (2, 1, 1, 1)
    assert receipt["generations"] >= 1
    assert receipt["proven_time"]
    assert {"raw_days", "snapshots", "carries", "refusals"} <= receipt["scanned"].keys()
    assert (receipt["log_until_time"] is None) == (mesh.on_servers is None), "files keep nothing, Kafka keeps records"

    assert one_json_line(mesh.cli(*query(FORGOTTEN, metrics)))["rows"] == [{"hits": 1, "visits": 1, "orders": 0}]
    assert len(visitors_in_raw(mesh, site) & keys) == 1
    assert_balanced(mesh, FORGOTTEN)
    assert "WRONG_STATE" in refused(mesh, "reprocess", "rollback", shown["id"], "-o", "json")
    version = before["meta"]["data_version"]
    assert "DATA_VERSION_ERASED" in refused(mesh, *query(FORGOTTEN, metrics, version))

    counts = import_shop(mesh, file, FORGOTTEN)
    assert [counts[name] for name in ("sent", "accepted", "rejected", "erased", "duplicate")] == [3, 1, 0, 2, 1]
    again = shop_file(tmp_path / "again.csv", ("05:03:00", "view", 7), ("05:04:00", "view", 8))
    import_shop(mesh, again, FORGOTTEN)
    assert one_json_line(mesh.cli(*query(FORGOTTEN, ("hits", "orders"))))["rows"] == [{"hits": 2, "orders": 0}]
    assert len(visitors_in_raw(mesh, site) & keys) == 1
    assert_balanced(mesh, FORGOTTEN)
