"""What the classifier says of a micro-batch: device, bot, referrer, channel; asked once per distinct value.

Decides which strings are asked for and which flags bots and spam get; refuses to know how the classifier judges them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from collector.admission.campaigns import Campaigns
from collector.admission.columns import Columns, distinct_tuples
from collector.admission.texts import Texts
from hitmesh.model.hit_types import HitFlag

_CAMPAIGN_FIELDS = ("source", "medium", "campaign", "click_id", "click_id_kind")


class Judge(Protocol):
    """What admission needs of collector.classify.Classifier."""

    def user_agents(self, distinct: pl.Series) -> pl.DataFrame:
        """Returns device_type, browser, os, is_bot of each user agent, in order."""

    def referrers(self, distinct: pl.DataFrame) -> pl.DataFrame:
        """Returns referrer_host, channel, source, medium, is_spam of each row, in order."""


def classify_agents(user_agent: Texts | None, judge: Judge, columns: Columns) -> npt.NDArray[np.uint32]:
    """Stores what the user agents say; returns the flag of each row, BOT_UA or 0."""
    if user_agent is None:
        return np.zeros(columns.height, dtype=np.uint32)
    found = judge.user_agents(pl.Series("user_agent", user_agent.values, dtype=pl.String()))
    for name in ("device_type", "browser", "os"):
        columns.set_coded(name, found[name], user_agent.codes)
    is_bot = found["is_bot"].to_numpy()
    flags: npt.NDArray[np.uint32] = (is_bot.astype(np.uint32) * np.uint32(HitFlag.BOT_UA))[user_agent.codes]
    return flags


def classify_arrivals(
    referrer: Texts | None, hostname: Texts | None, campaigns: Campaigns | None, judge: Judge, columns: Columns
) -> npt.NDArray[np.uint32]:
    """Stores where each row came from; returns the flag of each row, SPAM_REFERRER or 0."""
    none = np.zeros(columns.height, dtype=np.int32)
    coded = (referrer, hostname, campaigns)
    first, codes = distinct_tuples([none if each is None else each.codes for each in coded])
    asked = {"referrer": _values(referrer, first), "hostname": _values(hostname, first)}
    for name in _CAMPAIGN_FIELDS:
        asked[name] = _values(None if campaigns is None else campaigns.text(name), first)
    found = judge.referrers(_table(asked))
    for name in ("referrer_host", "channel", "source", "medium"):
        columns.set_coded(name, found[name], codes)
    is_spam = found["is_spam"].to_numpy()
    flags: npt.NDArray[np.uint32] = (is_spam.astype(np.uint32) * np.uint32(HitFlag.SPAM_REFERRER))[codes]
    return flags


def _table(columns: dict[str, pl.Series]) -> pl.DataFrame:
    return pl.DataFrame([series.alias(name) for name, series in columns.items()])


def _values(texts: Texts | None, rows: npt.NDArray[np.int64]) -> pl.Series:
    if texts is None:
        return pl.Series("", [None], dtype=pl.String()).new_from_index(0, len(rows))
    return texts.column("", rows)
