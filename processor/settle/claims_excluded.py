"""Decides whether a day's exclusion rules exclude the hits that claim an order or a refund (rule D3).

A stored claim keeps the collector's decision. If a version of the site's exclusion rules applies to the claim's day,
the decision is made again. If a claiming hit is on the settled day, the hit is in the window. Only few claiming hits
are on other days, and these hits are read from raw records. If the rules have no version for a day, no hit of the day
is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from hitmesh.model.claims import OrderClaim
from hitmesh.model.exclusion import AS_COLLECTED, SiteRules
from hitmesh.model.positions import Position
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Generations, RawStore
from processor.rules.day_rules import DayRules, with_excluded
from processor.rules.orders import HitAt, claim_at
from processor.settle.site_window import EXCLUDED_BEFORE, SpilledWindow, Window
from processor.settle.window import read_rows


def rules_of_days(generations: Generations, site: str, rules: SiteRules, days: Iterable[int]) -> DayRules:
    """Return the exclusion rules of the settled days among `days`; on other days, the collector's decisions apply."""
    wanted = set(days)
    entries = generations.current(site, min(wanted), max(wanted) + 1) if wanted and rules.version else {}
    return DayRules(rules, {day: entries[day].rules_version for day in wanted & entries.keys()})


def decided_claims(
    claims: Sequence[OrderClaim],
    window: Window | SpilledWindow,
    day: int,
    before: DayRules,
    after: DayRules,
    raw: RawStore,
) -> tuple[list[OrderClaim], Mapping[HitAt, bool]]:
    """Return the claims with `excluded` set by the rules `after`.

    Also return whether the rules `before` exclude each claim.

    Args:
        claims: the claims on order and refund ids in the window's hits.
        window: the hits on the settled day and both neighbouring days.
        day: the settled day.
        before: the rules under which the claims' days' current generations were settled.
        after: the rules that this settlement uses for the claims' days.
        raw: the store with the hits.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    if not before.decide_anew and not after.decide_anew:
        return list(claims), {}
    others = [claim for claim in claims if claim.day != day]
    were, are = excluded_claims(others, (before, after), raw)
    of_day = _excluded_on(window, day)
    were |= {at: was for at, (was, _) in of_day.items()}
    are |= {at: now for at, (_, now) in of_day.items()}
    return with_exclusion(claims, are), were


def excluded_claims(
    claims: Sequence[OrderClaim], sides: Sequence[DayRules], raw: RawStore
) -> tuple[dict[HitAt, bool], ...]:
    """Return, for each element of `sides`, whether its rules exclude each claiming hit.

    Args:
        claims: the claims.
        sides: several rule versions for the claims' days, for example the old rules and the new rules.
        raw: the store with the hits. A record is read only if a claim in the record is on a day for which any of the
            rules have a version.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    found = tuple({claim_at(claim): claim.excluded for claim in claims} for _ in sides)
    decided = {day for side in sides for day, version in side.versions.items() if version != AS_COLLECTED}
    records: dict[Position, list[OrderClaim]] = {}
    for claim in claims:
        if claim.day in decided:
            records.setdefault(claim.position, []).append(claim)
    columns = tuple(dict.fromkeys(("event_time", "flags", *(name for side in sides for name in side.columns))))
    for position, of_record in records.items():
        record = raw.get(position)
        if record is None:
            continue
        rows = read_rows(record.value, columns)[[claim.row for claim in of_record]]
        for side, excluded in zip(sides, found, strict=True):
            places = map(claim_at, of_record)
            excluded |= zip(places, with_excluded(side.decided(rows))["excluded"].to_list(), strict=True)
    return found


def with_exclusion(claims: Iterable[OrderClaim], excluded: Mapping[HitAt, bool]) -> list[OrderClaim]:
    """Return the claims with the excluded flags in `excluded`. Other claims keep the collector's decision."""
    return [replace(claim, excluded=excluded.get(claim_at(claim), claim.excluded)) for claim in claims]


def _excluded_on(window: Window | SpilledWindow, day: int) -> dict[HitAt, tuple[bool, bool]]:
    """Return two values for each ORDER and REFUND hit on a day: whether the old and the new rules exclude it."""
    hits = window.claiming.filter(pl.col("event_time") // DAY_MS == day)
    places = hits.select("record", "row", EXCLUDED_BEFORE, "excluded")
    return {(window.positions[record], row): (was, now) for record, row, was, now in places.iter_rows()}
