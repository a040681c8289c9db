"""Two merchants of a measured mesh, and the calls that the merchants make."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitmesh.adapters.factory import open_stores
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.home import READY_FILE
from hitmesh.model.quotas import Quota
from hitmesh.model.sites import Site
from hitmesh.runtime.clock import SystemClock
from tests.support.tenants import stored_merchant

_BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"


@dataclass(frozen=True)
class Tenant:
    """A merchant with a site and a key."""

    endpoint: str
    name: str
    key: str

    @property
    def site(self) -> str:
        """The full name of the site."""
        return f"{self.merchant}/sites/shop"

    @property
    def merchant(self) -> str:
        """The full name of the merchant."""
        return f"merchants/{self.name}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata for calls of all kinds."""
        return (("hitmesh-site", self.site), ("authorization", f"Bearer {self.key}"))

    def batch(self, hits: int) -> bytes:
        """Return the bytes of a SendHitsRequest. The hits have no id, so each copy of the batch counts again."""
        batch = hit_pb2.HitBatch(ingest_key=self.key)
        batch.default_context.device.user_agent = _BROWSER
        for number in range(hits):
            hit = batch.hits.add(type=hit_pb2.HIT_TYPE_PAGE_VIEW, visitor_id=f"{os.getpid()}-{number}")
            hit.page_view.url = f"https://shop.example/page-{number % 50}"
        return collector_pb2.SendHitsRequest(batch=batch).SerializeToString()

    def question(self) -> bytes:
        """Return the bytes of a RunReportRequest for today's hits."""
        request = reporter_pb2.RunReportRequest(site=self.site, metrics=["hits"])
        request.time_range.last_days = 1
        return request.SerializeToString()


def endpoint_of(home: Path) -> str:
    """Return the address of a running mesh."""
    return str(json.loads((home / READY_FILE).read_bytes())["grpc"])


def new_tenants(home: Path, quotas: dict[str, tuple[Quota, Quota]]) -> dict[str, Tenant]:
    """Create merchants in a running mesh on files.

    Args:
        home: the mesh's home.
        quotas: the quotas of each merchant's site and of the merchant, by the merchant's id.
    """
    clock = SystemClock()
    stores = open_stores(f"embedded:{home / 'data'}", clock)
    found: dict[str, Tenant] = {}
    try:
        for name, (of_site, of_merchant) in quotas.items():
            merchant, now = f"merchants/{name}", clock.now()
            site = Site(f"{merchant}/sites/shop", "UTC", "USD", os.urandom(32), now)
            tenant = Tenant(endpoint_of(home), name, stored_merchant(stores, merchant, [site], now))
            stores.directory.change_quota(tenant.site, of_site)
            stores.directory.change_quota(tenant.merchant, of_merchant)
            found[name] = tenant
    finally:
        stores.close()
    return found


def percentiles(latencies_ms: list[float]) -> dict[str, float]:
    """Return p50 and p99 in ms."""
    ordered = sorted(latencies_ms)
    parts = {"p50_ms": 0.5, "p99_ms": 0.99}
    return {name: round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1) for name, part in parts.items()}
