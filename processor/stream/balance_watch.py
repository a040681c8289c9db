"""Checks the ledger for all sites while the processor runs (rule D5). Up to 1,000 sites are checked at a time.

Another process may be writing the entries of a site while they are read. Unbalanced entries are therefore read again
before an error is logged. `processor.stream.balance` defines when a ledger balances.
"""

from __future__ import annotations

import threading
from typing import Final

import polars as pl

from hitmesh.model.errors import RetryError
from hitmesh.ports import Ledger
from hitmesh.runtime.logs import logger
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry.registry import PROCESSOR_UNBALANCED_HITS
from processor.stream.balance import unbalanced_hits, unbalanced_sites

SITES_AT_ONCE: Final = 1_000
LOOK_AGAIN_S: Final = 5.0
LOOKS_AGAIN: Final = 3


def watch_balance(
    ledger: Ledger, every_s: float, metrics: Metrics, stop: threading.Event, look_again_s: float = LOOK_AGAIN_S
) -> None:
    """Report whether the ledger balances.

    Each round checks all sites, some at a time. Rounds repeat until `stop` is set. The gauge shows how many
    unbalanced hits this round has found so far, or the previous round's number if that number is larger.
    While a site's entries are being written, the site may seem unbalanced. Unbalanced sites are therefore read again.
    """
    last, missing, before = None, 0, 0
    while not stop.wait(every_s):
        try:
            sums, last = ledger.read_some(last, SITES_AT_ONCE)
            found = unbalanced_hits(sums)
            for _ in range(LOOKS_AGAIN):
                if not found:
                    break
                if stop.wait(look_again_s):
                    return
                sums = pl.concat([ledger.read(site) for site in unbalanced_sites(sums)])
                found = unbalanced_hits(sums)
        except RetryError as error:
            logger().warning("ledger_check_waits", reason=error.reason, message=error.message)
            continue
        if found:
            logger().error("ledger_does_not_balance", hits=found)
        missing += found
        metrics.set(PROCESSOR_UNBALANCED_HITS, max(missing, before))
        if last is None:
            missing, before = 0, missing
