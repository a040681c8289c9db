"""Test several settlers in one process, on files."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.adapters.factory import open_stores
from hitmesh.runtime.telemetry import unmeasured
from processor.__main__ import build_settlers, settler_names
from processor.settings import ProcessorSettings
from tests.support.reprocessing import imbalance
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.support.waiting import eventually
from tests.unit.settling import NOON, a_hit

SITES = tuple(f"merchants/m/sites/s{number}" for number in range(8))


@pytest.mark.timeout(60)
def test_two_settlers_in_a_process_settle_files_like_a_single_settler(tmp_path: Path) -> None:
    url = f"embedded:{tmp_path}"
    mesh = SmallMesh(NOON, sites=SITES, url=url)
    settings = ProcessorSettings(store=url, settlers=2, lease_ms=1_000, settle_pause_s=0.01, resettle_after_ms=0)
    assert settler_names(settings) == ["dev-0", "dev-0-settler-1"]
    stores, stop = [open_stores(url, mesh.clock) for _ in range(2)], threading.Event()
    settlers = build_settlers(stores, mesh.clock, settings, unmeasured(), stop)
    work = [each for settler in settlers for each in (settler.keep_leases, settler.settle)]
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: all(settler.keeper.buckets() for settler in settlers), "both settlers have sites")
        for minute in (5, 1_445, 2_900):
            mesh.send([replace(a_hit(minute), site=site, hit_id=f"{site}-{minute}") for site in SITES])
            mesh.heartbeat()
            mesh.stream()
        eventually(lambda: not mesh.stores.dirty.take(1, 10**6), "every site-day is settled")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not stores[0].leases.held([f"buckets/{number}" for number in range(32)])
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert imbalance(mesh) == 0
    for opened in (mesh.stores, *stores):
        opened.close()
