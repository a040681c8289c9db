"""Test that a store which was restored from a backup gets again what it lost between backup and committed positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.erasures import ErasureMark, visitor_digest
from hitmesh.model.errors import RefusedError
from hitmesh.model.records import RawRecord
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.config import load
from processor.building import stream_stores
from processor.erase.records import find_hits
from processor.erase.visitors import ErasedVisitors
from processor.settings import ProcessorSettings
from processor.stream.storing_again import BEFORE_MS, StoredAgain, store_again
from tests.reference.hits import RefHit, RefItem
from tests.support.erasing import key_of
from tests.support.small_mesh import SmallMesh

SITE = "merchants/m/sites/s"
MINUTE, DAY_MS = 60_000, 86_400_000
DAY = 20_000
NOON = DAY * DAY_MS + 720 * MINUTE
CLOSED = DAY - 5
ALL_DAYS = (0, 10**6)


def an_order(number: int, at_ms: int) -> RefHit:
    item = RefItem("sku", unit_price_micros=5)
    order = RefHit(SITE, "buyer", f"order-{number}", at_ms, type="ORDER", order_id=f"o-{number}")
    return replace(order, total_micros=5, currency="USD", items=(item,))


def a_mesh(records: int, pause_ms: int) -> SmallMesh:
    """Return a mesh that has streamed records, each with an order of today and a page view of a closed day."""
    mesh = SmallMesh(NOON, sites=[SITE])
    for number in range(records):
        old = RefHit(SITE, "v", f"old-{number}", CLOSED * DAY_MS + number * MINUTE, page_path="/")
        mesh.send([an_order(number, mesh.clock.now()), old], partition=number % 2)
        mesh.stream()
        mesh.clock.advance(pause_ms)
    return mesh


def raw_of(stores: Stores) -> list[RawRecord]:
    return list(stores.raw.scan(SITE, *ALL_DAYS))


def orders_in(stores: Stores, records: int) -> set[str]:
    return {claim.order_id for claim in stores.claims.of(SITE, [f"o-{number}" for number in range(records)])}


@pytest.mark.parametrize("window_hits", [1, 1_000])
@pytest.mark.parametrize("lost_from", [0, 3, 5])
def test_all_records_since_the_backup_are_stored_again_with_marks_and_claims(window_hits: int, lost_from: int) -> None:
    mesh = a_mesh(5, 2 * BEFORE_MS)
    empty = open_stores("memory:", mesh.clock)
    restored = replace(
        stream_stores(mesh.stores), raw=empty.raw, rejected=empty.rejected, dirty=empty.dirty, claims=empty.claims
    )
    since = NOON + lost_from * 2 * BEFORE_MS
    for _ in range(2):  # the second call changes nothing
        done = store_again(restored, mesh.clock, since, window_hits=window_hits)
        assert done == StoredAgain(5 - lost_from, 2 * (5 - lost_from))
        expected = [record for record in raw_of(mesh.stores) if record.log_time >= since]
        assert raw_of(empty) == expected
        assert len(expected) == 5 - lost_from
        positions = {record.position for record in expected}
        assert set(empty.dirty.marks(SITE)) == {
            mark for mark in mesh.stores.dirty.marks(SITE) if mark.position in positions
        }
        assert {mark.site_day for mark in empty.dirty.marks(SITE)} <= {SiteDay(SITE, CLOSED)}
        assert set(empty.dirty.awaited(SITE)) == ({DAY} if expected else set())
        assert orders_in(empty, 5) == {f"o-{number}" for number in range(lost_from, 5)}


class ErasedMeanwhile:
    """Raw records during whose storage a visitor is erased."""

    def __init__(self, raw: Any, erase: Callable[[], None]) -> None:
        self._raw, self._erase = raw, erase

    def __getattr__(self, name: str) -> Any:
        if name == "put":
            self._erase()
        return getattr(self._raw, name)


def test_an_erasure_during_the_storage_is_not_undone() -> None:
    mesh = a_mesh(2, MINUTE)
    now, secret = mesh.clock.now(), mesh.stores.directory.mesh_secret()
    mark = ErasureMark(SITE, visitor_digest(secret, SITE, key_of("buyer")), now, now, "e")
    empty = open_stores("memory:", mesh.clock)
    raw: Any = ErasedMeanwhile(empty.raw, lambda: mesh.stores.erasures.put([mark]))
    restored = replace(stream_stores(mesh.stores), raw=raw, rejected=empty.rejected, claims=empty.claims)
    erased = ErasedVisitors(secret, [mark])
    assert any(find_hits(record, erased) for record in raw_of(mesh.stores))
    store_again(restored, mesh.clock, 0)
    stored = raw_of(empty)
    assert len(stored) == 2
    assert not any(find_hits(record, erased) for record in stored)
    assert orders_in(empty, 2) == set()


def test_records_after_the_committed_positions_are_left_to_the_stream() -> None:
    mesh = a_mesh(2, MINUTE)
    mesh.send([an_order(2, mesh.clock.now())])
    empty = open_stores("memory:", mesh.clock)
    restored = replace(stream_stores(mesh.stores), raw=empty.raw)
    assert store_again(restored, mesh.clock, 0).records == 2
    assert raw_of(empty) == raw_of(mesh.stores)


def test_a_process_that_must_stop_stores_nothing_further() -> None:
    mesh = a_mesh(2, MINUTE)
    assert store_again(stream_stores(mesh.stores), mesh.clock, 0, lambda: True) == StoredAgain(0, 0)


def test_the_setting_takes_a_utc_time_and_refuses_any_other_text() -> None:
    name = "HITMESH_PROCESSOR_STORE_AGAIN_SINCE"
    found = load(ProcessorSettings, {"HITMESH_PROCESSOR_STORE": "memory:", name: "1970-01-02T00:00:01Z"})
    assert found.store_again_from == DAY_MS + 1_000
    assert load(ProcessorSettings, {"HITMESH_PROCESSOR_STORE": "memory:"}).store_again_from is None
    for wrong in ("yesterday", "1970-01-02T00:00:01", "1970-13-02T00:00:01Z"):
        with pytest.raises(RefusedError, match="is not a UTC time"):
            load(ProcessorSettings, {"HITMESH_PROCESSOR_STORE": "memory:", name: wrong})
