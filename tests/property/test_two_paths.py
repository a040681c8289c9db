"""Both serving paths answer every question of fixed shape with the numbers of the reference (A11)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given

from hitmesh.model.cells import Grain
from hitmesh.model.sites import Site
from reporter.answer.route import Path
from reporter.question.catalogue import METRICS
from reporter.question.question import GapFill, Question
from reporter.rpc.answer import Answer, answer
from tests.generate.scenarios import HOUR, MINUTE
from tests.property.test_stream_properties import ANY_MS, BEAT_MS, SEEDS, SITES, Stream, stream_hits, with_delays
from tests.reference.hits import RefHit
from tests.reference.report import METRICS as KNOWN_METRICS
from tests.reference.report import report
from tests.reference.settled import Entry, Settled, settle
from tests.reference.streamed import stream
from tests.support.comparison import normal
from tests.support.dates import buckets
from tests.support.examples import examples
from tests.support.two_paths import Faulty, check_same, report_of

ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
GRAINS = (Grain.NONE, Grain.HOUR, Grain.DAY, Grain.WEEK, Grain.MONTH)
QUESTIONS = 6


def a_fixed_question(dice: Random, days: Sequence[dt.date]) -> Question:
    """Return a random question of fixed shape about some of the days, with metrics that the reference knows."""
    zone, first = dice.choice(ZONES), dice.choice(days)
    last = min(first + dt.timedelta(days=dice.choice((0, 1, 2, 9, 40))), max(days))
    axis = buckets(zone, first, last, dice.choice(GRAINS))
    names = dice.sample(KNOWN_METRICS, dice.randint(1, len(KNOWN_METRICS)))
    return Question(
        metrics=tuple(METRICS[name] for name in names),
        buckets=axis,
        start=int(axis.starts[0]),
        end=int(axis.ends[-1]),
        dates=(first, last),
        gap_fill=GapFill.NONE,
        include_totals=dice.random() < 0.5,
        include_excluded=dice.random() < 0.5,
        limit=100_000,
    )


def days_around(hits: Sequence[RefHit]) -> list[dt.date]:
    """Return the UTC dates of the hits, together with the date before and the date after each of these dates."""
    dates = {dt.datetime.fromtimestamp(hit.event_time / 1_000, dt.UTC).date() for hit in hits}
    around = {date + dt.timedelta(days=shift) for date in dates for shift in (-1, 0, 1)}
    return sorted(around or {dt.date(2026, 3, 5)})


def answers_of_both_paths(mesh: Stream, question: Question, site: Site) -> tuple[Answer, Answer]:
    """Return the answer from the series store and the answer from the metric store.

    For the second answer, the series store is unavailable.
    """
    from_series = answer(Faulty(mesh.stores, mesh.clock).backend, question, (site,), site.currency, ())
    without = Faulty(mesh.stores, mesh.clock)
    without.series.is_silent = True
    from_metrics = answer(without.backend, question, (site,), site.currency, ())
    assert (from_series.path, from_metrics.path) == (Path.SERIES, Path.METRICS)
    return from_series, from_metrics


def check_paths(mesh: Stream, dice: Random, entries: dict[str, list[Entry]]) -> None:
    """Check that both serving paths give the reference's answers to a few questions."""
    mesh.runner.flush()
    for name in SITES:
        site = mesh.stores.directory.site(name)
        assert site is not None
        for _ in range(QUESTIONS):
            question = a_fixed_question(dice, days_around(mesh.logged[name]))
            both = answers_of_both_paths(mesh, question, site)
            check_same(*both)
            assert question.dates is not None
            expected = report(
                Settled(entries=entries[name]),
                sites=[name],
                metrics=[metric.id for metric in question.metrics],
                grain=question.buckets.grain.name,
                zone=question.zone,
                first_date=question.dates[0],
                last_date=question.dates[1],
                include_excluded=question.include_excluded,
            )
            assert report_of(both[0]) == normal(expected)


def streamed_entries(mesh: Stream) -> dict[str, list[Entry]]:
    """Return the entries that the reference gives for the live stream at this moment."""
    return {site: stream(mesh.logged[site], mesh.clock.now(), mesh.policy).entries for site in SITES}


@pytest.mark.timeout(300)
@examples(5)
@given(stream_hits(), SEEDS)
def test_both_paths_answer_live_days_like_the_reference(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    sent = with_delays(hits, dice, ANY_MS)
    cut = dice.randint(0, len(sent))
    with Stream() as mesh:
        for part in (sent[:cut], sent[cut:]):
            mesh.feed(part, dice)
            mesh.idle(dice.choice((0, 31 * MINUTE)), beat_ms=BEAT_MS)
            check_paths(mesh, dice, streamed_entries(mesh))


@pytest.mark.timeout(300)
@examples(3)
@given(stream_hits(), SEEDS)
def test_both_paths_answer_settled_days_like_the_reference(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    with Stream() as mesh:
        mesh.feed(with_delays(hits, dice, ANY_MS), dice)
        mesh.idle(HOUR)
        mesh.settle()
        check_paths(mesh, dice, {site: settle(mesh.logged[site]).entries for site in SITES})
