"""Add up the differences of recomputed site-days: in total, per UTC day and per site. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.reprocessings import Rebuilt
from hitmesh.model.sites import SiteDay

MICROS: Final = "micros"
MS: Final = "ms"
COUNT: Final = "count"
_MODULUS: Final = 1 << 64

_COUNTS: Final = (
    *("hits", "pageviews", "events", "product_views", "cart_adds", "checkouts_started", "orders", "items_sold"),
    *("bot_hits", "excluded_hits", "duplicate_hits", "rejected_hits", "late_hits", "clock_skewed_hits"),
    *("visits", "bounces", "visit_views", "entries", "exits", "order_visits", "visitors"),
)
_AMOUNTS: Final = ("item_revenue", "gross_revenue", "refunds", "tax", "shipping", "discounts")
UNITS: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(_COUNTS, COUNT) | dict.fromkeys(_AMOUNTS, MICROS) | {"visit_duration_total": MS}
)
"""The unit of each measure and sketch in settled rows, keyed by name.

`visitors` is the number of distinct visitors on a site-day, so a sum counts a visitor once per site-day.
"""


class Sums(NamedTuple):
    """A metric's old and new sum over several parts, such as site-days.

    `absolute` adds up |new − old| of each part.
    """

    old: int = 0
    new: int = 0
    absolute: int = 0

    def plus(self, old: int, new: int) -> Sums:
        """Return these sums plus a further part, whose sums are `old` and `new`."""
        return Sums(self.old + old, self.new + new, self.absolute + abs(new - old))

    @property
    def share(self) -> float | None:
        """The sum of |new − old| as a share of |old|; None if old is 0."""
        return self.absolute / abs(self.old) if self.old else None


class Outcome(NamedTuple):
    """A ledger entry, or the sum of several ledger entries."""

    accepted: int = 0
    counted: int = 0
    duplicate: int = 0
    excluded: int = 0
    sum64: int = 0
    xor64: int = 0
    erased: int = 0

    def plus(self, entry: LedgerEntry) -> Outcome:
        """Return this outcome plus a further ledger entry."""
        return Outcome(
            self.accepted + entry.accepted,
            self.counted + entry.counted,
            self.duplicate + entry.duplicate,
            self.excluded + entry.excluded,
            (self.sum64 + entry.sum64) % _MODULUS,
            self.xor64 ^ entry.xor64,
            self.erased + entry.erased,
        )


@dataclass(slots=True)
class Tally:
    """Old and new sums over several site-days.

    `sums` has all metrics except those that are 0 in both generations; `changed` has only metrics with a difference.
    `reasons` is the sum of all known change reasons. `explained_site_days` is the number of site-days whose reasons are
    known.
    """

    site_days: int = 0
    changed_site_days: int = 0
    sums: dict[str, Sums] = field(default_factory=dict)
    before: Outcome = field(default_factory=Outcome)
    after: Outcome = field(default_factory=Outcome)
    explained_site_days: int = 0
    reasons: ChangeReasons = field(default_factory=ChangeReasons)
    not_applicable: int = 0

    def add(self, rebuilt: Rebuilt) -> None:
        """Add a site-day."""
        self.site_days += 1
        self.changed_site_days += is_changed(rebuilt)
        self.before = self.before.plus(rebuilt.before.ledger)
        self.after = self.after.plus(rebuilt.after.ledger)
        self.not_applicable += rebuilt.not_applicable
        for metric, change in rebuilt.changes.items():
            self.sums[metric] = self.sums.get(metric, Sums()).plus(change.old, change.new)
        if rebuilt.reasons is not None:
            self.explained_site_days += 1
            self.reasons = self.reasons.plus(rebuilt.reasons)

    @property
    def changed(self) -> dict[str, Sums]:
        """The metrics with a difference in any site-day, keyed by metric id."""
        return {metric: self.sums[metric] for metric in sorted(self.sums) if self.sums[metric].absolute}


@dataclass(slots=True)
class Differences:
    """The differences of site-days in total, per UTC day and per site. Days and sites without a change are absent.

    `disturbed` has the site-days that are not in the plan, but are settled again after the publication.
    """

    total: Tally = field(default_factory=Tally)
    days: dict[int, Tally] = field(default_factory=dict)
    sites: dict[str, Tally] = field(default_factory=dict)
    disturbed: set[SiteDay] = field(default_factory=set)


def differences(rebuilt: Iterable[Rebuilt]) -> Differences:
    """Return the differences of recomputed site-days."""
    found, compared = Differences(), set[SiteDay]()
    for each in rebuilt:
        compared.add(each.site_day)
        found.disturbed.update(SiteDay(each.site_day.site, day) for day in each.disturbed_days)
        found.total.add(each)
        found.days.setdefault(each.site_day.day, Tally()).add(each)
        if is_changed(each):
            found.sites.setdefault(each.site_day.site, Tally()).add(each)
    found.disturbed -= compared
    found.days = {day: tally for day, tally in sorted(found.days.items()) if tally.changed_site_days}
    return found


def is_changed(rebuilt: Rebuilt) -> bool:
    """Return whether a site-day's sums or ledger differ between the old and the new generation."""
    is_equal = rebuilt.before.ledger == rebuilt.after.ledger
    return not is_equal or any(change.old != change.new for change in rebuilt.changes.values())


def ranking(sums: Mapping[str, Sums]) -> str:
    """Return the metric with the largest change in per cent, or an empty text if no metric changed.

    Metrics whose old sum is 0 come last.
    """
    changed = [metric for metric in sorted(sums) if sums[metric].absolute]
    return max(changed, key=lambda metric: sums[metric].share or 0.0, default="")


def most_changed(tallies: Mapping[str, Tally], metric: str, top: int) -> list[str]:
    """Return at most `top` keys whose sums for the metric differ, the largest absolute difference first."""
    absolute = {key: tally.sums.get(metric, Sums()).absolute for key, tally in tallies.items()}
    changed = [key for key, difference in absolute.items() if difference]
    return sorted(changed, key=lambda key: (-absolute[key], key))[:top]
