"""The sites of the benchmarks.

The sending process and the checking process both import the sites, so that both compute the same expected hits.
"""

from __future__ import annotations

from hitmesh.model.sites import IngestKey, KeyKind, Role, Site
from hitmesh.ports import SiteDirectory
from tests.bench.traffic import CURRENCY

MERCHANT = "merchants/bench"
KEY = "hms_bench-key-of-site-{:02d}-000000000000000000000000"
SITES = tuple(
    Site(
        name=f"{MERCHANT}/sites/shop-{number:02d}",
        time_zone="UTC",
        currency=CURRENCY,
        secret=bytes([number]) * 32,
    )
    for number in range(16)
)
BROWSER_KEY = "hmb_bench-key-of-pages-00000000000000000000000000"
KEYS = tuple(KEY.format(number) for number in range(len(SITES)))


def create_sites(directory: SiteDirectory) -> None:
    """Create the sites, with a server key for each site. The first site also gets a browser key."""
    for number, (site, secret) in enumerate(zip(SITES, KEYS, strict=True)):
        directory.create_site(site)
        key = IngestKey(
            key_id=f"key-{number:02d}",
            merchant=MERCHANT,
            kind=KeyKind.SERVER,
            site=site.name,
            unbounded_history=True,
            roles=frozenset({Role.SEND, Role.READ}),
        )
        directory.create_key(key, secret)
    browser = IngestKey(key_id="browser", merchant=MERCHANT, kind=KeyKind.BROWSER, site=SITES[0].name)
    directory.create_key(browser, BROWSER_KEY)
