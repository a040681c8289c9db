"""The sites whose traffic is measured, known to both ends so that either can say what a stored hit must be."""

from __future__ import annotations

from hitmesh.ports import IngestKey, KeyKind, Site, SiteDirectory
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
KEYS = tuple(KEY.format(number) for number in range(len(SITES)))


def create_sites(directory: SiteDirectory) -> None:
    """Creates the sites and one server key for each."""
    for number, (site, secret) in enumerate(zip(SITES, KEYS, strict=True)):
        directory.create_site(site)
        key = IngestKey(
            key_id=f"key-{number:02d}",
            merchant=MERCHANT,
            kind=KeyKind.SERVER,
            site=site.name,
            unbounded_history=True,
        )
        directory.create_key(key, secret)
