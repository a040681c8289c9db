"""Fill the embedded store DIR with dirty site-days for several settlers.

Every site has HITS hits on each of DAYS days.
"""

from __future__ import annotations

import sys

from hitmesh.adapters.factory import open_stores
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.logs import configure
from tests.bench.filled_store import append, take_in
from tests.bench.sites import KEYS, create_sites
from tests.bench.traffic import DAY, FRAME_HITS, frames, load_traffic

BATCHES_AT_ONCE = 160


def main() -> None:
    """Fill the store `argv[1]` with DAYS = `argv[2]` and HITS = `argv[3]`."""
    days, hits = map(int, sys.argv[2:4])
    configure("error", "bench", "bench-0")
    clock = SystemClock()
    stores = open_stores(f"embedded:{sys.argv[1]}", clock)
    create_sites(stores.directory)
    traffic = load_traffic()
    count = len(KEYS) * hits // FRAME_HITS
    append(
        stores,
        clock,
        (batch for day in range(DAY, DAY + days) for batch in frames(traffic, KEYS, count, day)),
        BATCHES_AT_ONCE,
    )
    take_in(stores, clock)
    stores.close()


if __name__ == "__main__":
    main()
