"""Buckets of sites. The settler that holds the lease on a bucket settles the sites in the bucket.

To settle a day, a settler needs the visits that are open at the previous day's end (the carry). A single settler
therefore settles a site's days in order. A bucket therefore contains whole sites. The number of buckets is fixed in the
layout of Cassandra's tables and must not change.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from hitmesh.model.keys import hash64

SITE_BUCKETS: Final = 32
"""The number of buckets, which is also the maximum number of settlers that work at the same time."""
EVERY_BUCKET: Final = frozenset(range(SITE_BUCKETS))


@lru_cache(maxsize=65_536)
def site_bucket(site: str) -> int:
    """Return the bucket of a site.

    Example:
        >>> site_bucket("merchants/demo/sites/shop")
        11
    """
    return hash64(site) % SITE_BUCKETS
