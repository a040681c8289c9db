"""Keys of callers, and a second merchant, for tests of tenants."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from hitmesh.access.roles import MERCHANT_ROLES
from hitmesh.adapters.factory import open_stores
from hitmesh.adapters.stores import Stores
from hitmesh.model.merchants import Merchant
from hitmesh.model.sites import IngestKey, KeyKind, Site
from hitmesh.runtime.clock import SystemClock
from tests.support.mesh import Mesh


def authorized(key: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call that uses a key."""
    return (("authorization", f"Bearer {key}"),)


def new_merchant(mesh: Mesh, merchant: str, *sites: Site) -> str:
    """Create a merchant, and return a server key for its sites. The merchant is stored directly."""
    clock = SystemClock()
    stores = open_stores(mesh.store_url, clock)
    try:
        return stored_merchant(stores, merchant, sites, clock.now(), unbounded_history=True)
    finally:
        stores.close()


def stored_merchant(
    stores: Stores, merchant: str, sites: Iterable[Site], now: int, *, unbounded_history: bool = False
) -> str:
    """Store a merchant with sites and a server key at the time `now` (UTC ms), and return the secret of the key."""
    secret = f"hms_{secrets.token_urlsafe(32)}"
    key = IngestKey(
        key_id=f"test-{secrets.token_hex(4)}",
        merchant=merchant,
        kind=KeyKind.SERVER,
        unbounded_history=unbounded_history,
        roles=MERCHANT_ROLES,
        created_at=now,
    )
    stores.merchants.create_merchant(Merchant(merchant))
    stores.directory.create_key(key, secret)
    for site in sites:
        stores.directory.create_site(site)
    return secret
