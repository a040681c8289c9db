"""Test visitor counts beyond the capacity of a sketch.

The sketches are so small that the sketch of a row with 31 visitors contains only a sample of the visitors.

The content of a sample depends on how hits are divided into windows, so an estimate has several correct values. Every
sample contains exactly those visitors of the row whose hashes are below the threshold of the sample. A sample has at
least 2**lg_k visitors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count, islice
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from hitmesh.model.cells import Grain
from hitmesh.model.positions import Topic
from hitmesh.model.rows.rollup_rows import TRAFFIC_DIMENSIONS
from hitmesh.model.sites import Site, SiteDay
from hitmesh.model.sketches.theta import MAX_THETA, Theta
from hitmesh.model.sketches.unions import exact_limit, theta_hashes
from processor.settle.attempt import Attempt
from processor.stream.live.limits import PRODUCTION, Limits
from reporter.answer.series import Column, Exactness, Series
from reporter.question.catalogue import METRICS, Kind
from reporter.question.question import GapFill, Question
from reporter.rpc.answer import Answer
from tests.generate.arrivals import Arrival, in_slices
from tests.generate.scenarios import HOUR, MINUTE
from tests.generate.strategies import MIDNIGHT_MS
from tests.property.test_stream_properties import (
    ANY_MS,
    BEAT_MS,
    DAY,
    ON_TIME_MS,
    SEEDS,
    SITES,
    SLICE_MS,
    Stream,
    with_delays,
)
from tests.property.test_two_paths import answers_of_both_paths, days_around
from tests.reference.hits import NO_CAMPAIGN, RefHit, hash64
from tests.reference.report import METRICS as KNOWN_METRICS
from tests.reference.report import report
from tests.reference.settled import Entry, Settled, settle
from tests.reference.streamed import drift, stream
from tests.support.comparison import normal
from tests.support.dates import buckets
from tests.support.examples import examples
from tests.support.live_mesh import SMALLEST, partition_of
from tests.support.live_rows import ALL_DAYS, Seen
from tests.support.small_mesh import folded_rows, settler_stores, visitors_by_row
from tests.support.two_paths import report_of
from tests.support.unions import estimate, union

LG_K = 4
NOMINAL = 1 << LG_K
CROWD = SITES[0]
CELL = MIDNIGHT_MS + 10 * HOUR
DELAYS = ((0,), ON_TIME_MS, ANY_MS)
RECORD_HITS = (3, 400, 400)
LIMITS = st.sampled_from([replace(SMALLEST, lg_k=LG_K), replace(PRODUCTION, lg_k=LG_K)])
AWAY_MS = (*[0] * 8, 15 * MINUTE, 15 * HOUR)
CAMPAIGNS = (("shop", "email", "spring", ""), ("shop", "cpc", "", "click"))


@st.composite
def crowds(draw: st.DrawFn) -> list[RefHit]:
    """Draw the hits of 10 to 48 visitors in a cell. Some visitors return the next day.

    The visitors are all in the same partition, or in random partitions.
    """
    # Hypothesis first tries the simplest draws. The draws are chosen so that this first example has the most visitors,
    # all in a single partition.
    names = visitors_of(48 - draw(st.integers(0, 38)), of_one=not draw(st.booleans()))
    pages, from_campaigns, dice = draw(st.integers(1, 2)), draw(st.sampled_from((0, 0.05, 0.5))), Random(draw(SEEDS))
    return [
        RefHit(
            site=CROWD if dice.random() < 0.95 else SITES[1],
            visitor=name,
            hit_id=f"hit {number} of {name}",
            event_time=CELL + dice.choice(AWAY_MS) + dice.randrange(15 * MINUTE),
            type=dice.choice(("PAGE_VIEW", "PAGE_VIEW", "PAGE_VIEW", "ENGAGEMENT")),
            excluded=dice.random() < 0.03,
            campaign=dice.choice(CAMPAIGNS) if dice.random() < from_campaigns else NO_CAMPAIGN,
            page_path=f"/{dice.randrange(pages)}",
        )
        for name in names
        for number in range(dice.choice((1, 1, 2, 5)))
    ]


def visitors_of(how_many: int, *, of_one: bool) -> list[str]:
    """Return names of visitors, who are all in the first partition if `of_one` is true."""
    names = (f"visitor {number}" for number in count())
    return list(islice((name for name in names if not of_one or partition_of(view_of(name)) == 0), how_many))


def view_of(visitor: str) -> RefHit:
    """Return a visitor's page view at the start of CELL."""
    return RefHit(CROWD, visitor, f"view of {visitor}", CELL, page_path="/")


