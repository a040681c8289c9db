"""Whether the hits of claims are excluded, under the exclusion rules of their days (settlement, rule D3).

A stored claim keeps the decision of the collector. Where a version of the site's rules decides a day anew, the hit of
the claim is read again from its raw record. Claims on the ids of a day are few, and days without a version cost
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hitmesh.model.claims import OrderClaim
from hitmesh.model.exclusion import AS_COLLECTED, SiteRules
from hitmesh.model.positions import Position
from hitmesh.ports import Generations, RawStore
from processor.rules.day_rules import DayRules, with_excluded
from processor.rules.orders import HitAt, claim_at
from processor.settle.window import read_rows


def versions_of(
    generations: Generations, site: str, days: Iterable[int], overridden: Mapping[int, int]
) -> dict[int, int]:
    """Return the version of the rules of settled days: the overriding version, or the current generation's.

    Days that are not settled are absent.
    """
    wanted = set(days)
    if not wanted:
        return {}
    entries = generations.current(site, min(wanted), max(wanted) + 1)
    return {day: overridden.get(day, entries[day].rules_version) for day in wanted & entries.keys()}


def excluded_claims(
    claims: Sequence[OrderClaim], rules: SiteRules, versions: Mapping[int, int], raw: RawStore
) -> dict[HitAt, bool]:
    """Return, for each claim on a day with a version, whether its hit is excluded.

    Args:
        claims: the claims.
        rules: the site's rules.
        versions: the version of the rules per UTC day.
        raw: the store with the hits.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    found: dict[HitAt, bool] = {}
    records: dict[Position, list[OrderClaim]] = {}
    for claim in claims:
        if versions.get(claim.day, AS_COLLECTED) != AS_COLLECTED:
            records.setdefault(claim.position, []).append(claim)
    decided = DayRules(rules, {claim.day: versions[claim.day] for of in records.values() for claim in of})
    for position, of_record in records.items():
        record = raw.get(position)
        if record is None:
            continue
        rows = read_rows(record.value, ("event_time", "flags", *decided.columns))[[claim.row for claim in of_record]]
        excluded = with_excluded(decided.decided(rows))["excluded"].to_list()
        found |= {claim_at(claim): each for claim, each in zip(of_record, excluded, strict=True)}
    return found


def with_exclusion(claims: Iterable[OrderClaim], excluded: Mapping[HitAt, bool]) -> list[OrderClaim]:
    """Return the claims, excluded or not as given; other claims keep the collector's decision."""
    return [replace(claim, excluded=excluded.get(claim_at(claim), claim.excluded)) for claim in claims]
