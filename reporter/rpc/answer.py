"""Reads the data for a question, and builds the answer, for RunReport and ExportReport.

If a store is unavailable, the next path of the route is tried. The order of reads makes `complete_through` correct
(rule P15): first the store's progress, then the sites' settlement state (reporter.answer.standing), then the rows.
After the rows are read, the version is read again, to detect rows that were committed or published in the meantime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from hitmesh.model.errors import Unavailable
from hitmesh.model.generations import is_streamed
from hitmesh.model.sites import Site, SiteDay
from hitmesh.model.waiting_visits import days_with_provisional_visits
from hitmesh.model.zones import DAY_MS
from reporter.answer.freshness import CellState, Freshness, freshness, pinned_freshness
from reporter.answer.parts import Parts, combine, with_folded
from reporter.answer.paths import Fetched, reach_of, read_legs
from reporter.answer.pins import Pin, token_of
from reporter.answer.route import Path, Route, route
from reporter.answer.series import Series, series
from reporter.answer.standing import Reach, Standing, days_between, remembered
from reporter.answer.visits import resting_on_visits
from reporter.question.plan import excluded_hits_leg, folded_leg, legs
from reporter.question.question import Question
from reporter.rpc.backend import Backend

_VERSION_READS: Final = 3


@dataclass(frozen=True)
class Answer:
    """A series with totals and provenance. All times are UTC ms."""

    sites: tuple[Site, ...]
    currency: str
    rows: Series
    totals: Series | None
    freshness: Freshness
    data_version: str
    is_pinnable: bool
    logic_versions: tuple[str, ...]
    missing_currencies: tuple[str, ...]
    excluded_hits: int
    store_rows: int
    elapsed_ms: int
    query_id: str
    warnings: tuple[str, ...]
    path: Path

    @property
    def question(self) -> Question:
        """The answered question."""
        return self.rows.question

    @property
    def policy_version(self) -> str:
        """The sites' visit policies on the UTC days of the range, comma-separated."""
        first, end = self.question.start // DAY_MS, -(-self.question.end // DAY_MS)
        return ",".join(sorted({policy.version for site in self.sites for policy in site.policies(first, end)}))


def answer(
    backend: Backend,
    question: Question,
    sites: tuple[Site, ...],
    currency: str,
    warnings: Sequence[str],
    pin: Pin | None = None,
) -> Answer:
    """Return the answer to a checked question about some sites.

    The answer is at the data version `pin`, or at the current version if `pin` is None.

    Raises:
        RefusedError: the answer needs too many rows (TOO_MANY_ROWS), or the version is no longer kept
            (DATA_VERSION_EXPIRED, DATA_VERSION_ERASED).
        Unavailable: no store that could answer is available.
    """
    began, query_id = backend.clock.now(), backend.new_token()[:16]
    found = _find_on_a_path(backend, _Request(question, sites, currency, query_id, pin))
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
        is_pinnable=found.is_settled,
        logic_versions=found.logic_versions,
        missing_currencies=missing,
        excluded_hits=found.excluded_hits,
        store_rows=found.store_rows,
        elapsed_ms=max(0, backend.clock.now() - began),
        query_id=query_id,
        warnings=(*warnings, *found.warnings, *rows.warnings, *_currency_warnings(missing, currency)),
        path=found.path,
    )


def read_standing(backend: Backend, sites: Sequence[Site], days: range, reach: Reach) -> Standing:
    """Return the sites' settlement state.

    If the state's stores are unavailable, return a remembered state that is at most 5 min old.

    Raises:
        Unavailable: the settlement state is unavailable, and no recent settlement state is remembered.
    """
    now = backend.clock.now()
    try:
        standing = backend.breakers.books.call(backend.clock, lambda: backend.books.read(sites, days, reach, now))
    except Unavailable as error:
        return remembered(backend.known, sites, days, reach.hits, now, error)
    backend.known.keep(tuple(site.name for site in sites), standing)
    return standing


