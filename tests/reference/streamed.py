"""The numbers of the stream before settlement: rules T4 and S7, and the stream's version of rules D1 to D3.

This module applies the rules of `settled` to the hits that the stream may use. Hits on closed days are pending, and
late hits belong to no visit. A copy is recognised only within 90 minutes of log time. A visit is counted in two steps:
while it is open, and when it ends. Drift is the settled number minus the streamed number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

from tests.reference.folded import folded, shown
from tests.reference.hits import RefHit
from tests.reference.settled import Entry, Settled, decide_orders, decide_refunds, hit_entries, visit_entries
from tests.reference.visits import COPY_WINDOW_MS, V1, RefPolicy, RefVisit, visits_of_one

MINUTE_MS = 60 * 1000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
ALLOWED_LATENESS_MS = 60 * MINUTE_MS
CLOSED_AFTER_MS = 26 * HOUR_MS
COPIES_KNOWN_MS = 90 * MINUTE_MS
EPOCH_MS = 15 * MINUTE_MS
KEPT_OF_VISITOR = 5_000

AT_ONCE = ("visits", "bounces", "entries", "order_visits")
"""Measures to which a visit contributes while it is open (S7)."""

SiteDay = tuple[str, int]
"""A pair of a site and a UTC day, in days since 1970-01-01."""


@dataclass
class Streamed(Settled):
    """The hits and visits as the stream counts them before settlement.

    Hits in `pending` do not count yet. Hits in `late` and `waiting` count outside visits.
    """

    pending: list[RefHit] = field(default_factory=list)
    late: list[RefHit] = field(default_factory=list)
    waiting: list[RefHit] = field(default_factory=list)
    open_visits: list[RefVisit] = field(default_factory=list)


def stream(
    hits: Iterable[RefHit],
    log_time: int | None = None,
    policy: RefPolicy = V1,
    texts_per_hour: int | None = None,
    kept_of_visitor: int = KEPT_OF_VISITOR,
) -> Streamed:
    """Return the result for all sites after all records up to `log_time`.

    If `log_time` is None, return the result after all records and after the end of every visit.

    The order of `hits` is irrelevant, because `position` gives the time and order of arrival. Hits that were logged
    after `log_time` are ignored. Texts beyond `texts_per_hour` are folded (S10). If `texts_per_hour` is None, no text
    is folded.
    """
    came = sorted((_as_logged(hit) for hit in hits), key=lambda hit: hit.position)
    came = [hit for hit in came if log_time is None or hit.position[0] <= log_time]
    streamed = Streamed(pending=[hit for hit in came if is_history(hit)])
    known = [hit for hit in came if not is_history(hit)]
    known = known if texts_per_hour is None else folded(known, texts_per_hour)
    streamed.copies = copies_in_the_stream(known)
    is_copy = {id(hit) for hit in streamed.copies}
    streamed.counted = [hit for hit in known if id(hit) not in is_copy]
    streamed.late = [hit for hit in streamed.counted if hit.is_late]
    streamed.waiting = waiting_in_the_stream(known, is_copy, kept_of_visitor)
    _build_visits(streamed, log_time, policy)
    decide_orders(streamed, streamed.pending)
    decide_refunds(streamed, streamed.pending, orders_are_known=False)
    streamed.entries = shown([*hit_entries(streamed), *_visit_entries(streamed)])
    return streamed


def is_history(hit: RefHit) -> bool:
    """Return whether the hit's UTC day was already closed at its log time (T4)."""
    day_end = (hit.event_time // DAY_MS + 1) * DAY_MS
    return hit.position[0] > day_end + CLOSED_AFTER_MS


def _as_logged(hit: RefHit) -> RefHit:
    """Return the hit with `is_late` as its log time requires (T4)."""
    is_late = hit.position[0] - hit.event_time > ALLOWED_LATENESS_MS
    return hit if hit.is_late == is_late else replace(hit, is_late=is_late)


def copies_in_the_stream(hits: Iterable[RefHit]) -> list[RefHit]:
    """Return the copies that the stream recognises among hits of open days, in log order (D1, D2).

    A hit is a copy of an earlier hit in log order under three conditions. The copy and the earlier hit have the same
    site, visitor and hit id. The event times differ by at most two hours. The log times differ by at most 90 minutes.
    The earlier hit may itself be a copy.
    """
    seen: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    copies = []
    for hit in sorted(hits, key=lambda hit: hit.position):
        log_time = hit.position[0]
        earlier = seen[hit.site, hit.visitor, hit.hit_id]
        if any(
            abs(hit.event_time - event_time) <= COPY_WINDOW_MS and log_time - taken <= COPIES_KNOWN_MS
            for event_time, taken in earlier
        ):
            copies.append(hit)
        earlier.append((hit.event_time, log_time))
    return copies


def waiting_in_the_stream(known: list[RefHit], copies: set[int], kept_of_visitor: int) -> list[RefHit]:
    """Return the hits that belong to no visit until settlement (S9).

    `known` must be in log order, without hits that arrived after their day had closed. Only visit-forming hits can
    wait: all on-time hits except copies and offline hits. A hit waits if two conditions hold. An earlier record
    contains a visit-forming hit of the same timeline, with the same or a later event time. The earlier records in the
    epochs of the last 90 minutes contain at least `kept_of_visitor` hits of the visitor.
    """
    taken: dict[tuple[str, str], list[int]] = defaultdict(list)
    latest: dict[tuple[str, str, bool], int] = {}
    waiting = []
    for _, in_record in groupby(known, key=lambda hit: hit.position[1:4]):
        record = list(in_record)
        first_epoch = record[0].position[0] // EPOCH_MS * EPOCH_MS - COPIES_KNOWN_MS
        forming = [hit for hit in record if not (id(hit) in copies or hit.is_late or hit.offline)]
        for hit in forming:
            kept = sum(log_time >= first_epoch for log_time in taken[hit.site, hit.visitor])
            is_behind = hit.event_time <= latest.get((hit.site, hit.visitor, hit.excluded), hit.event_time - 1)
            if kept >= kept_of_visitor and is_behind:
                waiting.append(hit)
        for hit in record:
            taken[hit.site, hit.visitor].append(hit.position[0])
        for hit in forming:
            timeline = (hit.site, hit.visitor, hit.excluded)
            latest[timeline] = max(hit.event_time, latest.get(timeline, hit.event_time))
    return waiting


def _build_visits(streamed: Streamed, log_time: int | None, policy: RefPolicy) -> None:
    """Build visits from the hits that are on time. Late and waiting hits belong to no visit, like orphans."""
    waits = {id(hit) for hit in streamed.waiting}
    timelines: dict[tuple[str, str, bool], list[RefHit]] = defaultdict(list)
    for hit in streamed.counted:
        if not hit.is_late and id(hit) not in waits:
            timelines[hit.site, hit.visitor, hit.excluded].append(hit)
    for timeline in timelines.values():
        visits, orphans = visits_of_one(timeline, policy)
        streamed.visits += visits
        streamed.orphans += orphans
    streamed.orphans += [*streamed.late, *streamed.waiting]
    streamed.open_visits = [
        visit for visit in streamed.visits if log_time is not None and log_time <= visit.last + policy.gap_ms
    ]


def _visit_entries(streamed: Streamed) -> Iterator[Entry]:
    wins = {id(hit) for hit in streamed.winners}
    is_open = {id(visit) for visit in streamed.open_visits}
    for visit in streamed.visits:
        entries = visit_entries(visit, any(id(hit) in wins for hit in visit.hits))
        yield from map(_at_once, entries) if id(visit) in is_open else entries


def _at_once(entry: Entry) -> Entry:
    """Return the contribution of an open visit (S7).

    The contribution lacks the exit page and all measures that only the end of the visit decides.
    """
    adds = {name: value for name, value in entry.adds.items() if name in AT_ONCE}
    return replace(entry, dimensions={**entry.dimensions, "exit_page": None}, adds=adds)


def drift(settled: Settled, streamed: Settled) -> dict[SiteDay, dict[str, int]]:
    """Return the drift (settled − streamed) per site-day and measure, without zeros (A8).

    Amounts of refunds of whole orders are not drift, because the stream cannot determine these amounts (D3).
    """
    after, before = totals(settled), totals(streamed)
    for site_day, micros in full_refunds(settled).items():
        after[site_day]["refunds"] -= micros
    differences = {
        site_day: {
            name: after.get(site_day, {}).get(name, 0) - before.get(site_day, {}).get(name, 0)
            for name in sorted({*after.get(site_day, {}), *before.get(site_day, {})})
        }
        for site_day in sorted({*after, *before})
    }
    not_zero = {site_day: {name: by for name, by in row.items() if by} for site_day, row in differences.items()}
    return {site_day: row for site_day, row in not_zero.items() if row}


def full_refunds(settled: Settled) -> dict[SiteDay, int]:
    """Return the micros of refunds of whole orders per site-day, without zeros."""
    sums: dict[SiteDay, int] = defaultdict(int)
    for hit in settled.counted:
        sums[hit.site, hit.event_time // DAY_MS] += settled.full_refunds.get(id(hit), 0)
    return {site_day: micros for site_day, micros in sums.items() if micros}


def totals(of: Settled) -> dict[SiteDay, dict[str, int]]:
    """Return the sums per site-day and measure. The sums include excluded hits and all currencies."""
    sums: dict[SiteDay, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in of.entries:
        for name, value in entry.adds.items():
            sums[entry.site, entry.instant_ms // DAY_MS][name] += value
    return sums
