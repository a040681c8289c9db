"""Removes the values of streams from which reports no longer read (architecture A9)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.sites import SiteDay
from hitmesh.model.streams import GoneStream
from hitmesh.ports import Generations, RawStore, RollupSink, SiteDirectory
from hitmesh.runtime.logs import logger
from processor.stream.stores import HasStreams

_PAGE: Final = 500
_DAYS: Final = 10**6


class CleaningStores(HasStreams, Protocol):
    """The stores that are read and changed when values are removed."""

    @property
    def directory(self) -> SiteDirectory:
        """The sites."""

    @property
    def raw(self) -> RawStore:
        """The raw records, which show on which days a site has hits."""

    @property
    def generations(self) -> Generations:
        """The generation entries of each day."""

    @property
    def sink(self) -> RollupSink:
        """Drops rows and partials of a stream."""


def remove_gone(stores: CleaningStores, gone_before: int) -> int:
    """Remove the values of all streams that have been gone since a time before `gone_before` (UTC ms).

    Return the number of streams whose values were removed. If a settlement confirmed a site-day, this function does not
    remove the stream's rows for the site-day, even if the rows are kept only for a rollback. Confirmed rows are a
    settled generation, and are removed like every settled generation. After a crash, the removal is repeated.
    """
    done = 0
    for gone in stores.streams.read().gone:
        if gone.at >= gone_before:
            continue
        store = stores.stream(gone.generation, is_shadow=True)
        store.outbox.take_over()  # `take_over` fences a runner of this stream that still runs in another process
        removed, days = 0, _streamed_days(stores, gone)
        while page := list(islice(days, _PAGE)):
            stores.sink.drop([(site_day, gone.generation) for site_day in page])
            removed += len(page)
        store.forget()
        if gone.generation != STREAM_GENERATION:
            store.forget_positions()
        table = stores.streams.read()
        done += gone in table.gone and stores.streams.replace(table.without(gone))
        logger().info("stream_removed", generation=gone.generation, site_days=removed)
    return done


def forget_followers(stores: CleaningStores) -> None:
    """Remove the positions with which adopted streams followed the live stream.

    While these positions are stored, the log records after them cannot be deleted.
    """
    for stream in stores.streams.read().adopted:
        stores.stream(stream.generation, is_shadow=True).forget_positions()


def _streamed_days(stores: CleaningStores, gone: GoneStream) -> Iterator[SiteDay]:
    """Yield the site-days from the stream's first day onwards for which no generation entry names the stream."""
    last = ""
    while sites := stores.directory.sites(None, last, _PAGE, with_deleted=True):
        for site in sites:
            days = [day for day in stores.raw.days(site.name) if day >= gone.first_day]
            named = stores.generations.history(site.name, gone.first_day, _DAYS) if days else {}
            for day in days:
                entries = named.get(day, ())
                if all(entry.generation != gone.generation for entry in entries):
                    yield SiteDay(site.name, day)
        last = sites[-1].name
