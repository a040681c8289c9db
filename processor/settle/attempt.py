"""An attempt to settle a site-day.

An attempt reads the inputs (window of hits, claims, incoming carry) and settles the site-day. The only value that an
attempt writes is its reserved generation number (`Generations.begin`). The module `settler` performs all other effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import polars as pl

from hitmesh.model.claims import OrderClaim
from hitmesh.model.erasures import ErasureMark
from hitmesh.model.errors import StaleGeneration, StoreCorrupt
from hitmesh.model.exclusion import AS_COLLECTED, NO_RULES, ExclusionRule, SiteRules
from hitmesh.model.generations import Drift, GenerationEntry
from hitmesh.model.limits import COPY_WINDOW_MS, DERIVED_FROM_MS, FOLLOWED_MS, LG_K_CELL
from hitmesh.model.logic import CURRENT, Logic, logic_numbered
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import Site, SiteDay, VisitPolicy
from hitmesh.model.streams import NO_SHADOW, StreamTable
from hitmesh.model.waiting_visits import days_with_provisional_visits
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import (
    Generations,
)
from processor.erase.visitors import ErasedVisitors
from processor.rules.carry import Carry
from processor.rules.day_rules import DayRules
from processor.rules.orders import HitAt
from processor.rules.rollups import RowOwner
from processor.settle.claims_excluded import decided_claims, rules_of_days
from processor.settle.day_claims import DayClaims
from processor.settle.deciding import Deciding
from processor.settle.drift import drift_of
from processor.settle.inputs import DayInputs
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.ranges import settle
from processor.settle.series import settled_series
from processor.settle.settlement import Settled
from processor.settle.site_window import SpilledWindow, Window, read_window
from processor.settle.sorted_hits import SortedHits
from processor.settle.stores import SettlerStores
from processor.stream.stores import digest_of

_FOLLOW_MS: Final = (7_200_000, FOLLOWED_MS)  # how long visits are followed after the day: first try, second try
_UNKNOWN_ZONE: Final = "UTC"


@dataclass(frozen=True, slots=True)
class Handed:
    """The results that a day's settlement needs from settlements of earlier days that are not published yet.

    Attributes:
        carry: the carry from the day before; None if the day before has no unpublished settlement.
        flags: the claims' duplicate flags that differ from the stored flags (rule D3).
        logic: the logic version that produced the carry; None means the attempt's version.
    """

    carry: Carry | None = None
    flags: Mapping[HitAt, bool] = field(default_factory=dict)
    logic: Logic | None = None


NOTHING_HANDED: Final = Handed()


@dataclass(frozen=True, slots=True)
class Worked:
    """A settlement with its inputs.

    `inputs` keeps all hits in memory or on disk, so a caller should drop this object when the hits are no longer
    needed.
    """

    settled: Settled
    inputs: DayInputs

    def close(self) -> None:
        """Delete the hits that are on disk. After `close`, `settled` can still be read."""
        if isinstance(self.inputs.window, SpilledWindow):
            self.inputs.window.close()


class Attempt:
    """One attempt to settle a site-day.

    If no logic version is given, the attempt takes the version from the site-day's current generation. If a carry is
    damaged, the attempt works without the carry and replaces it.

    Args:
        stores: the stores to read.
        site_day: the site-day to settle.
        hits_before: the offsets at which the hit scan ends (exclusive).
        read_through: the offsets at which the scan ends (exclusive), for all topics.
        handed: results of earlier days that are computed but not published yet.
        lg_k: log2 of the visitor sketches' size; the same as in the stream.
        logic: the logic version; if None, the site-day keeps its version.
        fallback: the logic version for a site-day without a generation.
        rules: new exclusion-rule versions for settled days, by day. Days that are not in `rules` keep their
            version.
        erasing: erasure marks for visitors that are about to be erased, in addition to the stored marks.
        memory: the limits that bound the memory.
        sorted_hits: re-sorted hits that were read with the same bounds. If None, the attempt reads the raw records.
        streams: the stream table at the time when the scan began.

    Attributes:
        site_day, read_through: as given.
        generation: the reserved generation number; 0 before `settle`.
        stream: the generation that belongs to the stream that reports read on this day.
        current: the site-day's generation entry when the scan began; None if there was no entry.
        site_sequence: the highest sequence number among the site's generation entries when the attempt began.
        logic: the logic version that the attempt applies.
        rules_version: the exclusion-rule version that decides about the day's hits. For a site-day without a
            generation, `rules_version` is AS_COLLECTED: the first settlement keeps the collector's decisions.
    """

    def __init__(
        self,
        stores: SettlerStores,
        site_day: SiteDay,
        hits_before: Mapping[PartitionId, int],
        read_through: Mapping[PartitionId, int],
        handed: Handed = NOTHING_HANDED,
        *,
        lg_k: int = LG_K_CELL,
        logic: Logic | None = None,
        fallback: Logic = CURRENT,
        rules: Mapping[int, int] | None = None,
        erasing: Sequence[ErasureMark] = (),
        memory: SettleMemory = DEFAULT_MEMORY,
        sorted_hits: SortedHits | None = None,
        streams: StreamTable = NO_SHADOW,
    ) -> None:
        site, day = site_day
        # The sequence number is read before all other values, so that a publication during the other reads is noticed.
        self.site_sequence = stores.generations.sequence(site)
        entries: Mapping[int, GenerationEntry] = stores.generations.current(site, day - 1, day + 2)
        before_it = None if handed.carry is not None else stored_carry(stores.generations, SiteDay(site, day - 1))
        handed_on = stored_carry(stores.generations, site_day)
        self.site_day = site_day
        self.read_through = dict(read_through)
        self.generation = 0
        self.stream = streams.generation(day)
        self.current = entries.get(day)
        self.logic = logic or _logic_of(self.current) or fallback
        self._overridden = rules or {}
        self._versions_before = {each: entry.rules_version for each, entry in entries.items()}
        self._versions = {each: self._overridden.get(each, version) for each, version in self._versions_before.items()}
        self.rules_version = self._versions.get(day, AS_COLLECTED)
        self._stores = stores
        self._hits_before = hits_before
        self._entry_before = entries.get(day - 1)
        self._logic_before = (handed.logic if handed.carry else _logic_of(self._entry_before)) or self.logic
        self._policies = (VisitPolicy(), VisitPolicy())
        self._next_is_settled = day + 1 in entries
        self._carry = handed.carry or _intact(before_it)
        self._before_is_damaged = before_it is not None and self._carry is None
        self._own_is_damaged = handed_on is not None and _intact(handed_on) is None
        self.skipped_rules: tuple[ExclusionRule, ...] = ()  # the rules that do not compile; set by `work`
        self._erasing = erasing
        self._erased = ErasedVisitors(b"", ())
        self._claims = DayClaims(site_day, stores.claims, stores.raw, hits_before, handed.flags, self._erased)
        self._lg_k = lg_k
        self._memory = memory
        self._sorted_hits = sorted_hits
        self._handed_on = _intact(handed_on)

    @property
    def seen_sequence(self) -> int:
        """The sequence number of the site-day's generation entry when the scan began; 0 if there was no entry."""
        return self.current.sequence if self.current else 0

    @property
    def damaged_carries(self) -> tuple[SiteDay, ...]:
        """The site-days whose stored carry does not decode. The settlement does not use damaged carries."""
        site, day = self.site_day
        before = (SiteDay(site, day - 1),) if self._before_is_damaged else ()
        return (*before, *((self.site_day,) if self._own_is_damaged else ()))

    def settle(self) -> Settled | None:
        """Return the settlement.

        Return None if there is nothing to settle: no hit, no refusal and no published generation.

        Raises:
            StaleGeneration: the current generation was read from more of the log than this attempt would read.
        """
        worked = self.work()
        if worked is None:
            return None
        worked.close()
        return worked.settled

    def work(self) -> Worked | None:
        """Return the result from `settle` together with the settlement's inputs.

        The caller must close the returned object.

        Raises:
            StaleGeneration: the current generation was read from more of the log than this attempt would read.
        """
        self._memory.rest()
        self._refuse_to_read_less()
        site, day = self.site_day
        rejected = self._stores.rejected.counts(site, day)
        if not rejected and self.current is None and day not in self._stores.raw.days(site):
            return None
        known = self._stores.directory.site_or_deleted(site)
        if known:
            self._policies = known.policy_on(day - 1), known.policy_on(day)
        self.generation = self._stores.generations.begin(self.site_day)
        # Erasure marks must be read after the generation has begun. An erasure stores its marks, and then abandons all
        # generations that began earlier.
        marks = [*self._stores.erasures.of(site), *self._erasing]
        self._erased = ErasedVisitors(self._stores.directory.mesh_secret(), marks)
        self._claims = replace(self._claims, erased=self._erased)
        for follow_ms in _FOLLOW_MS[:-1]:
            worked = self._worked(known, follow_ms, rejected)
            if worked.settled.complete:
                return worked
            worked.close()
            del worked  # both tries' hits must not be in memory at the same time
        return self._worked(known, _FOLLOW_MS[-1], rejected)

    def _worked(self, site: Site | None, follow_ms: int, rejected: Mapping[int, int]) -> Worked:
        inputs = self._inputs(site, (self.site_day.day + 1) * DAY_MS + follow_ms, rejected)
        return Worked(settle(inputs), inputs)

    def inputs_before(self, inputs: DayInputs) -> DayInputs | None:
        """Return the inputs with the current generation's logic, and with the stored carry of the day before.

        If this attempt has a carry and the current generation had no carry, return None. The current generation's open
        visits then came from earlier hits, which the window does not contain.
        """
        site, day = self.site_day
        stored = self._stores.generations.carry(SiteDay(site, day - 1))
        carry, logic = _intact(stored), _logic_of(self.current)
        if logic is None or (carry is None and self._carry is not None):
            return None
        carried_policy, policy = self._under(_logic_of(self._entry_before) or logic, logic)
        return replace(inputs, policy=policy, carried_policy=carried_policy, carry=carry)

    def _under(self, before: Logic, logic: Logic) -> tuple[VisitPolicy | None, VisitPolicy]:
        """Return the policy for visits that began on the day before, and the policy for this day.

        If both policies are equal, return None in place of the policy for the day before.
        """
        carried, policy = before.policy(self._policies[0]), logic.policy(self._policies[1])
        return None if carried == policy else carried, policy

    def _refuse_to_read_less(self) -> None:
        """Refuse to replace a generation that has read more of the log than this attempt.

        After this attempt has read its bounds, another settler may publish a generation that has read more hits. The
        hits that only the other generation has read no longer have dirty marks. If this attempt replaced the other
        generation, these hits would be lost. If only one of the two generations has read a partition, the partition is
        not compared. For example, the partition may belong to a retired log.
        """
        seen = self.current.read_through if self.current else {}
        for partition, offset in seen.items():
            if offset > self.read_through.get(partition, offset):
                raise StaleGeneration(
                    f"another settler has read {self.site_day} through offset {offset} of {partition}, but this scan "
                    f"ends at offset {self.read_through[partition]}; scan again"
                )

    def drift(self, settled: Settled) -> Drift | None:
        """Return how the settlement differs from the stream.

        If the day already has a generation, or if the stream counted nothing, return None. If a partial of the day is
        damaged, the day is not confirmed, and the settled rows replace the stream's rows.
        """
        if self.current is not None:
            return None
        site, day = self.site_day
        try:
            streamed = self._stores.series.read(site, day, day + 1, self.stream)
        except StoreCorrupt:
            return Drift(confirmed=False, rows_differ=True, sketch_provisional=False, measures={})
        if streamed.is_empty():
            return None
        digest = digest_of(self._stores.directory)
        visits_wait = bool(days_with_provisional_visits(partial(self._stores.ledger.waiting, site), day, day + 1))
        return drift_of(settled.rows, streamed, digest, settled.full_refunds, visits_wait=visits_wait)

    def series_of(self, settled: Settled) -> pl.DataFrame:
        """Return the series (sums by cell and currency) from the settlement's rows."""
        return settled_series(settled.rows, digest_of(self._stores.directory), self._lg_k)

    def disturbed_days(self, settled: Settled) -> set[int]:
        """Return the other days that must be settled because of this settlement (rule L4)."""
        disturbed = self.disturbed_by_hits(settled)
        if self._next_is_settled and not self._hands_on_the_same(settled.carry):
            disturbed.add(self.site_day.day + 1)
        return disturbed

    def disturbed_by_hits(self, settled: Settled) -> set[int]:
        """Return the other days that must be settled again.

        The new carry's effect on the next day is not considered.

        A damaged carry does not show which of the day's hits continue the visits in the carry. If the carry from the
        day before is damaged, the day before is therefore settled again, which replaces the carry.
        """
        disturbed = {*settled.disturbed_days, *settled.orders.disturbed_days}
        follows_others = self._carry is not None and self._carry.followed != settled.followed
        if follows_others or self._before_is_damaged:
            disturbed.add(self.site_day.day - 1)
        return disturbed

    def _hands_on_the_same(self, carry: Carry) -> bool:
        """Return whether the next day's settlement has the same result under the new carry and this attempt's logic."""
        if self._handed_on is None or not carry.hands_on_the_same(self._handed_on):
            return False
        # This day's logic version also decides which hits of the next day continue the carried visits.
        return carry.open_visits.is_empty() or _are_same(self.logic, _logic_of(self.current))

    def _inputs(self, site: Site | None, known_until: int, rejected: Mapping[int, int]) -> DayInputs:
        name, day = self.site_day
        reach_back = COPY_WINDOW_MS if self._carry else COPY_WINDOW_MS + DERIVED_FROM_MS
        rules = DayRules(site.rules if site else NO_RULES, self._versions)
        self.skipped_rules = rules.skipped
        window = self._window(name, day * DAY_MS - reach_back, known_until + COPY_WINDOW_MS, rules)
        carried_policy, policy = self._under(self._logic_before, self.logic)
        claims, refund_days = self._claims.of(window, known_until)
        claims, excluded_before = self._decided(claims, window, rules.rules)
        return DayInputs(
            owner=RowOwner(name, day, self.generation),
            policy=policy,
            carried_policy=carried_policy,
            zone=site.time_zone if site else _UNKNOWN_ZONE,
            window=window,
            known_until=known_until,
            carry=self._carry,
            claims=claims,
            refund_days=refund_days,
            rejected=rejected,
            read_through=self.current.read_through if self.current else {},
            lg_k=self._lg_k,
            memory=self._memory,
            excluded_before=excluded_before,
        )

    def _decided(
        self, claims: list[OrderClaim], window: Window | SpilledWindow, rules: SiteRules
    ) -> tuple[list[OrderClaim], Mapping[HitAt, bool]]:
        """Return the claims with `excluded` set by their days' rules, and whether each claim was excluded before."""
        site, day = self.site_day
        before = rules_of_days(self._stores.generations, site, rules, {day, *(claim.day for claim in claims)})
        after = DayRules(rules, {each: self._overridden.get(each, old) for each, old in before.versions.items()})
        return decided_claims(claims, window, day, before, after, self._stores.raw)

    def _window(self, site: str, start: int, end: int, rules: DayRules) -> Window | SpilledWindow:
        before = DayRules(rules.rules, self._versions_before) if self._overridden else None
        deciding = Deciding(rules, before, self._erased, self.site_day.day)
        if self._sorted_hits and (window := self._sorted_hits.window(site, start, end, deciding)) is not None:
            return window
        records = self._stores.raw.scan(site, start // DAY_MS, (end - 1) // DAY_MS + 1, self._hits_before)
        return read_window(records, site, start, end, self._memory, deciding)


def stored_carry(generations: Generations, site_day: SiteDay) -> bytes | None:
    """Return the stored carry, or None if the site-day was never settled.

    If the site-day's carry is lost, return b"".
    """
    try:
        return generations.carry(site_day)
    except StoreCorrupt:
        return b""


def _intact(carry: bytes | None) -> Carry | None:
    """Return the decoded carry, or None if there is no carry or the carry is damaged.

    Without a carry from the day before, a settlement derives the open visits from raw hits.
    """
    try:
        return Carry.from_bytes(carry) if carry is not None else None
    except StoreCorrupt:
        return None


def _logic_of(entry: GenerationEntry | None) -> Logic | None:
    return logic_numbered(entry.logic_version) if entry else None


def _are_same(logic: Logic, other: Logic | None) -> bool:
    return other is not None and logic.number == other.number
