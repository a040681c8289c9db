"""Test the bounded search for a visitor's raw hits, with limits at their smallest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from control.history.visitor_search import SearchLimits, VisitorSearch, search_visitor
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.checkpoints import unwatched
from hitmesh.model.erasures import ErasureMark, visitor_digest
from hitmesh.model.zones import DAY_MS
from processor.erase.records import blanked, erased_days
from processor.erase.visitors import ErasedVisitors
from tests.reference.hits import RefHit
from tests.support.clock import ManualClock
from tests.support.erasing import key_of
from tests.support.raw_hits import a_record
from tests.support.settled_rows import MIDNIGHT, SITE

TODAY = MIDNIGHT // DAY_MS
NOW = MIDNIGHT + 1_000


def a_hit(visitor: str, day: int, number: int = 0, site: str = SITE) -> RefHit:
    return RefHit(site, visitor, f"{visitor}-{day}-{number}", day * DAY_MS + number)


def stores_with(records: Sequence[Sequence[RefHit]], clock: ManualClock) -> Stores:
    stores = open_stores("memory:", clock)
    stores.raw.put([a_record(hits, NOW, offset) for offset, hits in enumerate(records)])
    return stores


def searched(
    records: Sequence[Sequence[RefHit]],
    visitor: str = "v",
    limits: SearchLimits | None = None,
    until: int = NOW,
    step_ms: int = 0,
) -> VisitorSearch:
    """Search the records. Each checkpoint advances the clock by `step_ms`."""
    clock = ManualClock(NOW)
    raw = stores_with(records, clock).raw
    keys = [key_of("somebody"), key_of(visitor)]
    return search_visitor(raw, clock, SITE, keys, until, lambda: clock.advance(step_ms), limits or SearchLimits())


def test_hits_of_the_visitor_are_counted_on_each_day_and_site() -> None:
    records = [
        [a_hit("v", TODAY), a_hit("v", TODAY - 1), a_hit("w", TODAY - 1)],
        [a_hit("v", TODAY - 1, 1), a_hit("v", TODAY - 1, 2, "merchants/demo/sites/blog")],
        [a_hit("w", TODAY - 5)],
    ]
    assert searched(records) == VisitorSearch(3, (TODAY, TODAY - 1), 3, 3)
    assert searched(records, "nobody") == VisitorSearch(0, (), 3, 3)
    assert searched([]) == VisitorSearch(0, (), 0, 0)


def test_hits_from_the_time_of_the_request_on_are_not_counted() -> None:
    assert searched([[a_hit("v", TODAY, 4), a_hit("v", TODAY, 5)]], until=MIDNIGHT + 5).hits == 1


def test_a_search_beyond_its_limit_states_how_many_days_it_read() -> None:
    records = [[a_hit("v", day), a_hit("v", day, 1)] for day in (TODAY - 2, TODAY - 1, TODAY)]
    of_rows = [searched(records, limits=SearchLimits(rows=rows)) for rows in (1, 2, 5, 6)]
    assert of_rows == [
        VisitorSearch(0, (), 0, 3),
        VisitorSearch(2, (TODAY,), 1, 3),
        VisitorSearch(4, (TODAY, TODAY - 1), 2, 3),
        VisitorSearch(6, (TODAY, TODAY - 1, TODAY - 2), 3, 3),
    ]
    assert searched(records, limits=SearchLimits(search_ms=1), step_ms=1) == VisitorSearch(2, (TODAY,), 1, 3)


def test_hits_that_were_found_on_a_day_count_even_if_the_day_is_not_read_to_its_end() -> None:
    records = [[a_hit("v", TODAY)], [a_hit("v", TODAY, 1)]]
    assert searched(records, limits=SearchLimits(rows=1)) == VisitorSearch(1, (TODAY,), 0, 1)


@pytest.mark.parametrize("visitor", ["v", "w", "nobody"])
def test_the_search_counts_the_hits_that_an_erasure_blanks(visitor: str) -> None:
    records = [[a_hit("v", TODAY - 1), a_hit("w", TODAY - 1), a_hit("v", TODAY - 1, 1)], [a_hit("w", TODAY)]]
    clock = ManualClock(NOW)
    stores, secret = stores_with(records, clock), b"m" * 32
    mark = ErasureMark(SITE, visitor_digest(secret, SITE, key_of(visitor)), NOW, NOW, "e")
    erased = ErasedVisitors(secret, [mark])
    found = list(stores.raw.scan(SITE, TODAY - 1, TODAY + 1))
    by_erasure = sum(len(erased_days(record, erased)) for record in found)
    limits, keys = SearchLimits(), [key_of(visitor)]
    assert search_visitor(stores.raw, clock, SITE, keys, NOW, unwatched, limits).hits == by_erasure
    for record in found:
        assert stores.raw.replace(blanked(record, np.ones(record.rows, np.bool_)))
    assert search_visitor(stores.raw, clock, SITE, keys, NOW, unwatched, limits).hits == 0