def read_pinned(backend: Backend, sites: Sequence[Site], days: range, pin: Pin) -> Standing:
    """Return the sites' settlement state at an earlier version.

    Raises:
        RefusedError: the version is no longer kept (DATA_VERSION_EXPIRED, DATA_VERSION_ERASED).
        Unavailable: the settlement state is unavailable.
    """
    now = backend.clock.now()
    return backend.breakers.books.call(backend.clock, lambda: backend.books.read_pinned(sites, days, pin, now))


@dataclass(frozen=True)
class _Request:
    """A question with its sites and its query id.

    If the report is at an earlier version, `pin` is the earlier version.
    """

    question: Question
    sites: tuple[Site, ...]
    currency: str
    query_id: str
    pin: Pin | None = None

    @property
    def days(self) -> range:
        """The UTC days that the question touches."""
        return days_between(self.question.start, self.question.end)


@dataclass(frozen=True)
class _Found:
    """The data that was read from a store.

    All data has the version `version`, unless this version is unique to the answer. If the version is unique, parts of
    the data may have different versions.

    `is_settled`: every day of the question is settled, so the version depends on `sequences` only. `is_caught_up`: the
    store held all committed records.
    """

    path: Path
    freshness: Freshness
    sequences: int
    version: str
    logic_versions: tuple[str, ...]
    is_settled: bool
    is_caught_up: bool
    parts: Parts
    totals: Parts | None
    excluded_hits: int
    store_rows: int
    warnings: tuple[str, ...]


def _find_on_a_path(backend: Backend, request: _Request) -> _Found:
    """Return the data from the first path that answers."""
    way = route(request.question, len(request.sites))
    failures: list[Unavailable] = []
    for path in way.paths:
        backend.checkpoint()
        try:
            found = _find_at_one_version(backend, path, request)
        except Unavailable as error:
            failures.append(error)
            continue
        if found is not None:
            notes = tuple(f"the series store is unavailable: this answer is from the store of {path}" for _ in failures)
            return replace(found, warnings=(*notes, *found.warnings))
    raise _unanswered(backend, way, failures)


def _unanswered(backend: Backend, way: Route, failures: Sequence[Unavailable]) -> Unavailable:
    """Return the error for a question that no path answers; the message states which questions still work."""
    retry_after_s = max(error.retry_after_s for error in failures)
    message = "; ".join(dict.fromkeys(error.message for error in failures))
    if not way.is_fixed_shape and backend.breakers.metrics.is_pausing(backend.clock.now()):
        message += ". One site's totals over time, without dimensions and filter, do not need this store"
    return Unavailable(message, retry_after_s=retry_after_s, paths=", ".join(way.paths))


def _find_at_one_version(backend: Backend, path: Path, request: _Request) -> _Found | None:
    """Return the data for a question at a single version, or None if the series cannot answer.

    If rows were committed or published during the read, the data is read again.

    If the version changes during each of three reads, the answer is not reproducible, and gets a unique version. The
    answer also gets a unique version if a day of the question is not settled and the store lags behind the committed
    positions.
    """
    for _ in range(_VERSION_READS):
        backend.checkpoint()
        found = _find(backend, path, request)
        if found is None or request.pin is not None:
            return found
        if not (found.is_settled or found.is_caught_up):
            break
        if _is_unchanged(backend, request.sites, found):
            return found
    return found and replace(found, version=f"{found.version}.q{request.query_id}", is_settled=False)


def _is_unchanged(backend: Backend, sites: Sequence[Site], found: _Found) -> bool:
    """Return whether the version is unchanged since the data was read.

    If the settlement state is unavailable, return False.
    """
    books = backend.books
    try:
        if found.is_settled:
            return backend.breakers.books.call(backend.clock, lambda: books.sequences(sites)) == found.sequences
        return backend.breakers.books.call(backend.clock, lambda: books.version(sites)) == found.version
    except Unavailable:
        return False


