"""Rollup sink on Druid for settlement: settled rows reach Druid through Kafka, like the stream's rows.

A generation's rows are readable once both data sources hold as many rows as were sent. The rows of a dropped generation
stay in Druid until Druid's retention removes them. A dropped generation is recorded at once, and no later query selects
the generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import polars as pl
from pydruid.utils.aggregators import longsum
from pydruid.utils.filters import Filter

from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.native import Native, equals_number, every, group_by, is_among
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.answers import as_stored
from hitmesh.adapters.shared.druid_columns import SENT
from hitmesh.model.days import iso_second
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS

# The maximum number of generations in `_sent`, and in `_arrived`. In practice, far fewer generations wait for ingestion
# at the same time.
MAX_REMEMBERED: Final = 20_000
_SITE_DAYS_PER_QUERY: Final = 256
_KEY: Final = ("site", "day", "generation")

Owner = tuple[SiteDay, int]
"""A generation of a site-day."""
Counts = dict[RowSource, int]


class Producer(Protocol):
    """Sends the rows of several sites atomically."""

    def send(self, rows: Sequence[tuple[str, Mapping[RowSource, pl.DataFrame]]]) -> None:
        """Send the rows of all these sites in a single transaction."""


class DroppedNotes(Protocol):
    """Records which generations are dropped."""

    def note(self, superseded: Sequence[Owner]) -> None:
        """Record these generations of site-days as dropped."""


class DruidRollupSink:
    """Implements the port RollupSink on Kafka and Druid. A sink must be used by one thread only.

    Args:
        servers: data source names.
        client: the Druid client.
        producer: sends rows to the topics that Druid reads.
        dropped: records which generations are dropped.
        drop_others: functions that delete the same generations' data from other stores.
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
        # `_sent` holds the generations that Druid has not ingested completely, and `_arrived` holds the completely
        # ingested generations. If `_sent` or `_arrived` is full, the oldest generation is evicted.
        self._sent: dict[Owner, Counts] = {}
        self._arrived: dict[Owner, None] = {}

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Send rows atomically; each (site, day, generation) may be written only once.

        Raises:
            ValueError: a generation of a site-day was written before.
        """
        stored = {
            RowSource.TRAFFIC: as_stored(traffic, RowSource.TRAFFIC),
            RowSource.VISITS: as_stored(visits, RowSource.VISITS),
        }
        sent = _counted(stored)
        self._refuse_known(sent)
        self._producer.send(_by_site(stored))
        self._sent |= sent
        _forget_oldest(self._sent)

    def write_portions(self, traffic: Iterable[pl.DataFrame], visits: Iterable[pl.DataFrame]) -> None:
        """Send the rows of a single generation, with one transaction for each portion.

        Raises:
            ValueError: an earlier call has already written the generation, or failed while it wrote the generation.
        """
        sent: dict[Owner, Counts] = {}
        try:
            for source, portions in ((RowSource.TRAFFIC, traffic), (RowSource.VISITS, visits)):
                for portion in portions:
                    if portion.is_empty():
                        continue
                    stored = {source: as_stored(portion, source)}
                    counted = _counted(stored)
                    self._refuse_known(counted)
                    _add(sent, counted)
                    self._producer.send(_by_site(stored))
        except BaseException:
            # After an error, no caller waits for the ingestion. The generation is added to `_arrived`, so that a later
            # call cannot write the generation a second time.
            self._arrived |= dict.fromkeys(sent)
            _forget_oldest(self._arrived)
            raise
        self._sent |= sent
        _forget_oldest(self._sent)

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Return whether Druid has all rows that this process sent for the generation.

        Many generations wait for ingestion at the same time. A single query therefore counts the rows of up to 256
        waiting generations of the same day.
        """
        requested = (site_day, generation)
        if requested not in self._sent:
            return True
        newest = (owner for owner in reversed(self._sent) if owner[0].day == site_day.day and owner != requested)
        waiting = [requested, *islice(newest, _SITE_DAYS_PER_QUERY - 1)]
        there = {source: self._counts(source, waiting) for source in RowSource}
        for owner in waiting:
            if all(there[source].get(owner, 0) >= count for source, count in self._sent[owner].items()):
                del self._sent[owner]
                self._arrived[owner] = None
        _forget_oldest(self._arrived)
        return requested not in self._sent

    def drop(self, superseded: Sequence[Owner]) -> None:
        """Record that these generations are dropped, and delete the generations' data from other stores. Idempotent."""
        self._dropped.note(superseded)
        for drop in self._drop_others:
            drop(superseded)
        for owner in superseded:
            self._sent.pop(owner, None)
            self._arrived.pop(owner, None)

    def _refuse_known(self, owners: Iterable[Owner]) -> None:
        for site_day, generation in owners:
            if (site_day, generation) in self._sent or (site_day, generation) in self._arrived:
                raise ValueError(
                    f"rows of {site_day.site} day {site_day.day}: generation {generation} is already written"
                )

    def _counts(self, source: RowSource, waiting: Sequence[Owner]) -> dict[Owner, int]:
        day = waiting[0][0].day
        rows = self._client.query(counts_query(self._servers.data_source(source), day, waiting).json())
        return {(SiteDay(site, day), generation): count or 0 for site, generation, count in rows}


def _counted(stored: Mapping[RowSource, pl.DataFrame]) -> dict[Owner, Counts]:
    """Return the number of rows per generation and source."""
    sent: dict[Owner, Counts] = {}
    for source, rows in stored.items():
        for site, day, generation, count in rows.group_by(_KEY).len().iter_rows():
            sent.setdefault((SiteDay(site, day), generation), {})[source] = count
    return sent


def _add(sent: dict[Owner, Counts], more: Mapping[Owner, Counts]) -> None:
    for owner, counts in more.items():
        of_owner = sent.setdefault(owner, {})
        for source, count in counts.items():
            of_owner[source] = of_owner.get(source, 0) + count


def _by_site(stored: Mapping[RowSource, pl.DataFrame]) -> list[tuple[str, Mapping[RowSource, pl.DataFrame]]]:
    parts = {source: rows.partition_by("site", as_dict=True) for source, rows in stored.items()}
    sites = sorted({site for frames in parts.values() for (site,) in frames})
    return [
        (site, {source: frames[(site,)] for source, frames in parts.items() if (site,) in frames}) for site in sites
    ]


def counts_query(data_source: str, day: int, owners: Iterable[Owner]) -> Native:
    """Return the query that counts a day's sent rows per generation. A result row has site, generation and count."""
    start = day * DAY_MS
    sites: dict[int, list[str]] = {}
    for site_day, generation in owners:
        sites.setdefault(generation, []).append(site_day.site)
    of_generations = [
        every([equals_number("generation", generation), is_among("site", group)]) for generation, group in sites.items()
    ]
    return group_by(
        datasource=data_source,
        intervals=[f"{iso_second(start)}/{iso_second(start + DAY_MS)}"],
        dimensions=["site", {"type": "default", "dimension": "generation", "outputType": "LONG"}],
        filter=Filter(type="or", fields=of_generations),
        aggregations={SENT: longsum(SENT)},
    )


def _forget_oldest(remembered: dict[Owner, Any]) -> None:
    for owner in list(islice(remembered, max(0, len(remembered) - MAX_REMEMBERED))):
        del remembered[owner]