def entries_of(mesh: Stream, site: str, *, settled: bool) -> list[Entry]:
    """Return the entries that the reference gives for a site at the current time."""
    logged = mesh.logged[site]
    return (settle(logged) if settled else stream(logged, mesh.clock.now())).entries


def feed_through_crashes(mesh: Stream, sent: Sequence[Arrival], dice: Random) -> None:
    """Send all hits, in records and windows of random size. At times the processor dies at a random write."""
    for part in in_slices(sent, dice.choice(RECORD_HITS), SLICE_MS):
        mesh.arrive(part)
        if dice.random() < 0.6:
            mesh.step()
        if dice.random() < 0.2:
            if mesh.step_and_fail(dice):
                event("a write failed")
            mesh.crash()
    mesh.idle(beat_ms=BEAT_MS)
    mesh.runner.flush()


def hashes_of(visitors: Iterable[str]) -> list[int]:
    """Return the visitors' hashes in ascending order, as in a sketch that contains all these visitors."""
    keys = np.array([hash64("low", visitor) for visitor in visitors], np.uint64)
    return sorted(theta_hashes(keys).tolist())


def check_sketch(sketch: Theta, visitors: set[str], *, provisional: bool) -> None:
    """Check that the sketch contains all visitors whose hashes are below its threshold.

    The sketch may contain other visitors only if the row is provisional.
    """
    below = [hashed for hashed in hashes_of(visitors) if hashed < sketch.theta]
    kept = sketch.hashes.tolist()
    assert set(below) <= set(kept) if provisional else below == kept
    assert sketch.exact or len(kept) >= NOMINAL
    assert sketch.exact or provisional or len(visitors) > exact_limit(LG_K)
    assert sketch.lower_bound() <= estimate(sketch) <= sketch.upper_bound()


def check_rows(seen: Seen, entries: list[Entry]) -> None:
    """Compare the rows with the reference's rows, and the sketches with the reference's sets of visitors."""
    assert seen.changed(Seen(folded_rows(entries), frozenset())) == set()
    for key, visitors in visitors_by_row(entries).items():
        check_sketch(seen.sketches[key], visitors, provisional=key in seen.provisional)


def a_question(dice: Random, hits: Sequence[RefHit]) -> Question:
    """Return a question without dimensions that asks for all metrics that the reference knows."""
    days = days_around(hits)
    axis = buckets("UTC", days[0], days[-1], dice.choice((Grain.NONE, Grain.HOUR, Grain.DAY)))
    return Question(
        metrics=tuple(METRICS[name] for name in KNOWN_METRICS),
        buckets=axis,
        start=int(axis.starts[0]),
        end=int(axis.ends[-1]),
        dates=(days[0], days[-1]),
        gap_fill=GapFill.NONE,
        include_totals=False,
        include_excluded=dice.random() < 0.5,
        limit=100_000,
    )


def check_answers(mesh: Stream, dice: Random, *, settled: bool) -> None:
    """Compare both serving paths with the reference.

    The number of visitors must be exact or within the reported bounds.
    """
    for name in SITES:
        site, entries = mesh.stores.directory.site(name), entries_of(mesh, name, settled=settled)
        assert site is not None
        for _ in range(2):
            check_both(mesh, a_question(dice, mesh.logged[name]), site, entries)


def check_both(mesh: Stream, question: Question, site: Site, entries: list[Entry]) -> None:
    assert question.dates is not None
    expected = report(
        Settled(entries=entries),
        sites=[site.name],
        metrics=[metric.id for metric in question.metrics if metric.kind is not Kind.UNION],
        grain=question.buckets.grain.name,
        zone=question.zone,
        first_date=question.dates[0],
        last_date=question.dates[1],
        include_excluded=question.include_excluded,
    )
    for answer in answers_of_both_paths(mesh, question, site):
        assert report_of(without_visitors(answer)) == normal(expected)
        (visitors,) = (column for column in answer.rows.columns if column.metric.kind is Kind.UNION)
        check_visitors(answer.rows, visitors, entries)


