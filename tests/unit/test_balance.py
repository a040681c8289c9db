"""Test that ledger entries that do not balance are found, and reported by site (rule D5)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hitmesh.adapters.memory.ledger import MemoryLedger
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.runtime.telemetry import registry as known
from processor.stream.balance import unbalanced_hits, unbalanced_sites
from processor.stream.balance_watch import watch_balance
from tests.support.measuring import Measured
from tests.support.stream_builders import an_entry, entries
from tests.support.waiting import eventually


def a_ledger(*lost_of: tuple[str, int]) -> MemoryLedger:
    """Return ledger entries for the accepted and counted hits of a day. `lost` gives the uncounted hits by site."""
    ledger = MemoryLedger()
    for site, lost in lost_of:
        whole = {"site": site, "kind": LedgerKind.DAY, "hits": 9}
        accepted = an_entry(**whole, **{"class": LedgerClass.ACCEPTED})
        counted = an_entry(**{**whole, "hits": 9 - lost}, **{"class": LedgerClass.COUNTED})
        ledger.put(entries(accepted, counted))
    return ledger


def test_sites_whose_books_do_not_balance_are_named_with_how_much() -> None:
    sums = a_ledger(("a", 0), ("b", 2), ("c", 1), ("", 0)).read(None)
    assert unbalanced_hits(sums) == 3
    assert unbalanced_sites(sums) == ["b", "c"]
    assert unbalanced_sites(a_ledger(("a", 0)).read(None)) == []


def test_checksums_that_differ_count_as_one_hit() -> None:
    ledger = a_ledger(("a", 0))
    ledger.put(entries(an_entry(site="a", kind=LedgerKind.DAY, hits=9, sum64=7, xor64=7, written=2)))
    assert unbalanced_hits(ledger.read(None)) == 1


@pytest.mark.parametrize(("lost", "reported"), [(0, 0), (2, 2)])
def test_watch_reports_missing_hits_after_a_second_look(lost: int, reported: int) -> None:
    stop, measured = threading.Event(), Measured()
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch_balance, a_ledger(("a", 0), ("b", lost)), 0.01, measured.metrics, stop, 0.01)
        eventually(lambda: measured.value(known.PROCESSOR_UNBALANCED_HITS) == reported, "the gauge is set")
        stop.set()
        watching.result(10)
