"""Test different texts with the same hash64 (rule D0).

From the log to settled rows, the product must never confuse the two texts.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.keys import hash64
from hitmesh.model.zones import DAY_MS
from processor.building import stream_stores
from processor.stream.runner import Runner
from reporter.answer.route import Path
from reporter.answer.series import Series
from reporter.question.question import Question
from reporter.rpc.answer import answer
from tests.reference.hits import RefHit
from tests.support.live_mesh import SMALLEST
from tests.support.settled_rows import a_question
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.support.twins import IDS, PATHS, SOURCES, TWINS
from tests.support.two_paths import Faulty

VICTIM, ATTACKER = "merchants/victim/sites/shop", "merchants/attacker/sites/x"
NOON = 20_000 * DAY_MS + DAY_MS // 2


def a_hit(site: str, number: int, **fields: object) -> RefHit:
    return replace(RefHit(site, f"v{number}", f"h{number}", NOON + number * 1_000), **fields)  # type: ignore[arg-type]  # fields of a RefHit


def settled_mesh(*records: Sequence[RefHit]) -> SmallMesh:
    """Return a mesh that has streamed and settled the records.

    The rows are compared with the reference before and after settlement.
    """
    mesh = SmallMesh(NOON + 60_000, sites=[VICTIM, ATTACKER])
    for record in records:
        mesh.send(record)
        mesh.heartbeat()
        mesh.stream()
    mesh.clock.advance(40 * 60_000)
    mesh.heartbeat()
    mesh.stream()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    return mesh


def confirmed(mesh: SmallMesh, site: str) -> list[tuple[bool, bool]]:
    return [(drift.confirmed, drift.rows_differ) for drift in mesh.stores.generations.drifts(site, 0, 10**6).values()]


def total(mesh: SmallMesh, measure: str) -> int:
    return sum(row.get(measure, 0) for key, row in mesh.rows().items() if not key[1])


def test_golden_twins_have_one_hash() -> None:
    for twins in TWINS:
        assert len(set(twins)) == 2
        assert len({hash64(text) for text in twins}) == 1


@pytest.mark.parametrize(
    "field", ["page_path", "hostname", "source", "referrer_host", "browser", "event_name", "product"]
)
def test_a_twin_that_another_site_sent_first_stays_out_of_a_sites_rows(field: str) -> None:
    text, twin = PATHS
    mesh = settled_mesh(
        [a_hit(ATTACKER, 1, **{field: twin})],
        [a_hit(VICTIM, number, **{field: text}) for number in range(2, 6)],
    )
    assert confirmed(mesh, VICTIM) == [(True, False)]


@pytest.mark.parametrize("field", ["page_path", "source", "event_name", "product", "category", "brand"])
def test_twins_in_one_record_are_two_rows(field: str) -> None:
    text, twin = SOURCES
    hits = [a_hit(VICTIM, number, **{field: text if number % 2 else twin}) for number in range(1, 6)]
    assert confirmed(settled_mesh(hits), VICTIM) == [(True, False)]


IN_TIME = 60_000


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("before", [0, IN_TIME])
def test_ids_with_one_hash_of_one_visitor_are_two_hits_and_each_may_be_sent_again(before: int, apart: bool) -> None:
    first, second = (
        replace(a_hit(VICTIM, number), visitor="v", hit_id=text, event_time=NOON - before + number)
        for number, text in enumerate(IDS)
    )
    records = [[first], [second], [first], [second]] if apart else [[first, second, first, second]]
    mesh = settled_mesh(*records)
    assert total(mesh, "hits") == 2
    assert total(mesh, "duplicate_hits") == 2


def test_the_id_in_the_earlier_record_counts_when_two_ids_have_one_hash() -> None:
    first, second = (a_hit(VICTIM, number, visitor="v", hit_id=text) for number, text in enumerate(IDS))
    mesh = settled_mesh([a_hit(VICTIM, 2), first], [first, second])
    assert total(mesh, "hits") == 3
    assert total(mesh, "duplicate_hits") == 1


@pytest.mark.parametrize(
    ("type_", "id_field", "amount", "measure"),
    [("ORDER", "order_id", "total_micros", "gross_revenue"), ("REFUND", "refund_id", "refund_micros", "refunds")],
)
def test_orders_and_refunds_whose_ids_have_one_hash_count_both(
    type_: str, id_field: str, amount: str, measure: str
) -> None:
    hits = [a_hit(VICTIM, n, type=type_, currency="USD", **{id_field: IDS[n % 2], amount: 7}) for n in range(4)]
    mesh = settled_mesh(*([hit] for hit in hits))
    assert total(mesh, measure) == 14


def answered(mesh: SmallMesh, question: Question, path: Path) -> Series:
    """Return the answer to a question about the victim's site on a serving path."""
    reporter = Faulty(mesh.stores, mesh.clock)
    reporter.series.is_silent = path is Path.METRICS
    site = mesh.stores.directory.site(VICTIM)
    assert site is not None
    found = answer(reporter.backend, question, (site,), site.currency, ())
    assert found.path is path
    return found.rows


