"""Determines the visitor of a hit (rules I1, I4).

Decides which value identifies a hit's visitor: a user id, a visitor id or a salted hash. The salted hash of network,
user agent and host is valid for a day. This module also decides which identifiers the visitor's consent allows. Each
distinct identifier is hashed only once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from collector.admission.columns import distinct_tuples
from collector.admission.texts import Texts
from collector.admission.verdicts import Verdicts
from collector.admission.visitor_memory import VisitorMemory
from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from hitmesh.model.keys import visitor_key
from hitmesh.model.limits import CELL_MS, MAX_VISITOR_ID_BYTES
from hitmesh.model.reasons import HitReason
from hitmesh.model.sites import Site

SaltOf = Callable[[str, date, date], bytes]
"""Returns a hit's salt (rule I2). The arguments are the site, the hit's date and today's date.

The hit's date and today's date are in the site's zone.
"""

MAX_ID_BYTES: Final = MAX_VISITOR_ID_BYTES
GRANTED: Final = 1
DENIED: Final = 2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Identities:
    """The possible identifiers of each row's visitor.

    `site` is an index into `sites`. `consent` is a hit.v1.ConsentState number; None if no context sets consent.
    """

    sites: Sequence[Site]
    site: I32Array
    visitor: Texts | None
    user: Texts | None
    network: Texts | None
    user_agent: Texts | None
    hostname: Texts | None
    consent: I32Array | None
    event_time: I64Array


@dataclass(frozen=True, slots=True)
class VisitorKeys:
    """Each row's 128-bit visitor key, and whether the visitor denied consent."""

    high: U64Array
    low: U64Array
    denied: BoolArray


def visitor_keys(known: Identities, now: int, salt_of: SaltOf, verdicts: Verdicts) -> VisitorKeys:
    """Return each row's visitor key.

    Refuse rows without an identifier, and rows that must not be stored because consent was denied.
    """
    height = len(known.site)
    denied = _denied(known)
    _refuse_denied(known, denied, verdicts)
    by_user = _fact(known, lambda site: site.identify_by_user_id) & _is_set(known.user, height) & ~denied
    by_visitor = _is_set(known.visitor, height) & ~denied & ~by_user
    daily = ~by_user & ~by_visitor
    keys = np.zeros((height, 2), dtype=np.uint64)
    for rows, kind, texts in ((by_visitor, "visitor", known.visitor), (by_user, "user", known.user)):
        if texts is not None and rows.any():
            _fill_by_id(keys, rows & ~verdicts.refused, kind, texts, known)
    if daily.any():
        possible = _is_set(known.network, height) & _is_set(known.user_agent, height)
        _refuse_unknown(daily & ~possible, denied, verdicts)
        _fill_daily(keys, daily & ~verdicts.refused, known, now, salt_of)
    return VisitorKeys(keys[:, 0], keys[:, 1], denied)


def _fill_by_id(keys: U64Array, rows: BoolArray, kind: str, texts: Texts, known: Identities) -> None:
    """Set the visitor keys of rows that have a user id or visitor id."""
    at = np.flatnonzero(rows)
    first, codes = distinct_tuples([known.site[at], texts.codes[at]])
    ids = texts.values.take(pa.array(texts.codes[at][first])).view(pa.binary()).to_pylist()
    secrets = [known.sites[site].secret for site in known.site[at][first].tolist()]
    keys[at] = _memory().keys_of(kind, secrets, ids)[codes]


def _fill_daily(keys: U64Array, rows: BoolArray, known: Identities, now: int, salt_of: SaltOf) -> None:
    """Set the visitor keys of rows without an id.

    The key is a hash of network, user agent and host with the day's salt.
    """
    at = np.flatnonzero(rows)
    if not len(at) or known.network is None or known.user_agent is None:
        return
    # In every time zone, a date begins at the start of a cell (architecture A10).
    cells = known.event_time[at] // CELL_MS
    host = np.zeros(len(at), np.int32) if known.hostname is None else known.hostname.codes[at]
    first, codes = distinct_tuples(
        [known.site[at], cells - cells.min(), known.network.codes[at], known.user_agent.codes[at], host]
    )
    found = np.empty((len(first), 2), dtype=np.uint64)
    salt_once = lru_cache(maxsize=None)(salt_of)
    for number, row in enumerate(at[first].tolist()):
        site = known.sites[int(known.site[row])]
        zone = ZoneInfo(site.time_zone)
        salt = salt_once(site.name, _local_date(int(known.event_time[row]), zone), _local_date(now, zone))
        hostname = "" if known.hostname is None else known.hostname.value(row)
        found[number] = visitor_key(salt, "daily", known.network.value(row), known.user_agent.value(row), hostname)
    keys[at] = found[codes]


@cache
def _memory() -> VisitorMemory:
    return VisitorMemory()


def _local_date(millis: int, zone: ZoneInfo) -> date:
    return (_EPOCH + timedelta(milliseconds=millis)).astimezone(zone).date()


def _denied(known: Identities) -> BoolArray:
    """Return whether each row's visitor denied consent. Hits without a consent state follow the site's default."""
    silent_is_denied = _fact(known, lambda site: not site.consent_by_default)
    if known.consent is None:
        return silent_is_denied
    denied: BoolArray = (known.consent == DENIED) | ((known.consent != GRANTED) & silent_is_denied)
    return denied


def _refuse_denied(known: Identities, denied: BoolArray, verdicts: Verdicts) -> None:
    if denied.any():
        verdicts.refuse(
            denied & ~_fact(known, lambda site: site.cookieless_counting),
            HitReason.CONSENT_DENIED,
            "context.consent.analytics",
            "the visitor denied analytics consent, or gave no answer and the site's default is to deny, and the site "
            "allows no cookieless counting: do not send hits of this visitor",
        )


def _refuse_unknown(rows: BoolArray, denied: BoolArray, verdicts: Verdicts) -> None:
    verdicts.refuse(
        rows & denied,
        HitReason.CONSENT_DENIED,
        "context.consent.analytics",
        "a hit without analytics consent needs a user agent and the client_ip of a trusted edge: send both, or do not "
        "send the hit",
    )
    verdicts.refuse(
        rows,
        HitReason.MISSING_FIELD,
        "visitor_id",
        "nothing identifies the visitor: send visitor_id, or a user agent through an edge that sends client_ip",
    )


def _fact(known: Identities, fact: Callable[[Site], bool]) -> BoolArray:
    """Return for each row whether `fact` is true for the row's site."""
    found: BoolArray = np.array([fact(site) for site in known.sites], dtype=np.bool_)[known.site]
    return found


def _is_set(texts: Texts | None, height: int) -> BoolArray:
    return np.zeros(height, dtype=np.bool_) if texts is None else texts.is_set()
