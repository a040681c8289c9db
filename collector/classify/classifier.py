"""Classifies the distinct strings of a micro-batch, and remembers what they meant.

Decides nothing about a string itself (see `user_agents`, `referrers`, `channels`): it joins what they say
into columns. After construction there is no I/O, no clock, no randomness: the same row always gives the same
answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version as installed_version
from typing import Final, NamedTuple

import polars as pl

from collector.classify.cache import DEFAULT_MAX_ENTRIES, BoundedCache
from collector.classify.channels import CHANNELS_VERSION, Channel, Facts, channel_of
from collector.classify.hosts import cut, is_own_host
from collector.classify.own_lists import UNPAID_CLICK_IDS
from collector.classify.referrers import NO_ORIGIN, Origin, ReferrerTable, load_table
from collector.classify.user_agents import NO_USER_AGENT, UserAgentReader

_FOUND: Final = ("referrer_host", "channel", "source", "medium")
# The medium where the campaign names none: of an advertisement's click, else by what the referrer stands for.
_MEDIUM_OF_AD: Final = "cpc"
_MEDIUM_OF_KIND: Final[dict[str, str | None]] = {
    "search": "organic",
    "social": "social",
    "ai": "ai",
    "email": "email",
    "site": "referral",
    "none": None,
}


class Arrival(NamedTuple):
    """Where a hit came from: the referring host without "www.", or null, and what it stands for."""

    host: str | None
    origin: Origin


class Classifier:
    """User agents and referrers → the words reports know. An object is used by one thread only.

    Attributes:
        version: the versions of all lists and rules, to be stored with each record.
    """

    def __init__(self, max_entries: int = DEFAULT_MAX_ENTRIES) -> None:
        """Builds the rules (about 0.2 s, 30 MiB), with caches of at most `max_entries` strings each."""
        reader = UserAgentReader()
        self._table: ReferrerTable = load_table()
        self._user_agents = BoundedCache(reader.read, max_entries)
        self._rows = BoundedCache(self._row, max_entries)
        self.version = ".".join(
            (
                "ua" + installed_version("ua-parser-builtins"),
                "bots" + installed_version("crawler-user-agents"),
                "ref" + self._table.state.replace("-", ""),
                "ch" + CHANNELS_VERSION,
            )
        )

    def user_agents(self, distinct: pl.Series) -> pl.DataFrame:
        """Returns one row per user agent, in order: user_agent, device_type, browser, os, is_bot.

        Without a user agent (null, empty, blank) the three words are null and is_bot is false.
        """
        strings: list[str | None] = distinct.to_list()
        found = iter(self._user_agents.values_of(string for string in strings if string))
        classes = [next(found) if string else NO_USER_AGENT for string in strings]
        return pl.DataFrame(
            {
                "user_agent": _strings(strings),
                "device_type": _strings(each.device_type for each in classes),
                "browser": _strings(each.browser for each in classes),
                "os": _strings(each.os for each in classes),
                "is_bot": pl.Series([each.is_bot for each in classes], dtype=pl.Boolean()),
            }
        )

    def referrers(self, distinct: pl.DataFrame) -> pl.DataFrame:
        """Returns one row per row, in order: referrer_host, channel, source, medium.

        referrer_host is null without a referrer, for the site's own hosts and for payment providers. channel
        is never null. source is the campaign's, else the name of what the referrer stands for, else
        referrer_host, else null; medium the campaign's, else "cpc" of an advertisement's click, else by the
        kind of referrer.

        Args:
            distinct: the strings referrer, hostname (of the hit's page), source, medium, campaign and
            click_id
                as sent, null or empty when not set. A column click_id_kind ("gclid", "fbclid", …) may be
                there too: it tells apart the networks that mark unpaid links; without it a click id is of an
                advertisement.
        """
        found = self._rows.values_of(
            zip(
                map(cut, _filled(distinct, "referrer")),
                *(_filled(distinct, name) for name in ("hostname", "source", "medium", "campaign")),
                _clicks(distinct),
                strict=True,
            )
        )
        columns = zip(*found, strict=True) if found else ((),) * len(_FOUND)
        return pl.DataFrame({name: _strings(values) for name, values in zip(_FOUND, columns, strict=True)})

    def _row(self, key: tuple[str, ...]) -> tuple[str | None, ...]:
        referrer, hostname, source, medium, campaign, click = key
        host, origin = self._arrival(referrer, hostname)
        return (
            host,
            self._channel(source, medium, campaign, click, origin.kind),
            source or origin.name or host,
            medium or (_MEDIUM_OF_AD if click == "ad" else _MEDIUM_OF_KIND[origin.kind]),
        )

    def _arrival(self, referrer: str, hostname: str) -> Arrival:
        host, origin = self._table.origin_of_referrer(referrer)
        if host is None or is_own_host(host, hostname):
            return Arrival(None, NO_ORIGIN)
        return Arrival(host, origin)

    def _channel(self, source: str, medium: str, campaign: str, click: str, kind: str) -> Channel:
        source = source.strip().lower()
        return channel_of(
            Facts(
                source=source,
                medium=medium.strip().lower(),
                campaign=campaign.strip().lower(),
                click=click,
                source_kind=self._table.kind_of_source(source),
                referrer_kind=kind,
            )
        )


def _strings(values: Iterable[str | None]) -> pl.Series:
    return pl.Series(list(values), dtype=pl.String())


def _filled(rows: pl.DataFrame, column: str) -> list[str]:
    return ["" if value is None else value for value in rows[column].to_list()]


def _clicks(rows: pl.DataFrame) -> list[str]:
    """Returns "" without a click id, the kind of a network that marks unpaid links too, else "ad"."""
    click_ids = _filled(rows, "click_id")
    if "click_id_kind" not in rows.columns:
        return ["ad" if click_id else "" for click_id in click_ids]
    networks = _filled(rows, "click_id_kind")
    return [
        UNPAID_CLICK_IDS.get(network.lower(), "ad") if click_id else ""
        for click_id, network in zip(click_ids, networks, strict=True)
    ]