def test_reports_on_both_paths_tell_twins_apart_before_and_after_the_day_is_settled() -> None:
    text, twin = PATHS
    mesh = SmallMesh(NOON + 60_000, sites=[VICTIM, ATTACKER])
    others = [a_hit(ATTACKER, n, page_path=twin, hit_id=IDS[n % 2], visitor="v") for n in range(2)]
    views = [a_hit(VICTIM, n, page_path=text, hit_id=IDS[n % 2], visitor="v") for n in range(4)]
    orders = [
        a_hit(VICTIM, n, type="ORDER", order_id=IDS[n % 2], currency="USD", total_micros=7) for n in range(10, 14)
    ]
    for record in (others, views[:2], [*views[2:], a_hit(VICTIM, 20, page_path=twin)], orders):
        mesh.send(record)
        mesh.stream()
    mesh.runner.flush()
    for is_settled in (False, True):
        if is_settled:
            mesh.clock.advance(3 * DAY_MS)
            mesh.heartbeat()
            mesh.stream()
            mesh.settle()
            assert confirmed(mesh, VICTIM) == [(True, False)]
        question = a_question(
            "pageviews,duplicate_hits,orders,gross_revenue,visitors", since="2024-10-04", until="2024-10-04"
        )
        for path in Path:
            totals = [int(column.numerators[0]) for column in answered(mesh, question, path).columns]
            assert totals == [3, 2, 2, 14, 6]
        by_page = a_question("pageviews", dimensions="page_path", since="2024-10-04", until="2024-10-04")
        rows = answered(mesh, by_page, Path.METRICS)
        assert dict(zip(rows.dimensions[0], rows.columns[0].numerators.tolist(), strict=True)) == {text: 2, twin: 1}


def test_rows_of_one_record_are_apart_whatever_hash_they_share(tmp_path: pathlib.Path) -> None:
    mesh = SmallMesh(NOON + 60_000, sites=[VICTIM])
    limits = replace(SMALLEST, hash_bits=1)
    mesh.runner = Runner(stream_stores(mesh.stores), mesh.clock, home=tmp_path, limits=limits)
    for first in (0, 5):
        mesh.send(
            [a_hit(VICTIM, number % 7, page_path=f"/{number % 4}", hit_id=f"{number}") for number in range(first, 9)]
        )
        mesh.stream()
    mesh.clock.advance(40 * 60_000)
    mesh.heartbeat()
    mesh.stream()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_stored_digests_depend_on_the_secret_of_the_mesh() -> None:
    hits = [a_hit(VICTIM, number) for number in range(3)]
    found = []
    for _ in range(2):
        mesh = SmallMesh(NOON + 60_000, sites=[VICTIM])
        mesh.send(hits)
        mesh.stream()
        mesh.runner.flush()
        found.append(mesh.stores.series.read(VICTIM, 0, 10**6, STREAM_GENERATION)["digest"].sum())
    assert found[0] != found[1]
