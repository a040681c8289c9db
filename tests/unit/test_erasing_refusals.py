"""Erasures remove texts of refused hits.

If the log is read again after an erasure, the ledger still counts the refused hits whose texts were removed.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from collector.records import rejected_record
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.erasures import visitor_digest
from hitmesh.model.keys import hash64, visitor_key
from hitmesh.model.positions import Position, Topic
from hitmesh.model.reprocessings import Work
from hitmesh.model.rows.columns import REJECTED_COLUMNS, unpack_record
from hitmesh.model.rows.erased_refusals import LOGGED_REFUSAL_COLUMNS, id_hashes, without_texts
from processor.stream.balance import unbalanced_hits
from tests.support.erasing import erasing_reprocessor, plan_erasure, turns
from tests.support.reprocessing import done, request
from tests.support.small_mesh import SmallMesh
from tests.unit.settling import NOON, SITE

SITES = (SITE, "")


def refusals(count: int, site: str) -> pl.DataFrame:
    """Return refused hits, alternately of visitors v-id and w-id, with hit ids that contain the site."""
    row = {**dict.fromkeys(REJECTED_COLUMNS), "site": site, "collect_time": NOON, "reason": "INVALID_FIELD", "hits": 1}
    visitors = [hit_pb2.Hit(visitor_id=f"{'vw'[number % 2]}-id").SerializeToString() for number in range(count)]
    rows = [
        {**row, "hit_id": f"bad-{site}-{number}", "original": visitor, "message": "why"}
        for number, visitor in enumerate(visitors)
    ]
    return pl.DataFrame(rows, schema=REJECTED_COLUMNS)


def erase(mesh: SmallMesh) -> None:
    """Erase visitor v-id."""
    site = mesh.stores.directory.site(SITE)
    assert site is not None
    digest = visitor_digest(mesh.stores.directory.mesh_secret(), SITE, visitor_key(site.secret, "visitor", "v-id"))
    mesh.clock.advance(1)
    plan_erasure(mesh, SITE, "v", digests=[digest])
    done(mesh, Work.RECOMPUTE, "e")
    request(mesh, Work.PUBLISH, "e")
    receipt = turns(mesh, erasing_reprocessor(mesh))
    assert (receipt.refusals, receipt.log_records) == (4, 4)


def sums_of(mesh: SmallMesh) -> dict[str, pl.DataFrame]:
    """Return the ledger entries of each site."""
    mesh.runner.flush()
    return {site: mesh.stores.ledger.read(site).sort(pl.all()) for site in SITES}


@pytest.mark.parametrize("where", ["memory", "files"])
def test_the_ledger_stays_as_it_was_when_a_crash_follows_the_erasure_of_refusals(where: str, tmp_path: Path) -> None:
    mesh = SmallMesh(NOON, sites=[SITE], url="memory:" if where == "memory" else f"embedded:{tmp_path}")
    record = rejected_record(pl.concat([refusals(6, SITE), refusals(2, "")]), "collector-0", NOON)
    mesh.stores.log.append(Topic.REJECTED, 0, record).result()
    mesh.stream()
    before = sums_of(mesh)
    erase(mesh)
    mesh.restart()
    mesh.stream()
    after = sums_of(mesh)
    assert [unbalanced_hits(after[site]) for site in SITES] == [0, 0]
    assert {site: after[site].rows() for site in SITES} == {site: before[site].rows() for site in SITES}
    logged = mesh.stores.log_eraser.record(Position(mesh.stores.log.log_id(Topic.REJECTED), 0, 0))
    assert logged is not None
    assert b"v-id" not in logged.record.value


def test_a_refusal_keeps_the_hash_of_its_id_however_often_the_texts_are_removed() -> None:
    record = rejected_record(refusals(3, SITE), "collector-0", NOON)
    value = without_texts(without_texts(without_texts(record.value, 0), 2), 0)
    rows = unpack_record(value, LOGGED_REFUSAL_COLUMNS)
    assert id_hashes(rows).to_list() == [hash64(f"bad-{SITE}-{number}") for number in range(3)]
    assert rows["hit_id"].to_list() == ["", f"bad-{SITE}-1", ""]
