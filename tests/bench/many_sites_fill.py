"""Fill the store at URL in a separate process. The store gets SITES sites and DIRTY dirty site-days of HITS hits."""

from __future__ import annotations

import sys

from hitmesh.adapters.factory import open_stores
from hitmesh.adapters.urls import EMBEDDED
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.logs import configure
from tests.bench.many_sites import ManySites, create_in_bulk, fill_days


def main() -> None:
    """Fill the store `argv[1]`. The further arguments are SITES, DIRTY and HITS."""
    url, size, clock = sys.argv[1], ManySites(*map(int, sys.argv[2:5])), SystemClock()
    configure("error", "bench", "bench-0")
    create_in_bulk(url, size)
    stores = open_stores(url, clock)
    reached = fill_days(stores, clock, size, clock.now() // DAY_MS)
    if url.startswith(EMBEDDED):
        stores.outbox.transaction(stores.outbox.take_over(), [], reached)
    else:
        from tests.bench.many_sites_on_servers import commit_on_cassandra

        commit_on_cassandra(url, reached)
    stores.series.note_flushed(reached)
    stores.close()


if __name__ == "__main__":
    main()
