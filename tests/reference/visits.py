"""Copies and visits, one hit at a time: rules D1, D2 and S0 to S6.

Each function implements exactly the rules that it names. The module does not deal with cells, reports or money.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

from tests.reference.civil import local_time
from tests.reference.hits import NO_CAMPAIGN, Campaign, RefHit

COPY_WINDOW_MS = 2 * 60 * 60 * 1000
DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class RefPolicy:
    """A visit policy.

    The defaults are policy v1 (rules.md §4). `midnight_zone` matters only if `split_at_local_midnight` is true.
    """

    gap_ms: int = 30 * 60 * 1000
    cap_ms: int = 24 * 60 * 60 * 1000
    max_hits: int = 5_000
    campaign_splits: bool = True
    split_at_local_midnight: bool = False
    midnight_zone: str = "UTC"


V1 = RefPolicy()
V0 = RefPolicy(gap_ms=3 * 60 * 1000)
"""The visit policy of the logic v0, which exists only for rehearsals."""

PolicyByDay = Mapping[tuple[str, int], RefPolicy]
"""The policy by site and UTC day. A visit follows the policy of the day on which it begins."""


@dataclass
class RefVisit:
    """A visit with at least one hit. The hits are in order, and the first hit is interactive."""

    hits: list[RefHit] = field(default_factory=list)
    bot_behaviour: bool = False

    @property
    def first(self) -> RefHit:
        """The hit that started the visit and sets the visit's attributes (S6)."""
        return self.hits[0]

    @property
    def start(self) -> int:
        """Time of the first hit in UTC ms."""
        return self.hits[0].event_time

    @property
    def last(self) -> int:
        """Time of the last hit in UTC ms."""
        return self.hits[-1].event_time

    @property
    def duration_ms(self) -> int:
        """Time from the first hit to the last hit. The time is 0 for a visit with a single hit."""
        return self.last - self.start

    @property
    def interactive_hits(self) -> int:
        """Number of interactive hits, at least 1."""
        return sum(hit.is_interactive for hit in self.hits)

    @property
    def views(self) -> int:
        """Number of pages and screens shown."""
        return sum(hit.is_view for hit in self.hits)

    @property
    def landing_page(self) -> str | None:
        """The page of the first page view (S6)."""
        return next((hit.page_path for hit in self.hits if hit.is_view), None)

    @property
    def exit_page(self) -> str | None:
        """The page of the last page view (S6)."""
        return next((hit.page_path for hit in reversed(self.hits) if hit.is_view), None)

    @property
    def campaign(self) -> Campaign:
        """The campaign of the visit.

        All hits of a visit have the campaign of the first hit, because another campaign starts a new visit.
        """
        return self.first.campaign


def duplicates(hits: Iterable[RefHit]) -> list[RefHit]:
    """Return the copies (D1, D2), in log order.

    A hit is a copy of an earlier hit in log order under two conditions. The copy and the earlier hit have the same
    site, visitor and hit id. The event times differ by at most two hours. The earlier hit may itself be a copy.
    """
    seen: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    copies = []
    for hit in sorted(hits, key=lambda hit: hit.position):
        times = seen[hit.site, hit.visitor, hit.hit_id]
        if any(abs(hit.event_time - earlier) <= COPY_WINDOW_MS for earlier in times):
            copies.append(hit)
        times.append(hit.event_time)
    return copies


def visits_of_one(
    hits: Sequence[RefHit], policy: RefPolicy = V1, by_day: PolicyByDay | None = None
) -> tuple[list[RefVisit], list[RefHit]]:
    """Build the visits of one visitor, and return visits and orphans (S0 to S5). Orphans belong to no visit.

    All hits must belong to one site and visitor. No hit may be a copy. Either all hits are excluded, or none. `policy`
    applies to visits that begin on days without a policy in `by_day`.
    """
    visits: list[RefVisit] = []
    orphans: list[RefHit] = []
    for hit in sorted(hits, key=lambda hit: (hit.event_time, hit.hit_hash, hit.hit_id)):
        if hit.offline:
            orphans.append(hit)
            continue
        open_visit = visits[-1] if visits else None
        began = (hit.site, open_visit.start // DAY_MS) if open_visit else None
        reason = _reason_to_start(open_visit, hit, (by_day or {}).get(began, policy) if began else policy)
        if reason is None:
            visits[-1].hits.append(hit)
        elif hit.is_interactive:
            visits.append(RefVisit([hit], bot_behaviour=reason == "too many hits"))
        else:
            orphans.append(hit)
    return visits, orphans


def _reason_to_start(open_visit: RefVisit | None, hit: RefHit, policy: RefPolicy) -> str | None:
    if open_visit is None:
        return "first hit"
    if hit.event_time - open_visit.last > policy.gap_ms:
        return "gap"
    if hit.event_time - open_visit.start >= policy.cap_ms:
        return "too long"
    if policy.campaign_splits and hit.campaign not in (NO_CAMPAIGN, open_visit.campaign):
        return "campaign"
    if policy.split_at_local_midnight and _local_date(hit.event_time, policy) != _local_date(open_visit.start, policy):
        return "midnight"
    if len(open_visit.hits) >= policy.max_hits:
        return "too many hits"
    return None


def _local_date(instant_ms: int, policy: RefPolicy) -> date:
    return local_time(instant_ms, ZoneInfo(policy.midnight_zone)).date()
