"""Measure work on a store with many sites. This module runs as a separate process and prints one JSON line.

Run `python -m tests.bench.many_sites_process URL SITES DIRTY PART:COUNT…`. The result of a part contains the seconds of
this part, and the peak memory of the process so far. To measure a part's memory, run only this part in the process.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.site_buckets import SITE_BUCKETS
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.logs import configure
from processor.building import build_settler
from processor.settings import ProcessorSettings
from processor.settle.pace import SettlePace
from processor.settle.reached import closed_before
from processor.stream.balance_watch import SITES_AT_ONCE
from reporter.answer.standing import Books
from tests.bench.many_sites import ManySites, key_of_merchant, site_name
from tests.bench.traffic import DAY

PAGE: Final = 1_000
REPORT_DAYS: Final = 90
RECENT_DAYS: Final = 3

Answer = dict[str, Any]


class Part:
    """The measured kinds of work, one method per kind, on stores that are already open."""

    def __init__(self, url: str, stores: Stores, size: ManySites, count: int) -> None:
        self.url = url
        self.stores = stores
        self.size = size
        self.count = count
        self.open_day = SystemClock().now() // DAY_MS

    def list_sites(self) -> Answer:
        """List all sites in pages, as ListSites does."""
        found, after = 0, ""
        seconds: list[float] = []
        while True:
            with timed(seconds):
                page = self.stores.directory.sites(None, after, PAGE)
            if not page:
                break
            found, after = found + len(page), page[-1].name
        return {"sites": found, "page_ms": spread_ms(seconds)}

    def look_up(self) -> Answer:
        """Measure look-ups of uncached sites, of cached sites, and of keys."""
        numbers = random.Random(0).sample(range(self.size.sites), min(self.count, self.size.sites))
        names = [site_name(number) for number in numbers]
        secrets = [key_of_merchant(number // self.size.sites_of_merchant)[1] for number in numbers]
        directory = self.stores.directory

        def measured(look_up: Callable[[str], object], values: list[str]) -> Answer:
            seconds: list[float] = []
            with timed(seconds):
                found = sum(look_up(each) is not None for each in values)
            return {"found": found, "us_each": round(seconds[0] / len(values) * 1e6, 1)}

        return {
            "sites_cold": measured(directory.site, names),
            "sites_warm": measured(directory.site, names),
            "keys_cold": measured(directory.key, secrets),
        }

    def resolve(self) -> Answer:
        """Read the generation entries that a report on a single site needs to choose a generation for each day."""
        stores = self.stores
        books = Books(stores.dirty, stores.generations, stores.progress, stores.erasures, stores.streams, stores.stream)
        reach, found = books.committed(stores.streams.read()), 0
        seconds: list[float] = []
        for number in random.Random(1).sample(range(self.size.sites), min(self.count, self.size.sites)):
            site = self.stores.directory.site(site_name(number))
            assert site is not None
            with timed(seconds):
                days = range(self.open_day - REPORT_DAYS, self.open_day + 1)
                found += len(books.read([site], days, reach, 0).generations)
        return {"site_days": found, "question_ms": spread_ms(seconds)}

    def close_day(self) -> Answer:
        """Measure how long a settler takes to find site-days to settle, before and after a day closes."""
        take, limit = self.stores.dirty.take, SettlePace().take_site_days
        before: list[float] = []
        after: list[float] = []
        for _ in range(max(2, self.count)):
            with timed(before):
                early = take(limit, self.open_day)  # dirty site-days only
        with timed(after):
            due = take(limit, self.open_day + 1)
        return {
            "early": sum(entry.site_day.day == self.open_day for entry in early),
            "due": sum(entry.site_day.day == self.open_day for entry in due),
            "not_closed_ms": spread_ms(before),
            "closed_ms": spread_ms(after),
        }

    def list_dirty(self) -> Answer:
        """Take the first dirty site-days from each half of the buckets, as two settlers do.

        Then take the first dirty site-days from all buckets together.
        """
        closed = closed_before(self.stores)
        found = 0
        seconds: list[float] = []
        all_of_it: list[float] = []
        for half in (range(SITE_BUCKETS // 2), range(SITE_BUCKETS // 2, SITE_BUCKETS)):
            with timed(seconds):
                found += len(self.stores.dirty.take(SettlePace().take_site_days, closed, frozenset(half)))
        with timed(all_of_it):
            self.stores.dirty.take(SettlePace().take_site_days, closed)
        return {"site_days": found, "half_ms": spread_ms(seconds), "all_ms": spread_ms(all_of_it)}

    def balance(self) -> Answer:
        """Read pages of the ledger, as the processor's balance check does once a minute."""
        after, sites = None, 0
        seconds: list[float] = []
        for _ in range(max(1, self.count)):
            with timed(seconds):
                sums, after = self.stores.ledger.read_some(after, SITES_AT_ONCE)
            sites += sums["site"].n_unique()
            if after is None:
                break
        return {"sites": sites, "page_ms": spread_ms(seconds)}

    def settle(self) -> Answer:
        """Settle at least COUNT dirty site-days, or all dirty site-days if the store has fewer than COUNT."""
        settings = ProcessorSettings(store=self.url, resettle_after_ms=0)
        settler = build_settler(self.stores, SystemClock(), settings, threading.Event())
        done, began, used = 0, time.monotonic(), cpu_s()
        while done < self.count and (settled := settler.run_once()):
            done += settled
        wall_s, worked_s = time.monotonic() - began, cpu_s() - used
        return {
            "site_days": done,
            "wall_s": round(wall_s, 1),
            "cpu_s": round(worked_s, 1),
            "ms_each": round(wall_s / max(1, done) * 1_000, 2),
            "counted": self._counted(),
        }

    def _counted(self) -> Answer:
        """Return how many of the first dirty site-days are settled, and how many hits of these site-days count."""
        numbers = [number * self.size.sites // self.size.dirty for number in range(min(PAGE, self.size.dirty))]
        of_day = (self.stores.generations.ledger(site_name(number), DAY, DAY + 1) for number in numbers)
        hits = [entry.counted for ledger in of_day for entry in ledger.values()]
        return {"site_days": len(hits), "hits": sum(hits)}


def parts() -> dict[str, Callable[[Part], Answer]]:
    """Return the parts by name."""
    return {
        "list_sites": Part.list_sites,
        "look_up": Part.look_up,
        "resolve": Part.resolve,
        "close_day": Part.close_day,
        "list_dirty": Part.list_dirty,
        "balance": Part.balance,
        "settle": Part.settle,
    }


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Measure the time of the `with` block, and append the seconds to the list."""
    began = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - began)


def spread_ms(seconds: list[float]) -> Answer:
    """Return the median and the maximum in ms, and the number of values."""
    return {"p50": round(float(np.median(seconds)) * 1e3, 2), "max": round(max(seconds) * 1e3, 2), "n": len(seconds)}


def cpu_s() -> float:
    """Return the CPU time that this process has used, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mib() -> int:
    """Return this process's peak resident memory in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Run the parts."""
    url, size = sys.argv[1], ManySites(*map(int, sys.argv[2:4]))
    configure("error", "bench", "bench-0")
    stores = open_stores(url, SystemClock())
    stores.generations.current(site_name(0), 0, 1)
    stores.dirty.pending(site_name(0))
    answers = {}
    for name, count in (argument.split(":") for argument in sys.argv[4:]):
        before_mib, began, used = peak_mib(), time.monotonic(), cpu_s()
        answer = parts()[name](Part(url, stores, size, int(count)))
        took = {"took_s": round(time.monotonic() - began, 2), "took_cpu_s": round(cpu_s() - used, 2)}
        answers[name] = {**answer, **took, "max_rss_mib": peak_mib(), "idle_mib": before_mib}
    stores.close()
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
