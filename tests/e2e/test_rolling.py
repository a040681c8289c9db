"""Restart every replica of every service, one after another, while hits arrive and reports are read.

An orchestrator does the same for a new version: it ends a process with SIGTERM, waits until the new process is healthy,
and goes on with the next process.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from hitmesh.client.batches import batches
from hitmesh.runtime.clock import SystemClock
from tests.support import processes
from tests.support.demo_sites import create_sites
from tests.support.mesh import Mesh, one_json_line
from tests.support.messages import page_view
from tests.support.senders import Portion, Senders
from tests.support.trickle import Standstill, Trickle
from tests.support.waiting import eventually
from tests.support.witness import Witness

SITES = tuple(f"merchants/demo/sites/rolling-{number}" for number in range(4))
SERVICES = ("collector", "processor", "reporter", "control")
REPLICAS = 2
BATCH_HITS, PAUSE_S = 25, 0.2
"""Four sites send 500 hits/s together."""
SHARES = 900
STARTED_S, COUNTED_S = 120.0, 180.0
RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
"""Codes that clients retry (docs/read.md)."""


@pytest.mark.timeout(900)
def test_a_rolling_restart_of_every_service_loses_no_hit_and_fails_no_report(
    idle_mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = idle_mesh
    if not mesh.backend:
        pytest.skip("files have one writer: several of each service need servers")
    mesh.options = ("--no-demo-data", "--replicas", str(REPLICAS))
    mesh.start()
    create_sites(mesh, SITES)
    now = SystemClock().now()
    lines = []
    with Senders(mesh.address, mesh.key, SITES) as senders, Witness(mesh.address, SITES[0]) as witness:
        with Trickle(senders, [share_of(number, now) for number in range(SHARES)], PAUSE_S) as trickle:
            eventually(lambda: senders.done >= len(SITES), "the first hits are acknowledged", STARTED_S)
            for service in SERVICES:
                witness.next_phase()
                with Standstill(lambda: senders.done) as acked:
                    for victim in pids_of(mesh, service):
                        replace_process(mesh, service, victim)
                seen = witness.next_phase()
                lines.append(
                    f"{service}: acknowledgements stood still for at most {acked.longest_s:.1f} s; {seen.line()}"
                )
                failed = {what for found in seen.answers.values() for what in found if not what.startswith("STORE_")}
                assert {what for what in failed if not what.startswith(RETRIED)} == set(), lines
        given = trickle.given
        senders.wait_acknowledged(COUNTED_S)
    sent = dict.fromkeys(SITES, given * BATCH_HITS)
    eventually(lambda: {site: hits_of(mesh, site) for site in SITES} == sent, f"reports have {sent}", COUNTED_S)
    assert mesh.stop() == 0
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201  # for how long something stood still


def replace_process(mesh: Mesh, service: str, victim: int) -> None:
    """End a process with SIGTERM, and block until a new process is healthy and Envoy calls it."""
    count = len(pids_of(mesh, service))
    os.kill(victim, signal.SIGTERM)
    eventually(lambda: len(set(pids_of(mesh, service)) - {victim}) == count, f"a new {service} was started", STARTED_S)
    eventually(
        lambda: (
            mesh.envoy_stat(f"cluster.{service}.membership_healthy")
            == mesh.envoy_stat(f"cluster.{service}.membership_total")
            > 0
        ),
        f"every {service} is healthy",
        STARTED_S,
    )


def pids_of(mesh: Mesh, service: str) -> list[int]:
    """Return the process ids of a service. The processors include the settlers."""
    found = []
    for pid in mesh.children():
        try:
            if f"-m {service}" in processes.name_of(pid):
                found.append(pid)
        except (FileNotFoundError, psutil.Error):  # the process has just ended
            continue
    return found


def share_of(number: int, now: int) -> Portion:
    """Return a batch for each site."""
    return {
        site: list(
            batches(
                [page_view(f"{number}-{hit}", now, visitor=f"v{hit % 7}") for hit in range(BATCH_HITS)],
                f"{number}-{site[-1]}",
                max_hits=BATCH_HITS,
            )
        )
        for site in SITES
    }


def hits_of(mesh: Mesh, site: str) -> int:
    """Return the hits of a site in a report."""
    short = site.removeprefix("merchants/").replace("/sites/", "/")
    answer = one_json_line(mesh.cli("query", "--site", short, "--metrics", "hits", "--last", "2d", "-o", "json"))
    return sum(int(row["hits"]) for row in answer["rows"])
