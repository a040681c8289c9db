"""If a stored reprocessing does not decode, the error names the reprocessing.

The damage does not affect other reprocessings.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog.testing

from control.rpc.reprocessing.damage import note_damage
from hitmesh.adapters.embedded.schema import SETTLED_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.errors import StoreCorrupt
from hitmesh.runtime.clock import SystemClock
from tests.support.rebuilt_days import a_reprocessing


def test_damaged_reprocessing_is_left_out_and_named(tmp_path: Path) -> None:
    stores: Stores = open_stores(f"embedded:{tmp_path}", SystemClock())
    for id_ in ("20261101-aaaaaa", "20261101-bbbbbb", "20261101-cccccc"):
        stores.reprocessings.create(a_reprocessing(id_))
    assert len(stores.reprocessings.all(note_damage)) == 3
    damage(tmp_path, "20261101-bbbbbb")
    with pytest.raises(StoreCorrupt, match="20261101-bbbbbb"):
        stores.reprocessings.all()
    with structlog.testing.capture_logs() as logs:
        found = stores.reprocessings.all(note_damage)
    assert sorted(each.id for each in found) == ["20261101-aaaaaa", "20261101-cccccc"]
    assert ["20261101-bbbbbb" in log["message"] for log in logs] == [True]
    stores.close()


def damage(home: Path, id_: str) -> None:
    database = Database(home / "settled.db", SETTLED_SCHEMA)
    with database.writing() as transaction:
        transaction.run("UPDATE reprocessings SET value = x'0011' WHERE id = ?", (id_,))
    database.close()
