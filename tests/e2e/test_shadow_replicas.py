"""Two processors run a shadow stream.

Each processor follows its own partitions. If a processor is killed, a new process replaces it. In the end, the shadow
stream takes over in both processors.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing, suppress

import psutil
import pytest

from hitmesh.adapters.factory import open_stores
from hitmesh.client.batches import batches
from hitmesh.model.names import short_site_name
from hitmesh.model.streams import StreamTable
from hitmesh.runtime.clock import SystemClock
from tests.support.demo_sites import create_sites
from tests.support.mesh import Mesh, one_json_line
from tests.support.messages import page_view
from tests.support.senders import Senders
from tests.support.taking_over import compared, shadow
from tests.support.waiting import eventually

SITES = tuple(f"merchants/demo/sites/beside-{number}" for number in range(3))
SMALL_WAITS = ("--processor-setting", "keep_superseded_ms=5000")
VISITORS = 12
MINUTES = (38, 28, 18, 8)
"""The ages of a visitor's views in minutes. Under v0, each view is a visit. Under v1, all views are one visit."""
WAIT_S = 120.0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_processors_take_over_a_shadow_although_each_is_killed_or_hangs_on_the_way(idle_mesh: Mesh) -> None:
    mesh = idle_mesh
    if not mesh.backend:
        pytest.skip("files have one writer: several of each service need servers")
    mesh.options = ("--no-demo-data", "--logic", "v0", "--replicas", "2", *SMALL_WAITS)
    mesh.start()
    create_sites(mesh, SITES)
    with Senders(mesh.address, mesh.key, SITES) as senders:
        send_views(senders, "first")
        await_visits(mesh, VISITORS * len(MINUTES))
        shadow(mesh, "start", "--logic", "v1")
        send_views(senders, "following")
        kill(mesh, "processor-1")
        send_views(senders, "killed")
        shadow(mesh, "publish", "--wait")
        await_visits(mesh, 3 * VISITORS)
        shadow(mesh, "rollback")
        await_visits(mesh, 3 * VISITORS * len(MINUTES))
        both = tuple(len(SITES) * 3 * VISITORS * each for each in (len(MINUTES), 1))
        eventually(lambda: compared(mesh) == (*both, 0), "both streams have counted all hits", WAIT_S)
        shadow(mesh, "publish", "--wait")
        kill_while_both_should_stand_still(mesh, senders)
        assert shadow(mesh, "stop", "--wait")["state"] is None
        send_views(senders, "adopted")
        await_visits(mesh, 5 * VISITORS)
        eventually(lambda: table_of(mesh).gone == (), "the values of the earlier stream are removed", WAIT_S)
        send_views(senders, "removed")
        await_visits(mesh, 6 * VISITORS)
        assert table_of(mesh).live.generation == -1

        shadow(mesh, "start", "--logic", "v0")
        shadow(mesh, "publish", "--wait")
        await_visits(mesh, 6 * VISITORS * len(MINUTES))
        take_over_although_a_processor_hangs(mesh)
        assert table_of(mesh).live.generation == -2
        send_views(senders, "resumed")
        await_visits(mesh, 7 * VISITORS * len(MINUTES))
    for site in SITES:
        ledger = one_json_line(mesh.cli("ledger", "--site", short_site_name(site), "-o", "json"))
        assert ledger["imbalance"] == 0
    assert one_json_line(mesh.cli("drift", "-o", "json")) == []
    assert mesh.stop() == 0


def send_views(senders: Senders, stem: str) -> None:
    """Send the views of further visitors to each site, and wait until these views are acknowledged."""
    now = SystemClock().now()
    hits = [
        page_view(f"{stem}-{visitor}-{minutes}", now - minutes * 60_000, visitor=f"{stem}-{visitor}")
        for visitor in range(VISITORS)
        for minutes in MINUTES
    ]
    senders.give({site: list(batches(hits, f"{stem}-{site[-1]}", max_hits=16)) for site in SITES})
    senders.wait_acknowledged()


def await_visits(mesh: Mesh, expected: int) -> None:
    """Wait until each site has `expected` visits, on both serving paths."""
    for site in SITES:
        for dimensions in ((), ("--dimensions", "channel")):
            question = ("--site", short_site_name(site), "--metrics", "visits", "--last", "2d", "--grain", "none")

            def visits(arguments: tuple[str, ...] = (*question, *dimensions)) -> int:
                rows = one_json_line(mesh.cli("query", *arguments, "-o", "json"))["rows"]
                return sum(int(row["visits"]) for row in rows)

            eventually(lambda visits=visits: visits() == expected, f"{site} has {expected} visits", WAIT_S)  # type: ignore[misc]


def table_of(mesh: Mesh) -> StreamTable:
    """Return the stored table of streams."""
    with closing(open_stores(mesh.store_url, SystemClock())) as stores:
        return stores.streams.read()


def processor(mesh: Mesh, node: str) -> psutil.Process | None:
    """Return the process with this node name; None if it does not run."""
    for pid in mesh.children():
        try:
            if psutil.Process(pid).name() == node:
                return psutil.Process(pid)
        except psutil.Error:  # the process has just ended
            continue
    return None


def kill(mesh: Mesh, node: str) -> None:
    """Kill a process, and wait until a new process runs in its place."""
    victim = eventually(lambda: processor(mesh, node), f"{node} runs", WAIT_S)
    os.kill(victim.pid, signal.SIGKILL)

    def is_replaced() -> bool:
        found = processor(mesh, node)
        return found is not None and found.pid != victim.pid

    eventually(is_replaced, f"{node} runs again", WAIT_S)


def kill_while_both_should_stand_still(mesh: Mesh, senders: Senders) -> None:
    """Begin the adoption, and kill the first processor.

    At the time of the kill, the first processor has stopped the live stream in its partitions, but the second processor
    has not stopped its part yet.
    """
    other = processor(mesh, "processor-1")
    assert other is not None
    other.suspend()  # the group reassigns partitions only after a longer time
    try:
        assert shadow(mesh, "stop")["state"] == "ADOPTING"

        def has_stopped() -> bool:
            found = table_of(mesh).shadow
            assert found is not None, "nothing can be adopted while a processor is suspended"
            return bool(found.stopped)

        eventually(has_stopped, "the first processor stands still", WAIT_S)
        kill(mesh, "processor-0")
    finally:
        other.resume()
    send_views(senders, "adopting")


def take_over_although_a_processor_hangs(mesh: Mesh) -> None:
    """Suspend a processor.

    The live stream in the processor's partitions can stop only when another processor takes over the partitions.
    """
    hanging = processor(mesh, "processor-1")
    assert hanging is not None
    hanging.suspend()
    try:
        assert shadow(mesh, "stop")["state"] == "ADOPTING"
        eventually(lambda: table_of(mesh).shadow is None, "the shadow is adopted", 2 * WAIT_S)
    finally:
        with suppress(psutil.NoSuchProcess):  # `hitmesh dev` kills a process that answers no health check
            hanging.resume()
