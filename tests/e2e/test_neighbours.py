"""Test that a merchant far beyond its quotas makes no call of another merchant fail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from hitmesh.adapters.factory import open_stores
from hitmesh.model.quotas import Quota
from hitmesh.model.sites import Site
from hitmesh.runtime.clock import SystemClock
from reporter.answer.report_budget import REPORT_UNITS
from tests.support.crowd_tenants import Tenant
from tests.support.crowds import REPORT, SEND, Crowd
from tests.support.mesh import Mesh
from tests.support.patience import patient
from tests.support.tenants import new_merchant
from tests.support.waiting import eventually

HITS_S, REPORTS_S, OVER = 1_000, 50, 100
CALLS = 40
# Generous: the machine runs other tests meanwhile. `make bench` compares with a quiet mesh.
CEILING_S = 5.0


def tenant(mesh: Mesh, name: str) -> Tenant:
    """Create a merchant with a site and a key."""
    merchant = f"merchants/{name}"
    key = new_merchant(mesh, merchant, Site(f"{merchant}/sites/shop", "UTC", "USD", b"a secret of sixteen"))
    return Tenant(mesh.address, name, key)


@contextmanager
def flood(mesh: Mesh) -> Iterator[list[Crowd]]:
    """Send hits and ask for reports at 100 times the quotas, inside the block."""
    of = tenant(mesh, "flooder")
    stores = open_stores(mesh.store_url, SystemClock())
    stores.directory.change_quota(of.site, Quota(hits_s=HITS_S // OVER))
    stores.directory.change_quota(of.merchant, Quota(report_units_min=60 * REPORT_UNITS * REPORTS_S // OVER))
    stores.close()
    crowds = [Crowd(of, SEND, of.batch(20), 20, HITS_S / 20), Crowd(of, REPORT, of.question(), 0, REPORTS_S)]
    try:
        yield crowds
    finally:
        for crowd in crowds:
            crowd.stop()


@pytest.mark.timeout(90)
def test_a_merchants_calls_succeed_beside_a_merchant_at_100_times_its_quotas(closed_mesh: Mesh) -> None:
    quiet = tenant(closed_mesh, "neighbour")
    with flood(closed_mesh) as crowds, grpc.insecure_channel(quiet.endpoint) as channel:
        eventually(lambda: all(crowd.counts["refused_with_a_time"] for crowd in crowds), "the flooder is refused")
        calls = {
            SEND: (channel.unary_unary(SEND, lambda each: each, lambda each: each), quiet.batch(5)),
            REPORT: (channel.unary_unary(REPORT, lambda each: each, lambda each: each), quiet.question()),
        }
        for _ in range(CALLS):
            for call, message in calls.values():
                began_s = time.monotonic()
                assert call(message, timeout=patient(CEILING_S), metadata=quiet.metadata)
                assert time.monotonic() - began_s < patient(CEILING_S)
    for crowd in crowds:
        untold = [name for name in crowd.counts if name.startswith("refused_without_a_time")]
        assert not untold, crowd.counts
        assert crowd.counts["refused_with_a_time"] > crowd.counts["answered"]
