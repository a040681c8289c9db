"""Reading what a question needs and putting the answer together; shared by RunReport and ExportReport.

Decides which path is tried after which one failed. The order of reads is the promise behind `complete_through` (rule
P15): what the store has taken in, then how the sites stand (reporter.answer.standing), then rows; the version is read
again behind the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from hitmesh.model.errors import Unavailable
from hitmesh.model.rows.stream_columns import STREAM_GENERATION
from hitmesh.model.sites import Site, SiteDay
from hitmesh.model.waiting_visits import days_with_provisional_visits
from reporter.answer.freshness import Freshness, freshness
from reporter.answer.parts import Parts, combine, with_folded
from reporter.answer.paths import Told, asked, reach_of
from reporter.answer.route import Path, Route, route
from reporter.answer.series import Series, series
from reporter.answer.standing import Reach, Standing, days_between, remembered
from reporter.answer.visits import resting_on_visits
from reporter.question.asked import Question
from reporter.question.plan import excluded_hits_leg, folded_leg, legs
from reporter.rpc.backend import Backend

_VERSION_READS: Final = 3


@dataclass(frozen=True)
class Answer:
    """A series, its totals, and how they came about. Times in UTC ms."""

    sites: tuple[Site, ...]
    currency: str
    rows: Series
    totals: Series | None
    freshness: Freshness
    data_version: str
    missing_currencies: tuple[str, ...]
    excluded_hits: int
    store_rows: int
    elapsed_ms: int
    query_id: str
    warnings: tuple[str, ...]
    path: Path

    @property
    def question(self) -> Question:
        """What was asked."""
        return self.rows.question

    @property
    def policy_version(self) -> str:
        """The visit policies of the sites."""
        return ",".join(sorted({site.policy.version for site in self.sites}))


def answer(
    backend: Backend, question: Question, sites: tuple[Site, ...], currency: str, warnings: Sequence[str]
) -> Answer:
    """Returns the answer to a checked question about some sites.

    Raises:
        RefusedError: TOO_MANY_ROWS.
        Unavailable: no store that can answer does.
    """
    began, query_id = backend.clock.now(), backend.new_token()[:16]
    found = _find_on_a_path(backend, _Asked(question, sites, currency, query_id))
    rows = series(question, found.parts, backend.checkpoint)
    backend.checkpoint()
    missing = found.parts.missing_currencies
    return Answer(
        sites=sites,
        currency=currency,
        rows=rows,
        totals=None if found.totals is None else series(question.of_totals(), found.totals, backend.checkpoint),
        freshness=found.freshness,
        data_version=found.version,
        missing_currencies=missing,
        excluded_hits=found.excluded_hits,
        store_rows=found.store_rows,
        elapsed_ms=max(0, backend.clock.now() - began),
        query_id=query_id,
        warnings=(*warnings, *found.warnings, *rows.warnings, *_currency_warnings(missing, currency)),
        path=found.path,
    )


def read_standing(backend: Backend, sites: Sequence[Site], days: range, reach: Reach) -> Standing:
    """Returns how sites stand; as it was at most five minutes ago when nobody says.

    Raises:
        Unavailable: nobody says, and it is not remembered.
    """
    now = backend.clock.now()
    try:
        standing = backend.breakers.books.call(backend.clock, lambda: backend.books.read(sites, days, reach, now))
    except Unavailable as error:
        return remembered(backend.known, sites, days, reach.hits, now, error)
    backend.known.keep(tuple(site.name for site in sites), standing)
    return standing


@dataclass(frozen=True)
class _Asked:
    """A question as it came."""

    question: Question
    sites: tuple[Site, ...]
    currency: str
    query_id: str


@dataclass(frozen=True)
class _Found:
    """What a store said, all of it of one version, unless it has a version of its own."""

    path: Path
    freshness: Freshness
    version: str
    is_pinned: bool
    parts: Parts
    totals: Parts | None
    excluded_hits: int
    store_rows: int
    warnings: tuple[str, ...]


def _find_on_a_path(backend: Backend, one: _Asked) -> _Found:
    """Returns what the first path says that answers."""
    way = route(one.question, len(one.sites))
    failures: list[Unavailable] = []
    for path in way.paths:
        backend.checkpoint()
        try:
            found = _find_at_one_version(backend, path, one)
        except Unavailable as error:
            failures.append(error)
            continue
        if found is not None:
            notes = tuple(f"the store of series does not answer: this is from the store of {path}" for _ in failures)
            return replace(found, warnings=(*notes, *found.warnings))
    raise _unanswered(backend, way, failures)


def _unanswered(backend: Backend, way: Route, failures: Sequence[Unavailable]) -> Unavailable:
    """Returns what to tell when no path answers: when to come again, and what can be asked meanwhile."""
    retry_after_s = max(error.retry_after_s for error in failures)
    message = "; ".join(dict.fromkeys(error.message for error in failures))
    if not way.is_fixed_shape and backend.breakers.metrics.is_pausing(backend.clock.now()):
        message += ". Totals over time of one site, without dimensions and filter, do not need this store"
    return Unavailable(message, retry_after_s=retry_after_s)


def _find_at_one_version(backend: Backend, path: Path, one: _Asked) -> _Found | None:
    """Returns what belongs to one version: read again when rows were committed or published meanwhile.

    Where they never stop coming, or the store has not taken in all that was committed, the answer has a version that
    no other answer has: it cannot be had again. None where series do not tell.
    """
    for _ in range(_VERSION_READS):
        backend.checkpoint()
        found = _find(backend, path, one)
        if found is None or not found.is_pinned:
            break
        if _version_now(backend, one.sites) == found.version:
            return found
    return found and replace(found, version=f"{found.version}.q{one.query_id}")


def _version_now(backend: Backend, sites: Sequence[Site]) -> str | None:
    """Returns the version; None when nobody says."""
    try:
        return backend.breakers.books.call(backend.clock, lambda: backend.books.version(sites))
    except Unavailable:
        return None


def _find(backend: Backend, path: Path, one: _Asked) -> _Found | None:
    """Reads once, in the order that is the promise."""
    question, sites = one.question, one.sites
    reach = reach_of(backend, path)
    standing = read_standing(backend, sites, days_between(question.start, question.end), reach)
    reached = freshness(sites, standing.progress, standing.waiting, backend.clock.now())
    own = legs(question, standing.generations)
    whole = question.of_totals()
    has_own_totals = question.include_totals and (bool(question.dimensions) or question.has_time)
    of_totals = legs(whole, standing.generations) if has_own_totals else ()
    excluded = excluded_hits_leg(question, standing.generations)
    folded = [(leg, of_leg) for leg in own if (of_leg := folded_leg(question, leg)) is not None]
    planned = (*own, *of_totals, *(of_leg for _, of_leg in folded), *([excluded] if excluded else []))
    told = asked(backend, path, sites, planned, standing.generations)
    if told is None:
        return None
    answered = list(zip(planned, told.tables, strict=True))
    begin = len(own) + len(of_totals)
    counted = [(leg, rows) for (leg, _), (_, rows) in zip(folded, answered[begin : begin + len(folded)], strict=True)]
    visits_wait = _visits_wait(backend, question, standing.generations)
    own_parts = with_folded(combine(question, answered[: len(own)], one.currency), counted)
    parts = replace(own_parts, of_waiting_visits=resting_on_visits(question) if visits_wait else frozenset())
    totals = parts if question.include_totals else None
    if has_own_totals:
        of_all = with_folded(combine(whole, answered[len(own) : begin], one.currency), counted)
        totals = replace(of_all, of_waiting_visits=resting_on_visits(whole) if visits_wait else frozenset())
    return _Found(
        path=path,
        freshness=reached,
        version=standing.version,
        is_pinned=standing.is_caught_up,
        parts=parts,
        totals=totals,
        excluded_hits=_excluded_hits(told) if excluded else 0,
        store_rows=told.rows,
        warnings=_age_warnings(standing, backend.clock.now()),
    )


def _visits_wait(backend: Backend, question: Question, generations: Mapping[SiteDay, int]) -> bool:
    """Returns whether hits of the days that the stream answers for are in no visit yet; yes where nobody says.

    Read behind the rows: a hit that waits is noted before it is in any row.
    """
    if not resting_on_visits(question):
        return False
    days: dict[str, list[int]] = {}
    for (site, day), generation in generations.items():
        if generation == STREAM_GENERATION:
            days.setdefault(site, []).append(day)

    def wait() -> bool:
        return any(
            days_with_provisional_visits(partial(backend.ledger.waiting, site), min(of_site), max(of_site) + 1)
            & {*of_site}
            for site, of_site in days.items()
        )

    try:
        return backend.breakers.books.call(backend.clock, wait)
    except Unavailable:
        return True


def _excluded_hits(told: Told) -> int:
    return int(told.tables[-1]["excluded_hits"].sum())


def _age_warnings(standing: Standing, now_ms: int) -> tuple[str, ...]:
    if not standing.is_remembered:
        return ()
    age_s = (now_ms - standing.read_at) // 1_000
    return (f"what is settled is as known {age_s} s ago: the store that says so does not answer",)


def _currency_warnings(missing: Sequence[str], currency: str) -> tuple[str, ...]:
    if not missing:
        return ()
    return (f"amounts in {', '.join(missing)} are left out: money is in {currency}",)
