"""Decides for TraceHit how each copy of a hit counts. The decision uses all stored hits of the hit's visitors.

The verdict follows the rules by which the copy was counted (rules D1 to D3, T4): settlement's rules on a settled day,
the live stream's rules on other days. The visit is rebuilt from the stored hits of the day, the day before and the day
after. If the visitor was already active before these three days, and never paused, earlier hits may have split the
visits at other instants. The rebuilt visit may then differ from the visit that was counted. The functions are pure. The
module `search` finds the hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import polars as pl

from hitmesh.model.cells import cell_of, utc_day_of
from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.closing import is_closed
from hitmesh.model.generations import STREAM_GENERATION, GenerationEntry
from hitmesh.model.hit_types import HitType
from hitmesh.model.keys import hash64
from hitmesh.model.limits import COPY_LOG_MS, COPY_WINDOW_MS, LATENESS_MS
from hitmesh.model.logic import CURRENT, Logic, logic_numbered
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reasons import EXCLUDING_FLAGS
from hitmesh.model.sites import Site, policies_between
from processor.rules.carry import no_open_visits
from processor.rules.copies import find_copies
from processor.rules.day_rules import DayRules, with_excluded
from processor.rules.seam import build_by_start
from processor.rules.visits import ORPHAN
from processor.stream.live.batch import are_on_time

_LOG_ORDER: Final = ("log_time", "log", "partition", "offset", "row")
_VISITOR: Final = ("visitor_hi", "visitor_lo")
_HIT_TYPES: Final = {int(hit_type): hit_type.name for hit_type in HitType}

HitAt = tuple[Position, int]
"""The place where a hit is stored: the position of its record, and the hit's row in this record."""


class Verdict(Enum):
    """The outcome for a copy of a hit."""

    COUNTED = auto()
    DUPLICATE = auto()
    EXCLUDED = auto()
    PENDING = auto()


class Timeliness(Enum):
    """Whether a hit is on time, late or history (rule T4)."""

    ON_TIME = auto()
    LATE = auto()
    HISTORY = auto()


@dataclass(frozen=True, slots=True)
class InspectedVisit:
    """The visit of an inspected hit. `hits` is the number of hits in the visit so far."""

    visit_id: str
    start: int
    last: int
    hits: int
    landing_page: str


@dataclass(frozen=True, slots=True)
class InspectedCopy:
    """A copy of a hit, with the verdict on this copy.

    All times are UTC ms. `wins_order` is None if the copy does not count, or claims no order or refund. `visit` is None
    if the copy does not count or has no visit.
    """

    at: HitAt
    log_time: int
    collect_time: int
    event_time: int
    hit_type: str
    visitor_key: str
    verdict: Verdict
    timeliness: Timeliness
    original: HitAt | None
    collides: bool
    order_id: str
    wins_order: bool | None
    visit: InspectedVisit | None
    cell: int
    is_settled: bool
    generation: int
    exclusion_reasons: tuple[str, ...] = ()
    hit_id: str = ""
    batch_id: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """The stored facts, other than hits, that decide the verdict on a hit.

    Attributes:
        site: the site of the hits.
        entries: for each UTC day, the entry of its published generation, if it has an entry.
        committed: the offset in each partition below which the stream has committed all records.
        claims: the claims on orders and refunds of these hits. Claims on one id are in log order.
        logic: the stream's logic version, which applies to days without an entry.
    """

    site: Site
    entries: Mapping[int, GenerationEntry]
    committed: Mapping[PartitionId, int]
    claims: Sequence[OrderClaim]
    logic: Logic = CURRENT

    def logic_of(self, day: int) -> Logic:
        """Return the logic version under which a day's hits were counted."""
        entry = self.entries.get(day)
        return self.logic if entry is None else logic_numbered(entry.logic_version)

    @property
    def rules(self) -> DayRules:
        """The exclusion rules that decide which hits are excluded on settled days.

        On days that are not settled, the collector's decisions apply.
        """
        return DayRules(self.site.rules, {day: entry.rules_version for day, entry in self.entries.items()})