def without_visitors(answer: Answer) -> Answer:
    kept = tuple(column for column in answer.rows.columns if column.metric.kind is not Kind.UNION)
    return replace(answer, rows=replace(answer.rows, columns=kept))


def check_visitors(rows: Series, column: Column, entries: list[Entry]) -> None:
    """Check that a number without bounds is exact. A number with bounds must come from a sample of valid size."""
    question, lower, upper = rows.question, column.lower, column.upper
    assert lower is not None
    assert upper is not None
    is_exact = np.isnan(lower)
    if column.exactness is not Exactness.SKETCH_PROVISIONAL:
        assert column.exactness is (Exactness.EXACT if is_exact.all() else Exactness.SKETCH)
    assert (column.relative_standard_error > 0) == (not is_exact.all())
    assert column.relative_standard_error <= NOMINAL**-0.5
    for place, bucket in enumerate(rows.buckets.tolist()):
        start, end = question.buckets.starts[bucket], question.buckets.ends[bucket]
        known = hashes_of(
            {
                entry.visitor
                for entry in entries
                if entry.visitor is not None
                and start <= entry.instant_ms < end
                and (question.include_excluded or not entry.excluded)
            }
        )
        value = column.values[place]
        if is_exact[place]:
            assert column.numerators[place] == value == len(known)
            continue
        assert len(known) > NOMINAL
        # The threshold of a sample is the hash of a visitor. The sample contains all hashes below its threshold.
        assert value in {kept / (float(known[kept]) / float(MAX_THETA)) for kept in range(NOMINAL, len(known))}
        assert lower[place] <= value <= upper[place]


def check_live_and_settled(mesh: Stream, hits: Sequence[RefHit], dice: Random) -> None:
    """Check rows and answers before and after settlement. A second settlement must change nothing."""
    feed_through_crashes(mesh, with_delays(hits, dice, dice.choice(DELAYS)), dice)
    for site in SITES:
        check_rows(mesh.seen(site), entries_of(mesh, site, settled=False))
    check_answers(mesh, dice, settled=False)
    sampled = sum(not sketch.exact for sketch in mesh.seen(CROWD).sketches.values())
    event(f"live: {sorted(exactness_of_visitors(mesh))}, {'some' if sampled else 'no'} row is a sample")
    mesh.idle(HOUR)
    mesh.settle()
    for site in SITES:
        check_rows(mesh.seen(site), entries_of(mesh, site, settled=True))
        check_drifts(mesh, site)
    check_answers(mesh, dice, settled=True)
    before = {site: mesh.stores.generations.current(site, *ALL_DAYS) for site in SITES}
    mesh.settle()
    assert mesh.settler.run_once() == 0
    assert {site: mesh.stores.generations.current(site, *ALL_DAYS) for site in SITES} == before


def check_drifts(mesh: Stream, site: str) -> None:
    """Check that only late hits cause drift. A sample with a different threshold must cause no drift."""
    logged = mesh.logged[site]
    expected = drift(settle(logged), stream(logged))
    found = mesh.stores.generations.drifts(site, *ALL_DAYS)
    for day, day_drift in found.items():
        assert day_drift.measures == expected.get((day.site, day.day), {})
        assert not day_drift.row_measures
        assert day_drift.confirmed == (not day_drift.rows_differ and not day_drift.sketch_provisional)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("visitors", [NOMINAL, exact_limit(LG_K), exact_limit(LG_K) + 1, 80])
def test_a_row_of_one_window_is_exact_up_to_the_limit_and_an_estimate_beyond_it(visitors: int) -> None:
    exactness = Exactness.EXACT if visitors <= exact_limit(LG_K) else Exactness.SKETCH
    with Stream(limits=replace(PRODUCTION, lg_k=LG_K)) as mesh:
        sent = [Arrival(CELL, view_of(name)) for name in visitors_of(visitors, of_one=True)]
        mesh.arrive(sent)
        mesh.step()
        for settled in (False, True):
            mesh.idle(HOUR)
            mesh.runner.flush()
            check_rows(mesh.seen(CROWD), entries_of(mesh, CROWD, settled=settled))
            check_answers(mesh, Random(visitors), settled=settled)
            assert exactness_of_visitors(mesh) == {exactness}
            mesh.settle()
        (day_drift,) = mesh.stores.generations.drifts(CROWD, *ALL_DAYS).values()
        assert day_drift.confirmed


