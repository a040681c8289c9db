"""Cassandra's series, Druid's rows, rows in memory and the reference must give the same numbers (decision A11)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.limits import MAX_LEAD_MS
from hitmesh.model.rows.rollup_rows import RowSource
from reporter.answer.route import Path
from reporter.answer.series import Exactness, Series
from reporter.question.catalogue import VISITORS, Kind
from reporter.rpc.answer import Answer
from reporter.rpc.explain_report import explain_report
from tests.real.paths.questions import Dice, SiteQuestion, keeps
from tests.real.paths.traffic import FIRST_DAY, SITES, sent
from tests.real.paths.twins import Twin, Twins
from tests.reference.hits import Position
from tests.reference.report import Report, Value, report
from tests.reference.settled import Settled
from tests.support.comparison import normal
from tests.support.dates import a_date
from tests.support.removal import remove_mesh
from tests.support.servers import a_mesh
from tests.support.small_mesh import PARTITIONS
from tests.support.two_paths import Faulty, check_same

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

FIXED_QUESTIONS = 40
AD_HOC_QUESTIONS = 36
AD_HOC_SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 4))]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    made = a_mesh(SchemaOptions(hits_partitions=PARTITIONS, rollups_partitions=2))
    yield made
    remove_mesh(made)


@pytest.fixture(scope="module")
def twins(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    home = tmp_path_factory.mktemp("runners")
    with Twin(servers.url, home / "served") as served, Twin("memory:", home / "memory", MAX_LEAD_MS) as in_memory:
        both = Twins(served, in_memory)
        both.load(sent())
        yield both


def test_both_meshes_took_every_hit_into_the_same_place_and_the_hard_cases_are_among_them(twins: Twins) -> None:
    for site in SITES:
        assert places(twins.served, site) == places(twins.in_memory, site)
        assert max(twins.served.stores.generations.current(site, 0, 10**6)) == FIRST_DAY
        assert twins.served.stores.dirty.awaited(site) == [FIRST_DAY + 1, FIRST_DAY + 2]
    counts = twins.served.runner.counts
    assert min(counts.late, counts.history, counts.copies, counts.slow) > 10, counts


def places(mesh: Twin, site: str) -> list[tuple[str, Position]]:
    return [
        (hit.hit_id, (log_time, "", partition, offset, row))
        for hit in mesh.logged[site]
        for log_time, _, partition, offset, row in (hit.position,)
    ]


def test_any_question_of_fixed_shape_has_one_answer(twins: Twins) -> None:
    dice = Dice(1, SITES, twins.entries)
    for _ in range(FIXED_QUESTIONS):
        site_question = dice.fixed()
        from_series, from_metrics = twins.from_series(site_question), twins.from_metrics(site_question)
        assert (from_series.path, from_metrics.path) == (Path.SERIES, Path.METRICS)
        check_same(from_series, from_metrics)
        check_equal(twins, site_question, from_metrics)


@pytest.mark.parametrize("seed", AD_HOC_SEEDS)
def test_any_other_question_has_one_answer(twins: Twins, seed: int) -> None:
    dice = Dice(seed, SITES, twins.entries)
    for _ in range(AD_HOC_QUESTIONS):
        site_question = dice.ad_hoc()
        check_equal(twins, site_question, twins.from_metrics(site_question))


def check_equal(twins: Twins, site_question: SiteQuestion, found: Answer) -> None:
    """Check that an answer equals the answer of the mesh in memory and the answer of the reference."""
    in_memory = twins.from_memory(site_question)
    assert found.missing_currencies == in_memory.missing_currencies, site_question
    assert found.excluded_hits == in_memory.excluded_hits, site_question
    check_series(site_question, found.rows, in_memory.rows)
    if found.totals is not None and in_memory.totals is not None:
        check_series(site_question, found.totals, in_memory.totals)
    assert (found.totals is None) == (in_memory.totals is None)
    check_reference(site_question, found.rows, expected_of(twins, site_question))


def check_series(site_question: SiteQuestion, series: Series, other: Series) -> None:
    assert series.buckets.tolist() == other.buckets.tolist(), site_question
    assert series.dimensions == other.dimensions, site_question
    for mine, theirs in zip(series.columns, other.columns, strict=True):
        if Exactness.SKETCH_PROVISIONAL not in (mine.exactness, theirs.exactness):
            np.testing.assert_array_equal(mine.numerators, theirs.numerators, f"{mine.metric.id}: {site_question}")
            np.testing.assert_array_equal(mine.values, theirs.values, f"{mine.metric.id}: {site_question}")
            assert mine.exactness is theirs.exactness, site_question


def check_reference(site_question: SiteQuestion, found: Series, expected: Report) -> None:
    """Check that every sum equals the reference.

    If visitors moved out of a row, the row's number of visitors may be too high.
    """
    rows = rows_of(found)
    provisional = any(column.exactness is Exactness.SKETCH_PROVISIONAL for column in found.columns)
    if provisional:
        for key, values in expected.items():
            assert rows[key][VISITORS] >= values[VISITORS], f"{key}: {site_question}"  # type: ignore[operator]  # a count
        rows, expected = without_visitors(rows), without_visitors(expected)
    wrong = [
        f"{key}: found {rows.get(key)}, expected {expected.get(key)}"
        for key in sorted(rows.keys() | expected.keys())
        if rows.get(key) != expected.get(key)
    ]
    assert not wrong, f"{site_question}: {len(wrong)} rows differ\n" + "\n".join(wrong[:5])


def without_visitors(rows: Report) -> Report:
    return normal({key: {name: value for name, value in row.items() if name != VISITORS} for key, row in rows.items()})


def expected_of(twins: Twins, site_question: SiteQuestion) -> Report:
    question = site_question.question
    assert question.dates is not None
    return normal(
        report(
            Settled(entries=twins.entries),
            sites=site_question.sites,
            metrics=[metric.id for metric in question.metrics],
            grain=question.buckets.grain.name,
            zone=question.zone,
            first_date=question.dates[0],
            last_date=question.dates[1],
            dimensions=question.dimensions,
            include_excluded=question.include_excluded,
            keep=None if question.filter is None else keeps(question.filter),
        )
    )


def rows_of(found: Series) -> Report:
    """Return an answer in the form of the reference's answers."""
    question = found.question
    labels = question.buckets.labels
    rows: Report = {}
    for place, bucket in enumerate(found.buckets.tolist()):
        key = (labels[bucket] if question.has_time else "", *(values[place] for values in found.dimensions))
        rows[key] = {column.metric.id: _value(found, place, number) for number, column in enumerate(found.columns)}
    return normal(rows)


