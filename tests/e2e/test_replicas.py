"""Test two replicas per service behind one Envoy, with separate settlers.

The death of a replica loses no hit and causes little delay.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from hitmesh.client.batches import batches
from hitmesh.runtime.clock import SystemClock
from tests.support import processes
from tests.support.demo_sites import create_sites
from tests.support.mesh import Mesh, one_json_line
from tests.support.messages import page_view
from tests.support.senders import Portion, Senders
from tests.support.waiting import eventually

SITES = tuple(f"merchants/demo/sites/replica-{number}" for number in range(4))
BATCHES, BATCH_HITS = 10, 25
RESUMED_S = 5.0
COUNTED_S = 60.0


@pytest.mark.timeout(240)
def test_streams_of_a_killed_collector_go_on_at_the_other_and_every_hit_is_counted_once(
    idle_mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = idle_mesh
    if not mesh.backend:
        pytest.skip("files have one writer: several of each service need servers")
    mesh.options = ("--no-demo-data", "--replicas", "2")
    mesh.start()
    create_sites(mesh, SITES)
    with Senders(mesh.address, mesh.key, SITES) as senders:
        for part in range(3):
            senders.give(some_batches(f"part-{part}"))
            senders.wait_acknowledged()
            if part < 2:
                took_s = seconds_until_resumed(mesh, senders, part)
                with capsys.disabled():
                    print(f"\nstreams went on {took_s:.1f} s after a collector died")  # noqa: T201  # what was measured
                assert took_s < RESUMED_S
    sent = dict.fromkeys(SITES, (3 + 2) * BATCHES * BATCH_HITS)
    eventually(lambda: {site: hits_of(mesh, site) for site in SITES} == sent, f"reports have {sent}", COUNTED_S)
    assert mesh.stop() == 0


def seconds_until_resumed(mesh: Mesh, senders: Senders, part: int) -> float:
    """Kill a collector, send hits, and return the seconds until the sent hits are acknowledged.

    Before the function returns, a new collector has started.
    """
    victims = collectors(mesh)
    assert len(victims) == 2
    victim = victims[part]
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    senders.give(some_batches(f"kill-{part}"))
    senders.wait_acknowledged()
    took_s = time.monotonic() - began
    eventually(lambda: len(set(collectors(mesh)) - {victim}) == 2, "a new collector was started", COUNTED_S)
    return took_s


def collectors(mesh: Mesh) -> list[int]:
    """Return the collectors' process ids."""
    return [pid for pid in mesh.children() if "-m collector" in name_of(pid)]


def name_of(pid: int) -> str:
    """Return a process's name, or "" if the process has ended."""
    try:
        return processes.name_of(pid)
    except FileNotFoundError:
        return ""


def some_batches(prefix: str) -> Portion:
    now = SystemClock().now()
    return {
        site: list(
            batches(
                [
                    page_view(f"{prefix}-{number}", now, visitor=f"v{number % 7}")
                    for number in range(BATCHES * BATCH_HITS)
                ],
                f"{prefix}-{site[-1]}",
                max_hits=BATCH_HITS,
            )
        )
        for site in SITES
    }


def hits_of(mesh: Mesh, site: str) -> int:
    short = site.removeprefix("merchants/").replace("/sites/", "/")
    answer = one_json_line(mesh.cli("query", "--site", short, "--metrics", "hits", "--last", "2d", "-o", "json"))
    return sum(int(row["hits"]) for row in answer["rows"])