@dataclass(frozen=True, slots=True)
class _Hit:
    """A copy of the inspected hit. The copy is row `index` among the visitor's hits."""

    index: int
    at: HitAt
    log_time: int
    collect_time: int
    event_time: int
    hit_type: int
    visitor_key: str
    content_hash: int
    excluded: bool
    order_id: str
    refund_id: str
    flags: int
    hit_id: str
    batch_id: str

    @property
    def day(self) -> int:
        """The hit's UTC day."""
        return utc_day_of(self.event_time)

    @property
    def is_history(self) -> bool:
        """Whether the hit's day was already closed at the log time of the hit."""
        return is_closed(self.day, self.log_time)


def inspect(hits: pl.DataFrame, hit_id: str, known: Known) -> list[InspectedCopy]:
    """Return every copy of a hit, in log order. Hits of different visitors with the same id are separate hits.

    Args:
        hits: all hits of the visitors that have a hit with the id. The hits are from the days of the copies and from
            neighbouring days. Each stored hit occurs once; the order does not matter. The columns are INSPECT_COLUMNS
            of processor.inspect.search.
        hit_id: the id to inspect.
        known: the site's generations, committed offsets and claims.
    """
    copies: list[InspectedCopy] = []
    hits = with_excluded(known.rules.decided(hits))
    for _, visitor_hits in hits.sort(_LOG_ORDER).group_by(_VISITOR, maintain_order=True):
        found = _hits_of_id(visitor_hits, hit_id)
        for number, hit in enumerate(found):
            original = next((earlier for earlier in found[:number] if _is_copy_of(hit, earlier, known)), None)
            copies.append(_inspected(hit, original, visitor_hits, known))
    return sorted(copies, key=lambda copy: (copy.log_time, *copy.at))


def visit_id(site: str, visitor_key: str, start: int, first_hash: int) -> str:
    """Return the id of a visit, 16 hexadecimal digits (rule S6)."""
    return f"{hash64(site, visitor_key, str(start), f'{first_hash:016x}'):016x}"


def _hits_of_id(visitor_hits: pl.DataFrame, hit_id: str) -> list[_Hit]:
    rows = visitor_hits.with_row_index("index").filter(pl.col("hit_id") == hit_id)
    return [
        _Hit(
            index=row["index"],
            at=(Position(row["log"], row["partition"], row["offset"]), row["row"]),
            log_time=row["log_time"],
            collect_time=row["collect_time"] or row["log_time"],
            event_time=row["event_time"],
            hit_type=row["hit_type"],
            visitor_key=f"{row['visitor_hi']:016x}{row['visitor_lo']:016x}",
            content_hash=row["content_hash"],
            excluded=row["excluded"],
            order_id=row["order_id"] or "",
            refund_id=row["refund_id"] or "",
            flags=row["flags"],
            hit_id=hit_id,
            batch_id=row["batch_id"] or "",
        )
        for row in rows.iter_rows(named=True)
    ]


def _inspected(hit: _Hit, original: _Hit | None, visitor_hits: pl.DataFrame, known: Known) -> InspectedCopy:
    entry = known.entries.get(hit.day)
    verdict = _verdict(hit, original, known)
    counts = verdict in (Verdict.COUNTED, Verdict.EXCLUDED)
    return InspectedCopy(
        at=hit.at,
        log_time=hit.log_time,
        collect_time=hit.collect_time,
        event_time=hit.event_time,
        hit_type=_HIT_TYPES.get(hit.hit_type, str(hit.hit_type)),
        visitor_key=hit.visitor_key,
        verdict=verdict,
        timeliness=_timeliness(hit),
        original=None if original is None else original.at,
        collides=original is not None and original.content_hash != hit.content_hash,
        order_id=hit.order_id,
        wins_order=_wins_order(hit, known) if counts else None,
        visit=_visit(hit, visitor_hits, known) if counts else None,
        cell=cell_of(hit.event_time),
        is_settled=entry is not None,
        generation=STREAM_GENERATION if entry is None else entry.generation,
        exclusion_reasons=tuple(flag.name or "" for flag in EXCLUDING_FLAGS if flag & hit.flags),
        hit_id=hit.hit_id,
        batch_id=hit.batch_id,
    )