def exactness_of_visitors(mesh: Stream) -> set[Exactness]:
    """Return the exactness that both serving paths report for visitors."""
    site = mesh.stores.directory.site(CROWD)
    assert site is not None
    both = answers_of_both_paths(mesh, a_question(Random(0), mesh.logged[CROWD]), site)
    return {column.exactness for answer in both for column in answer.rows.columns if column.metric.kind is Kind.UNION}


@pytest.mark.timeout(300)
@examples(2)
@given(crowds(), SEEDS, LIMITS)
def test_a_crowd_is_counted_within_bounds_through_any_crash(hits: list[RefHit], seed: int, limits: Limits) -> None:
    with Stream(limits=limits) as mesh:
        check_live_and_settled(mesh, hits, Random(seed))


@pytest.mark.long
@pytest.mark.timeout(300)
@examples(2)
@given(crowds(), SEEDS, LIMITS)
def test_a_crowd_on_files_is_counted_within_bounds_through_any_crash(
    hits: list[RefHit], seed: int, limits: Limits
) -> None:
    with Stream(url="embedded:HOME/data", limits=limits) as mesh:
        check_live_and_settled(mesh, hits, Random(seed))


@pytest.mark.long
@pytest.mark.timeout(300)
@examples(2)
@given(crowds(), SEEDS, LIMITS)
def test_any_order_of_arrival_is_settled_to_the_same_sketches(hits: list[RefHit], seed: int, limits: Limits) -> None:
    dice = Random(seed)
    with Stream(limits=limits) as first, Stream(limits=limits) as other:
        for mesh in (first, other):
            feed_through_crashes(mesh, with_delays(hits, dice, dice.choice(DELAYS)), dice)
            mesh.settle()
        for site, day in sorted({(hit.site, hit.event_time // DAY) for hit in hits}):
            site_day = SiteDay(site, day)
            assert stored_sketches(first, site_day) == stored_sketches(other, site_day)
            rows = settled_sketches(first, site_day)
            assert rows == settled_sketches(other, site_day)
            check_settled(rows, day, entries_of(first, site, settled=True))


def stored_sketches(mesh: Stream, site_day: SiteDay) -> list[tuple[object, ...]]:
    """Return the sketches of a settled day that the series store contains."""
    site, day = site_day
    generation = mesh.stores.generations.current(site, *ALL_DAYS)[day].generation
    stored = mesh.stores.series.read(site, day, day + 1, generation)
    return stored.select("cell", "excluded", "currency", "visitors").rows()


def settled_sketches(mesh: Stream, site_day: SiteDay) -> dict[tuple[object, ...], bytes]:
    """Settle the day without publishing it.

    Return the sketches of the day's rows, keyed by cell, excluded flag and dimensions.
    """
    before = {partition: done.next_offset for partition, done in mesh.stores.progress.progress(Topic.HITS).items()}
    settled = Attempt(settler_stores(mesh.stores), site_day, before, before, lg_k=LG_K).settle()
    assert settled is not None
    rows = pl.concat(settled.rows.traffic).select("cell", "excluded", *TRAFFIC_DIMENSIONS, "visitors").rows()
    return {tuple(key): sketch for *key, sketch in rows if sketch is not None}


def check_settled(found: dict[tuple[object, ...], bytes], day: int, entries: list[Entry]) -> None:
    """Check that the sketch of a settled row is exact up to the limit.

    Beyond the limit, the sketch must be a sample.
    """
    expected: dict[tuple[object, ...], set[str]] = {
        (cell, False, *dimensions): visitors
        for (_, with_excluded, _, cell, dimensions), visitors in visitors_by_row(entries).items()
        if not with_excluded and cell // DAY == day
    }
    included = {key: sketch for key, sketch in found.items() if not key[1]}
    assert included.keys() == expected.keys()
    for key, sketch in included.items():
        check_sketch(union([sketch]), expected[key], provisional=False)
        assert union([sketch]).exact == (len(expected[key]) <= exact_limit(LG_K))
