"""Test an erasure on files, with a restart of all stores between its steps.

No byte of an erased hit remains in a file.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.model.reprocessings import Work
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from tests.reference.visits import V1
from tests.support.erasing import erasing_reprocessor, key_of, plan_erasure, turns, without
from tests.support.reprocessing import done, imbalance, request
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.settling import DAY, NOON, SITE, a_hit, an_order

HIT_ID = "an-id-that-nothing-else-has"


def reopened(mesh: SmallMesh, url: str) -> SmallMesh:
    """Close all stores, and return a new mesh on the same files."""
    mesh.runner.close()
    mesh.stores.close()
    again = SmallMesh(mesh.clock.now(), url=url)
    again.sent = mesh.sent
    return again


@pytest.mark.timeout(60)
def test_files_keep_neither_key_nor_hits_of_an_erased_visitor(tmp_path: Path) -> None:
    url = f"embedded:{tmp_path}"
    mesh = SmallMesh(NOON, sites=[SITE], url=url)
    mesh.send([a_hit(4), a_hit(5, "w"), an_order(30, "o", hit_id=HIT_ID), a_hit(1_436), a_hit(1_444)])
    mesh.settle()
    live = replace(a_hit(0, hit_id="live"), event_time=mesh.clock.now() - 1_000)
    mesh.send([live])
    mesh.stream()
    mesh.runner.snapshot()
    plan_erasure(mesh, SITE, "v")
    done(mesh, Work.RECOMPUTE, "e")
    mesh = reopened(mesh, url)
    request(mesh, Work.PUBLISH, "e")
    receipt = turns(mesh, erasing_reprocessor(mesh))
    assert (receipt.hits, receipt.claims, receipt.log_records, receipt.log_until) == (5, 1, 2, 0)
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == []
    assert imbalance(mesh) == 0
    for record in mesh.stores.raw.scan(SITE, DAY, DAY + 99):
        rows = unpack_record(record.value, HITS_COLUMNS)
        assert key_of("v") not in set(rows.select("visitor_hi", "visitor_lo").iter_rows())
    mesh.runner.close()
    mesh.stores.close()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    wanted = [HIT_ID.encode(), *(struct.pack(">Q", word) for word in key_of("v"))]
    assert [(file.name, text) for file in files for text in wanted if text in file.read_bytes()] == []
