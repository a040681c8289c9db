"""Where a hit is and what became of it, from the stored hits of its visitors (answers of TraceHit).

Decides the verdict on every copy by the rules that count it: those of settlement where its day has been settled, those
of the live stream where it has not (rules D1 to D3, T4). The visit is the one that the stored hits of the day and of
its neighbours make: a visitor that never pauses may have been cut in another place before them. Pure; refuses to know
how hits are found.
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
from hitmesh.model.generations import GenerationEntry
from hitmesh.model.hit_types import HitType
from hitmesh.model.keys import hash64
from hitmesh.model.limits import COPY_LOG_MS, COPY_WINDOW_MS, LATENESS_MS
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.rows.stream_columns import STREAM_GENERATION
from hitmesh.model.sites import Site
from processor.rules.carry import no_open_visits
from processor.rules.copies import find_copies
from processor.rules.visits import ORPHAN, build_visits
from processor.stream.live.batch import are_on_time

_LOG_ORDER: Final = ("log_time", "log", "partition", "offset", "row")
_VISITOR: Final = ("visitor_hi", "visitor_lo")
_HIT_TYPES: Final = {int(hit_type): hit_type.name for hit_type in HitType}

HitAt = tuple[Position, int]
"""Where a hit is: its record's position and its row in it."""


class Verdict(Enum):
    """What became of a copy of a hit."""

    COUNTED = auto()
    DUPLICATE = auto()
    EXCLUDED = auto()
    PENDING = auto()


class Timeliness(Enum):
    """When a hit came (rule T4)."""

    ON_TIME = auto()
    LATE = auto()
    HISTORY = auto()


@dataclass(frozen=True, slots=True)
class TracedVisit:
    """A visit; `hits` are those so far."""

    visit_id: str
    start: int
    last: int
    hits: int
    landing_page: str


@dataclass(frozen=True, slots=True)
class TracedCopy:
    """One copy of a hit. Times in UTC ms; order and visit are None where it does not count, or is in none."""

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
    visit: TracedVisit | None
    cell: int
    is_settled: bool
    generation: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the hits.

    Attributes:
        site: whose hits they are.
        entries: the published entry per UTC day that has one.
        committed: below which offset the stream has counted, per partition.
        claims: on the orders and refunds among the hits, those on one id in log order.
    """

    site: Site
    entries: Mapping[int, GenerationEntry]
    committed: Mapping[PartitionId, int]
    claims: Sequence[OrderClaim]


@dataclass(frozen=True, slots=True)
class _Hit:
    """A copy among the hits of its visitor, where it is number `index`."""

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

    @property
    def day(self) -> int:
        """The UTC day of the hit."""
        return utc_day_of(self.event_time)

    @property
    def is_history(self) -> bool:
        """Whether its day had closed when the log took it."""
        return is_closed(self.day, self.log_time)


def trace(hits: pl.DataFrame, hit_id: str, known: Known) -> list[TracedCopy]:
    """Return every copy of a hit, in log order; one id may be of several visitors, and then they are several hits.

    Args:
        hits: TRACE_COLUMNS of processor.inspect.search, of all hits of the visitors concerned on the days around; in
            any order, none twice.
        hit_id: whose copies.
        known: what else is known.
    """
    copies: list[TracedCopy] = []
    for _, own in hits.sort(_LOG_ORDER).group_by(_VISITOR, maintain_order=True):
        found = _hits_of_id(own, hit_id)
        for number, hit in enumerate(found):
            original = next((earlier for earlier in found[:number] if _is_copy_of(hit, earlier, known)), None)
            copies.append(_traced(hit, original, own, known))
    return sorted(copies, key=lambda copy: (copy.log_time, *copy.at))


def visit_id(site: str, visitor_key: str, start: int, first_hash: int) -> str:
    """Return the id of a visit, 16 hexadecimal digits (rule S6)."""
    return f"{hash64(site, visitor_key, str(start), f'{first_hash:016x}'):016x}"


def _hits_of_id(own: pl.DataFrame, hit_id: str) -> list[_Hit]:
    rows = own.with_row_index("index").filter(pl.col("hit_id") == hit_id)
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
        )
        for row in rows.iter_rows(named=True)
    ]


def _traced(hit: _Hit, original: _Hit | None, own: pl.DataFrame, known: Known) -> TracedCopy:
    entry = known.entries.get(hit.day)
    verdict = _verdict(hit, original, known)
    counts = verdict in (Verdict.COUNTED, Verdict.EXCLUDED)
    return TracedCopy(
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
        visit=_visit(hit, own, known) if counts else None,
        cell=cell_of(hit.event_time),
        is_settled=entry is not None,
        generation=STREAM_GENERATION if entry is None else entry.generation,
    )


def _is_copy_of(hit: _Hit, earlier: _Hit, known: Known) -> bool:
    """Return whether a hit is a copy of an earlier one of its id, by the rules of whoever counts its day."""
    if abs(hit.event_time - earlier.event_time) > COPY_WINDOW_MS:
        return False
    if hit.day in known.entries:
        return True
    return not (hit.is_history or earlier.is_history) and hit.log_time - earlier.log_time <= COPY_LOG_MS


def _verdict(hit: _Hit, original: _Hit | None, known: Known) -> Verdict:
    """Return what became of a hit: nothing yet, where what was published or counted ends before its record."""
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
    """Return whether an ORDER or a REFUND that counts holds its id (rule D3); None of other hits."""
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


def _visit(hit: _Hit, own: pl.DataFrame, known: Known) -> TracedVisit | None:
    """Return the visit of a hit that counts; None of an orphan, and of a late one that is not settled yet."""
    counts = ~find_copies(own).is_copy
    if hit.day not in known.entries:
        counts &= are_on_time(own["event_time"].to_numpy(), own["log_time"].to_numpy())
    if not counts[hit.index]:
        return None
    hits = own.filter(counts)
    visits = build_visits(hits, no_open_visits(), known.site.policy, known.site.time_zone)
    number = int(visits.visit_of[int(counts[: hit.index].sum())])
    if number == ORPHAN:
        return None
    found = visits.visits
    start, landing = int(found.start[number]), int(found.landing[number])
    return TracedVisit(
        visit_id=visit_id(known.site.name, hit.visitor_key, start, int(found.first_hash[number])),
        start=start,
        last=int(found.last[number]),
        hits=int(found.hits[number]),
        landing_page=(hits["page_path"][landing] or "") if landing >= 0 else "",
    )
