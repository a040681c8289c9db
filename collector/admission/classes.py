"""Classifies the device, bot, referrer and channel of a micro-batch's hits. Each distinct value is classified once.

Decides which strings are classified, and sets the flags for bots and referrer spam.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from collector.admission.campaigns import Campaigns
from collector.admission.columns import Columns, distinct_tuples
from collector.admission.texts import Texts
from hitmesh.model.arrays import I64Array
from hitmesh.model.reasons import HitFlag

_CAMPAIGN_FIELDS = ("source", "medium", "campaign", "click_id", "click_id_kind")


class Judge(Protocol):
    """The methods of collector.classify.Classifier that admission uses."""

    def user_agents(self, distinct: pl.Series) -> pl.DataFrame:
        """Return device_type, browser, os, is_bot for each user agent, in order."""

    def referrers(self, distinct: pl.DataFrame) -> pl.DataFrame:
        """Return referrer_host, channel, source, medium, is_spam for each row, in order."""


def classify_agents(user_agent: Texts | None, judge: Judge, columns: Columns) -> npt.NDArray[np.uint32]:
    """Store each row's device type, browser and operating system. Return BOT_UA or 0 for each row."""
    if user_agent is None:
        return np.zeros(columns.height, dtype=np.uint32)
    found = judge.user_agents(pl.Series("user_agent", user_agent.values, dtype=pl.String()))
    for name in ("device_type", "browser", "os"):
        columns.set_coded(name, found[name], user_agent.codes)
    is_bot = found["is_bot"].to_numpy()
    flags: npt.NDArray[np.uint32] = (is_bot.astype(np.uint32) * np.uint32(HitFlag.BOT_UA))[user_agent.codes]
    return flags


def classify_arrivals(
    referrer: Texts | None,
    hostname: Texts | None,
    campaigns: Campaigns | None,
    own_hosts: Texts | None,
    judge: Judge,
    columns: Columns,
) -> npt.NDArray[np.uint32]:
    """Store each row's referrer host, channel, source and medium. Return SPAM_REFERRER or 0 for each row.

    `own_hosts` has the own hosts of each row's site, separated by spaces.
    """
    none = np.zeros(columns.height, dtype=np.int32)
    coded = (referrer, hostname, campaigns, own_hosts)
    first, codes = distinct_tuples([none if each is None else each.codes for each in coded])
    arrivals = {"referrer": _values(referrer, first), "hostname": _values(hostname, first)}
    for name in _CAMPAIGN_FIELDS:
        arrivals[name] = _values(None if campaigns is None else campaigns.text(name), first)
    if own_hosts is not None:
        arrivals["own_hosts"] = _values(own_hosts, first)
    found = judge.referrers(_table(arrivals))
    for name in ("referrer_host", "channel", "source", "medium"):
        columns.set_coded(name, found[name], codes)
    is_spam = found["is_spam"].to_numpy()
    flags: npt.NDArray[np.uint32] = (is_spam.astype(np.uint32) * np.uint32(HitFlag.SPAM_REFERRER))[codes]
    return flags


def _table(columns: dict[str, pl.Series]) -> pl.DataFrame:
    return pl.DataFrame([series.alias(name) for name, series in columns.items()])


def _values(texts: Texts | None, rows: I64Array) -> pl.Series:
    if texts is None:
        return pl.Series("", [None], dtype=pl.String()).new_from_index(0, len(rows))
    return texts.column("", rows)