def _is_copy_of(hit: _Hit, earlier: _Hit, known: Known) -> bool:
    """Return whether a hit is a copy of an earlier hit with the same id.

    If the hit's day is settled, settlement's rules decide; otherwise, the live stream's rules decide.
    """
    if abs(hit.event_time - earlier.event_time) > COPY_WINDOW_MS:
        return False
    if hit.day in known.entries:
        return True
    return not (hit.is_history or earlier.is_history) and hit.log_time - earlier.log_time <= COPY_LOG_MS


def _verdict(hit: _Hit, original: _Hit | None, known: Known) -> Verdict:
    """Return the outcome of a hit.

    If the settlement of the hit's day has not read the hit yet, the outcome is PENDING. If the day is not settled, and
    the stream does not count the hit, the outcome is PENDING too.
    """
    entry, position = known.entries.get(hit.day), hit.at[0]
    seen = known.committed if entry is None else entry.read_through
    is_seen = position.offset < seen.get(PartitionId(position.log, position.partition), 0)
    if not is_seen or (entry is None and hit.is_history):
        return Verdict.PENDING
    if original is not None:
        return Verdict.DUPLICATE
    return Verdict.EXCLUDED if hit.excluded else Verdict.COUNTED


def _timeliness(hit: _Hit) -> Timeliness:
    if hit.is_history:
        return Timeliness.HISTORY
    return Timeliness.ON_TIME if hit.log_time - hit.event_time <= LATENESS_MS else Timeliness.LATE


def _wins_order(hit: _Hit, known: Known) -> bool | None:
    """Return whether a counted ORDER or REFUND wins the id that it claims (rule D3).

    If the hit claims no id, return None.
    """
    if hit.hit_type == HitType.ORDER:
        kind, claimed = ClaimKind.ORDER, hit.order_id
    elif hit.hit_type == HitType.REFUND:
        kind, claimed = ClaimKind.REFUND, hit.refund_id
    else:
        return None
    if not claimed:
        return None
    winner = next(
        (
            claim
            for claim in known.claims
            if (claim.kind, claim.order_id, claim.excluded, claim.duplicate) == (kind, claimed, hit.excluded, False)
        ),
        None,
    )
    return winner is not None and (winner.position, winner.row) == hit.at


def _visit(hit: _Hit, visitor_hits: pl.DataFrame, known: Known) -> InspectedVisit | None:
    """Return a counted hit's visit. Return None for an orphan, and for a late hit that is not settled yet."""
    counts = ~find_copies(visitor_hits).is_copy
    if hit.day not in known.entries:
        counts &= are_on_time(visitor_hits["event_time"].to_numpy(), visitor_hits["log_time"].to_numpy())
    if not counts[hit.index]:
        return None
    hits = visitor_hits.filter(counts)
    logic, times = known.logic_of(hit.day), hits["event_time"].to_numpy()
    policies = policies_between(
        logic.policy(known.site.policy), known.site.policy_changes, int(times.min()), int(times.max())
    )
    visit_of, found = build_by_start(hits, no_open_visits(), policies, known.site.time_zone)
    number = int(visit_of[int(counts[: hit.index].sum())])
    if number == ORPHAN:
        return None
    start, landing = int(found.start[number]), int(found.landing[number])
    return InspectedVisit(
        visit_id=visit_id(known.site.name, hit.visitor_key, start, int(found.first_hash[number])),
        start=start,
        last=int(found.last[number]),
        hits=int(found.hits[number]),
        landing_page=(hits["page_path"][landing] or "") if landing >= 0 else "",
    )
