"""Step S of the journey on Druid: settled rows go the way of the stream's rows, and are counted when they arrive.

Decides when rows of a generation are readable: Druid has as many of them as were sent, in both data sources. Rows of a
generation that was replaced stay in Druid as long as it keeps rows; that they are no more is noted at once, and no
question names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import polars as pl

from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.columns import SENT
from hitmesh.adapters.druid.intervals import iso
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.answers import as_stored
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS

# What is remembered of what this process sent: far more than settlements that wait at a time.
MAX_REMEMBERED: Final = 20_000
_ASKED_TOGETHER: Final = 256
_KEY: Final = ("site", "day", "generation")

Owner = tuple[SiteDay, int]
"""A generation of a site-day."""
Counts = dict[RowSource, int]


class Producer(Protocol):
    """Sends rows of sites, all or nothing."""

    def send(self, rows: Sequence[tuple[str, Mapping[RowSource, pl.DataFrame]]]) -> None:
        """Sends rows by site and source."""


class DroppedNotes(Protocol):
    """Notes which generations are no more."""

    def note(self, superseded: Sequence[Owner]) -> None:
        """Notes generations of site-days."""


class DruidRollupSink:
    """A RollupSink on Kafka and Druid. Confined to one thread.

    Args:
        servers: names of data sources.
        client: of Druid.
        producer: sends rows to where Druid reads them.
        dropped: where it is noted which rows are no more.
        drop_others: remove what other stores keep of a generation.
    """

    def __init__(
        self,
        servers: Servers,
        client: DruidClient,
        producer: Producer,
        dropped: DroppedNotes,
        drop_others: Sequence[Callable[[Sequence[Owner]], None]],
    ) -> None:
        self._servers = servers
        self._client = client
        self._producer = producer
        self._dropped = dropped
        self._drop_others = drop_others
        # What was sent and not seen in Druid yet, and what was; the oldest are forgotten.
        self._sent: dict[Owner, Counts] = {}
        self._arrived: dict[Owner, None] = {}

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Sends rows, all or nothing; each (site, day, generation) is written once.

        Raises:
            ValueError: a generation of a site-day was written before.
        """
        stored = {
            RowSource.TRAFFIC: as_stored(traffic, RowSource.TRAFFIC),
            RowSource.VISITS: as_stored(visits, RowSource.VISITS),
        }
        sent: dict[Owner, Counts] = {}
        for source, rows in stored.items():
            for site, day, generation, count in rows.group_by(_KEY).len().iter_rows():
                sent.setdefault((SiteDay(site, day), generation), {})[source] = count
        for site_day, generation in sent:
            if (site_day, generation) in self._sent or (site_day, generation) in self._arrived:
                raise ValueError(f"rows of {site_day.site} day {site_day.day}: {generation} is written")
        self._producer.send(_by_site(stored))
        self._sent |= sent
        _forget_oldest(self._sent)

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Returns whether Druid has all rows of the generation that this process sent.

        Settlements wait in crowds: others of the day that wait are asked for with it.
        """
        asked = (site_day, generation)
        if asked not in self._sent:
            return True
        newest = (one for one in reversed(self._sent) if one[0].day == site_day.day and one != asked)
        waiting = [asked, *islice(newest, _ASKED_TOGETHER - 1)]
        there = {source: self._counts(source, waiting) for source in RowSource}
        for one in waiting:
            if all(there[source].get(one, 0) >= count for source, count in self._sent[one].items()):
                del self._sent[one]
                self._arrived[one] = None
        _forget_oldest(self._arrived)
        return asked not in self._sent

    def drop(self, superseded: Sequence[Owner]) -> None:
        """Notes that the rows of these generations are no more; removing twice is removing once."""
        self._dropped.note(superseded)
        for drop in self._drop_others:
            drop(superseded)
        for one in superseded:
            self._sent.pop(one, None)
            self._arrived.pop(one, None)

    def _counts(self, source: RowSource, waiting: Sequence[Owner]) -> dict[Owner, int]:
        day = waiting[0][0].day
        rows = self._client.query(counts_query(self._servers.data_source(source), day, waiting))
        return {(SiteDay(site, day), generation): count or 0 for site, generation, count in rows}


def _by_site(stored: Mapping[RowSource, pl.DataFrame]) -> list[tuple[str, Mapping[RowSource, pl.DataFrame]]]:
    parts = {source: rows.partition_by("site", as_dict=True) for source, rows in stored.items()}
    sites = sorted({site for own in parts.values() for (site,) in own})
    return [(site, {source: own[(site,)] for source, own in parts.items() if (site,) in own}) for site in sites]


def counts_query(data_source: str, day: int, owners: Iterable[Owner]) -> dict[str, Any]:
    """Returns the query for how many rows of generations of a day were sent: site, generation and number."""
    start = day * DAY_MS
    sites: dict[int, list[str]] = {}
    for site_day, generation in owners:
        sites.setdefault(generation, []).append(site_day.site)
    return {
        "queryType": "groupBy",
        "dataSource": data_source,
        "granularity": "all",
        "intervals": [f"{iso(start)}/{iso(start + DAY_MS)}"],
        "dimensions": ["site", {"type": "default", "dimension": "generation", "outputType": "LONG"}],
        "filter": {"type": "or", "fields": [_of_generation(*one) for one in sites.items()]},
        "aggregations": [{"type": "longSum", "name": SENT, "fieldName": SENT}],
    }


def _of_generation(generation: int, sites: Sequence[str]) -> dict[str, Any]:
    number = {"type": "equals", "column": "generation", "matchValueType": "LONG", "matchValue": generation}
    return {"type": "and", "fields": [number, {"type": "in", "dimension": "site", "values": list(sites)}]}


def _forget_oldest(remembered: dict[Owner, Any]) -> None:
    for one in list(islice(remembered, max(0, len(remembered) - MAX_REMEMBERED))):
        del remembered[one]