def _value(found: Series, place: int, number: int) -> Value:
    column = found.columns[number]
    numerator = int(column.numerators[place])
    if column.metric.kind is Kind.UNION:
        assert column.lower is not None
        assert np.isnan(column.lower[place]), "so few visitors are counted exactly"
    return numerator if column.denominators is None else (numerator, int(column.denominators[place]))


def test_explain_names_the_store_and_the_native_queries(twins: Twins) -> None:
    reporter = Faulty(twins.served.stores, twins.served.clock)
    plain = pb.RunReportRequest(site=SITES[0], metrics=["hits", "visits"])
    plain.time_range.dates.first_date.CopyFrom(a_date("2025-04-05"))
    plain.time_range.dates.last_date.CopyFrom(a_date("2025-04-06"))
    explanation = explain_report(reporter.backend, None, pb.ExplainReportRequest(report=plain))
    assert (explanation.store, explanation.path) == (pb.STORE_CASSANDRA, pb.SERVING_PATH_SERIES)
    plain.dimensions.append("page_path")
    explanation = explain_report(reporter.backend, None, pb.ExplainReportRequest(report=plain))
    assert (explanation.store, explanation.path) == (pb.STORE_DRUID, pb.SERVING_PATH_METRICS)
    assert {read.source for read in explanation.reads} >= {RowSource.TRAFFIC.value, RowSource.VISITS.value}
    assert all(SITES[0] in read.native_query for read in explanation.reads)