def _standing(backend: Backend, path: Path, request: _Request) -> tuple[Standing, Freshness]:
    """Return the settlement state and its freshness, at the requested data version.

    By default, the current version is used.
    """
    if request.pin is not None:
        return read_pinned(backend, request.sites, request.days, request.pin), pinned_freshness(request.pin.days.stop)
    standing = read_standing(backend, request.sites, request.days, reach_of(backend, path))
    return standing, freshness(request.sites, standing.progress, standing.waiting, backend.clock.now())


def _settled_version(question: Question, sites: Sequence[Site], standing: Standing, reached: Freshness) -> str | None:
    """Return the version that a later report can request, or None if a cell of the question is not settled.

    If every cell is settled, only a publication can change the answer.
    """
    is_final = reached.state_between(question.start, question.end) is CellState.SETTLED and bool(standing.days)
    if standing.pin is None or standing.is_remembered or not is_final:
        return None
    return token_of(standing.pin, sites)


def _find(backend: Backend, path: Path, request: _Request) -> _Found | None:
    """Read the data once, in the order that makes `complete_through` correct (rule P15)."""
    question, sites = request.question, request.sites
    standing, reached = _standing(backend, path, request)
    settled_version = _settled_version(question, sites, standing, reached)
    row_legs = legs(question, standing.generations)
    whole = question.of_totals()
    has_own_totals = question.include_totals and (bool(question.dimensions) or question.has_time)
    of_totals = legs(whole, standing.generations) if has_own_totals else ()
    excluded = excluded_hits_leg(question, standing.generations)
    folded = [(leg, of_leg) for leg in row_legs if (of_leg := folded_leg(question, leg)) is not None]
    planned = (*row_legs, *of_totals, *(of_leg for _, of_leg in folded), *([excluded] if excluded else []))
    fetched = read_legs(backend, path, sites, planned, standing)
    if fetched is None:
        return None
    answered = list(zip(planned, fetched.tables, strict=True))
    begin = len(row_legs) + len(of_totals)
    counted = [(leg, rows) for (leg, _), (_, rows) in zip(folded, answered[begin : begin + len(folded)], strict=True)]
    visits_wait = settled_version is None and _visits_wait(backend, question, standing.generations)
    own_parts = with_folded(combine(question, answered[: len(row_legs)], request.currency), counted)
    parts = replace(own_parts, of_waiting_visits=resting_on_visits(question) if visits_wait else frozenset())
    totals = parts if question.include_totals else None
    if has_own_totals:
        of_all = with_folded(combine(whole, answered[len(row_legs) : begin], request.currency), counted)
        totals = replace(of_all, of_waiting_visits=resting_on_visits(whole) if visits_wait else frozenset())
    return _Found(
        path=path,
        freshness=reached,
        sequences=standing.sequences,
        version=settled_version or standing.version,
        logic_versions=standing.logic_versions,
        is_settled=settled_version is not None,
        is_caught_up=standing.is_caught_up,
        parts=parts,
        totals=totals,
        excluded_hits=_excluded_hits(fetched) if excluded else 0,
        store_rows=fetched.rows,
        warnings=_age_warnings(standing, backend.clock.now()),
    )


def _visits_wait(backend: Backend, question: Question, generations: Mapping[SiteDay, int]) -> bool:
    """Return whether any hit waits for a visit on the days whose rows come from the live stream.

    If the ledger is unavailable, return True.

    Call this function after the rows are read: the stream first records that a hit waits, and then stores the row with
    the hit.
    """
    if not resting_on_visits(question):
        return False
    days: dict[str, list[int]] = {}
    for (site, day), generation in generations.items():
        if is_streamed(generation):
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


def _excluded_hits(fetched: Fetched) -> int:
    return int(fetched.tables[-1]["excluded_hits"].sum())


def _age_warnings(standing: Standing, now_ms: int) -> tuple[str, ...]:
    if not standing.is_remembered:
        return ()
    age_s = (now_ms - standing.read_at) // 1_000
    return (f"settlement state is {age_s} s old: the generation store is unavailable",)


def _currency_warnings(missing: Sequence[str], currency: str) -> tuple[str, ...]:
    if not missing:
        return ()
    return (f"amounts in {', '.join(missing)} are left out: the report is in {currency}",)
