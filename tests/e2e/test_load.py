"""Test `hitmesh load` on a real mesh: sent hits are counted within seconds, and faults are reported."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from hitmesh.api.control.v1 import admin_pb2
from tests.support.mesh import Mesh, environment, hitmesh_command, one_json_line
from tests.support.patience import patient
from tests.support.tenants import authorized
from tests.support.waiting import eventually

PROBLEMS_FOUND = 7
MIXED = ("--late", "3", "--out-of-order", "5", "--duplicates", "4", "--bots", "8")
LARGEST = "demo/load-0001"


def load(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    report = one_json_line(mesh.cli("load", *arguments, "-o", "json", timeout_s=300))
    assert isinstance(report, dict)
    return report


def hits_of(mesh: Mesh, site: str) -> int:
    done = mesh.run("query", "--site", site, "--metrics", "hits", "--last", "2d", "-o", "json")
    return sum(row["hits"] for row in json.loads(done.out)["rows"]) if done.code == 0 else 0


@pytest.fixture(scope="module")
def first_run(own_mesh: Mesh) -> dict[str, Any]:
    return load(own_mesh, "--rate", "400", "--duration", "8", "--sites", "8", *MIXED)


@pytest.mark.timeout(400)
def test_every_total_of_every_site_is_what_was_sent_and_the_ledger_balances(first_run: dict[str, Any]) -> None:
    assert first_run["ok"], first_run["problems"]
    assert first_run["comparison"] == {"equal": True, "sites": 9, "omitted": {}, "differences": []}
    assert first_run["ledger"] == {"balanced": True, "imbalances": {}}
    assert first_run["hits"] == {"offered": 3_200, "shed": 0, "acknowledged": 3_200, "rejected": 0, "resent": 0}


@pytest.mark.timeout(400)
def test_probes_are_in_reports_within_seconds(first_run: dict[str, Any]) -> None:
    freshness = first_run["freshness_s"]
    assert freshness["probes"] >= 8
    assert (freshness["missing"], freshness["failed"]) == (0, 0)
    assert freshness["p99"] < 30


@pytest.mark.timeout(400)
def test_cpu_and_memory_of_every_process_are_reported(first_run: dict[str, Any]) -> None:
    used = {process["name"]: process for process in first_run["processes"]}
    assert set(used) >= {"collector", "processor", "reporter", "control", "envoy", "load", "load.producer"}
    assert first_run["processes_omitted"] == ""
    for name in ("collector", "processor", "reporter", "control"):
        assert used[name]["cpu_s"] > 0
        assert used[name]["max_rss_mib"] > 20


@pytest.mark.timeout(400)
def test_a_second_run_on_the_same_sites_counts_its_own_hits_only(own_mesh: Mesh, first_run: dict[str, Any]) -> None:
    before = hits_of(own_mesh, LARGEST)
    assert before > 0
    second = load(own_mesh, "--rate", "200", "--duration", "4", "--sites", "8", "--seed", "2", *MIXED)
    assert second["ok"], second["problems"]
    assert second["run"]["id"] != first_run["run"]["id"]
    assert hits_of(own_mesh, LARGEST) > before


@pytest.mark.long  # tests/unit/test_load_policies.py tests the decision in milliseconds
@pytest.mark.timeout(400)
def test_visits_of_a_site_with_another_visit_policy_are_not_compared(own_mesh: Mesh, first_run: dict[str, Any]) -> None:
    site = admin_pb2.Site(currency="USD", visit_policy=admin_pb2.VisitPolicy(campaign_keeps_visit=True))
    request = admin_pb2.CreateSiteRequest(parent="merchants/demo", site_id="load-0009", site=site)
    own_mesh.admin().CreateSite(request, metadata=authorized(own_mesh.key), timeout=60)
    found = load(own_mesh, "--rate", "100", "--duration", "4", "--sites", "9", "--zipf", "0", "--seed", "3")
    assert found["ok"], found["problems"]
    assert "1 site with visit policy v1-campaign-keeps" in found["comparison"]["omitted"]["visits"]


@pytest.mark.timeout(400)
def test_wild_hits_are_counted_as_they_were_sent(own_mesh: Mesh, first_run: dict[str, Any]) -> None:
    wild = load(own_mesh, "--shape", "wild", "--rate", "150", "--duration", "5", "--sites", "4")
    assert wild["ok"], wild["problems"]
    assert wild["comparison"] == {"equal": True, "sites": 5, "omitted": {}, "differences": []}
    assert wild["hits"]["acknowledged"] == 750


@pytest.mark.timeout(400)
def test_hit_from_another_sender_is_found_and_named(own_mesh: Mesh, first_run: dict[str, Any]) -> None:
    before = hits_of(own_mesh, LARGEST)
    command = [*hitmesh_command(), "load", "--rate", "100", "--duration", "8", "--sites", "2", "-o", "json"]
    with subprocess.Popen(
        [*command, "--home", str(own_mesh.home)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        eventually(lambda: hits_of(own_mesh, LARGEST) > before, "the run is under way", 30)
        own_mesh.cli("send", "page", "/intruder", "--site", LARGEST)
        out, err = running.communicate(timeout=patient(300))
    assert running.returncode == PROBLEMS_FOUND, err.decode()
    report = one_json_line(out.decode())
    assert not report["ok"]
    found = [
        (difference["site"], difference["metric"], difference["reported"] - difference["expected"])
        for difference in report["comparison"]["differences"]
    ]
    site = f"merchants/{LARGEST.replace('/', '/sites/', 1)}"
    assert sorted(found) == [(site, metric, 1) for metric in ("bounces", "hits", "pageviews", "visits")], report
    assert report["ledger"]["balanced"]
    assert json.loads(err.decode().splitlines()[-1])["details"][0]["reason"] == "LOAD_MISMATCH"


@pytest.mark.timeout(120)
def test_interrupted_run_ends_at_once_with_130(own_mesh: Mesh) -> None:
    # If a shell runs the tests in the background, the tests and their child processes ignore SIGINT.
    heeds = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command = [*hitmesh_command(), "load", "--rate", "50", "--duration", "60", "--sites", "2"]
    with subprocess.Popen(
        [sys.executable, "-c", heeds, *command, "--home", str(own_mesh.home)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        before = hits_of(own_mesh, LARGEST)
        eventually(lambda: hits_of(own_mesh, LARGEST) > before, "the run is under way", 60)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=patient(30))
    assert running.returncode == 130, err.decode()
    assert err.decode().splitlines()[-1] == "interrupted"
