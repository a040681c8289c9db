"""Classifies the distinct strings in a micro-batch, with caches.

The classifier calls the modules `user_agents`, `referrers` and `channels`, which classify a single string, and returns
the results as columns. After construction, the results depend only on the arguments. There is no I/O, no clock and no
randomness.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version as installed_version
from itertools import repeat
from typing import Final, NamedTuple

import polars as pl

from collector.classify.cache import DEFAULT_MAX_ENTRIES, BoundedCache
from collector.classify.channels import CHANNELS_VERSION, Channel, Facts, channel_of
from collector.classify.click_ids import NO_CLICK, click_of
from collector.classify.hosts import cut, is_declared_host, is_own_host
from collector.classify.referrers import NO_ORIGIN, Origin, ReferrerTable, load_table
from collector.classify.user_agents import NO_USER_AGENT, UserAgentReader

_FOUND: Final = ("referrer_host", "channel", "source", "medium")
_NO_CLICK_ID: Final = "-"  # No URL parameter is named "-"; "" means an unknown kind.
# If the campaign names no medium, the medium is "cpc" for an advertisement's click, and otherwise follows from the kind
# of the referrer or click id.
_MEDIUM_OF_AD: Final = "cpc"
_MEDIUM_OF_KIND: Final = {
    "search": "organic",
    "social": "social",
    "ai": "ai",
    "email": "email",
    "site": "referral",
}


class Arrival(NamedTuple):
    """A referrer's host and origin, and whether the referrer is listed for spam.

    `host` has no "www.". Without a referrer, `host` is null. `origin` is the kind and the name of the referring site or
    app.
    """

    host: str | None
    origin: Origin
    is_spam: bool = False


class Acquired(NamedTuple):
    """The result for a row: the words for the columns in _FOUND, and whether the referrer is listed for spam."""

    words: tuple[str | None, ...]
    is_spam: bool


class Classifier:
    """Maps user agents and referrers to the words that reports use. Not thread-safe.

    Attributes:
        version: the versions of all lists and rules, which are stored with each record.
    """

    def __init__(self, max_entries: int = DEFAULT_MAX_ENTRIES) -> None:
        """Build the rules, which takes about 0.2 s and 30 MiB. Each cache has at most `max_entries` strings."""
        reader = UserAgentReader()
        self._table: ReferrerTable = load_table()
        self._user_agents = BoundedCache(reader.read, max_entries)
        self._rows = BoundedCache(self._row, max_entries)
        self.version = ".".join(
            (
                "ua" + installed_version("ua-parser-builtins"),
                "bots" + installed_version("crawler-user-agents"),
                "ref" + self._table.state.replace("-", ""),
                "spam" + self._table.spam_state.replace("-", ""),
                "ch" + CHANNELS_VERSION,
            )
        )

    def user_agents(self, distinct: pl.Series) -> pl.DataFrame:
        """Return one row per user agent, in order: user_agent, device_type, browser, os, is_bot.

        If a user agent is null, empty or blank, device_type, browser and os are null, and is_bot is false.
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
        """Return one row per input row, in order: referrer_host, channel, source, medium, is_spam.

        - referrer_host is null without a referrer, for the site's own hosts and for payment providers.
        - channel is never null.
        - source is the first value in this list that is set, or null: the campaign's source, the name of the referring
          site or app, referrer_host, the click id's network.
        - medium is the first value in this list that is set, or null: the campaign's medium, "cpc" for an
          advertisement's click, the medium for the kind of the referrer or click id.
        - is_spam is never null. is_spam is true if the referrer is listed for referrer spam.

        Args:
            distinct: string columns referrer, hostname (of the hit's page), source, medium, campaign and click_id, as
                sent. A value that was not sent is null or empty. The optional column click_id_kind ("gclid", "fbclid",
                …) identifies networks that also add click ids to unpaid links; without this column, every click id
                counts as the click id of an advertisement. The optional column own_hosts has further hosts of the hit's
                site, separated by spaces.
        """
        found = self._rows.values_of(
            zip(
                map(cut, _filled(distinct, "referrer")),
                *(_filled(distinct, name) for name in ("hostname", "source", "medium", "campaign")),
                _clicks(distinct),
                _filled(distinct, "own_hosts") if "own_hosts" in distinct.columns else repeat("", distinct.height),
                strict=True,
            )
        )
        table = {name: _strings(each.words[at] for each in found) for at, name in enumerate(_FOUND)}
        return pl.DataFrame(table | {"is_spam": pl.Series([each.is_spam for each in found], dtype=pl.Boolean())})

    def _row(self, key: tuple[str, ...]) -> Acquired:
        referrer, hostname, source, medium, campaign, click_kind, own_hosts = key
        host, origin, is_spam = self._arrival(referrer, hostname, own_hosts)
        click = NO_CLICK if click_kind == _NO_CLICK_ID else click_of(click_kind)
        kind = origin.kind if origin.kind != "none" else click.kind
        words = (
            host,
            self._channel(source, medium, campaign, click.kind, origin.kind),
            source or origin.name or host or click.source,
            medium or (_MEDIUM_OF_AD if click.kind == "ad" else _MEDIUM_OF_KIND.get(kind)),
        )
        return Acquired(words, is_spam)

    def _arrival(self, referrer: str, hostname: str, own_hosts: str) -> Arrival:
        host, origin = self._table.origin_of_referrer(referrer)
        if host is None or is_own_host(host, hostname) or is_declared_host(host, own_hosts):
            return Arrival(None, NO_ORIGIN)
        return Arrival(host, origin, self._table.is_spammer(host))

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
    """Return each row's click_id_kind as sent ("" if not sent), or _NO_CLICK_ID if the row has no click id."""
    click_ids = _filled(rows, "click_id")
    kinds = _filled(rows, "click_id_kind") if "click_id_kind" in rows.columns else [""] * len(click_ids)
    return [kind if click_id else _NO_CLICK_ID for click_id, kind in zip(click_ids, kinds, strict=True)]
