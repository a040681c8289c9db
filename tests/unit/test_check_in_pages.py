"""A check of a site-day may continue over several pages. The result is the same as on a single page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from control.history.checking import CheckLimits
from control.rpc.reprocessing.check_history import check_history
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.checkpoints import unwatched
from hitmesh.model.generations import DirtyMark
from hitmesh.model.positions import Position
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from tests.reference.hits import RefHit
from tests.support.checking import OPERATOR_CALLER, checked, problems
from tests.support.erasing import a_settler
from tests.support.reporters import control_backend
from tests.support.small_mesh import SmallMesh

SITE = "merchants/demo/sites/shop"
DAY = 20_000
BY_RECORD = CheckLimits(rows=0)
"""Limits so small that a page ends after each raw record."""


def a_hit(number: int) -> RefHit:
    return RefHit(SITE, "v", f"h{number}", DAY * DAY_MS + number * 60_000)


@pytest.fixture
def mesh() -> SmallMesh:
    """Return a mesh with two settled days. The hits of the first day are in five records."""
    mesh = SmallMesh((DAY + 5) * DAY_MS, sites=[SITE])
    for number in range(5):
        mesh.send([a_hit(number)])
    mesh.send([a_hit(1_500)])
    mesh.settle()
    return mesh


def raw_positions(mesh: SmallMesh) -> list[Position]:
    return [position for position, _ in mesh.stores.raw.salvage(SITE, DAY, DAY + 1)]


def lose(mesh: SmallMesh, *numbers: int) -> None:
    for position in [raw_positions(mesh)[number] for number in numbers]:
        del mesh.stores.raw._records[position]  # type: ignore[attr-defined]  # a loss on purpose


def damage(mesh: SmallMesh, *numbers: int) -> None:
    for position in [raw_positions(mesh)[number] for number in numbers]:
        record = mesh.stores.raw.get(position)
        assert record is not None
        assert mesh.stores.raw.replace(replace(record, value=b"damaged"))


def test_pages_that_end_within_a_site_day_count_the_site_day_once(mesh: SmallMesh) -> None:
    pages = checked(mesh.stores, mesh.clock, [SITE], BY_RECORD)
    assert len(pages) >= 6
    assert [page.site_days for page in pages if page.site_days] == [1, 1]
    assert (sum(page.hits for page in pages), sum(page.raw_hits for page in pages)) == (6, 6)
    assert not any(page.problems for page in pages)


@pytest.mark.parametrize("lost", [(0,), (4,), (0, 2, 3), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("page_ms", [-1, 10_000])
def test_missing_hits_are_counted_in_raw_store_and_log_as_by_a_single_page(
    mesh: SmallMesh, lost: tuple[int, ...], page_ms: int
) -> None:
    lose(mesh, *lost)
    (whole,) = [each for page in checked(mesh.stores, mesh.clock, [SITE]) for each in page.problems]
    assert (whole.missing_hits, whole.log_hits, whole.lost_hits) == (len(lost), len(lost), 0)
    pages = checked(mesh.stores, mesh.clock, [SITE], CheckLimits(rows=0, page_ms=page_ms))
    assert [each for page in pages for each in page.problems] == [whole]


def test_damaged_records_are_counted_over_all_pages(mesh: SmallMesh) -> None:
    damage(mesh, 0, 3)
    (whole,) = [each for page in checked(mesh.stores, mesh.clock, [SITE]) for each in page.problems]
    assert (whole.missing_hits, whole.log_hits) == (2, 2)
    assert [each.store for each in whole.findings] == [pb.CHECKED_STORE_RAW] * len(whole.findings)
    assert [each for page in checked(mesh.stores, mesh.clock, [SITE], BY_RECORD) for each in page.problems] == [whole]


def a_page(mesh: SmallMesh, token: str) -> pb.CheckHistoryResponse:
    request = pb.CheckHistoryRequest(sites=[SITE], page_token=token)
    backend = control_backend(mesh.stores, mesh.clock, open_reads=False)
    return check_history(backend, OPERATOR_CALLER, request, unwatched, BY_RECORD)


def test_a_site_day_that_is_settled_between_two_pages_is_read_anew(mesh: SmallMesh) -> None:
    page = a_page(mesh, a_page(mesh, "").next_page_token)
    assert not page.site_days
    mesh.send([a_hit(7)])
    mesh.settle()
    found = []
    while page.next_page_token:
        page = a_page(mesh, page.next_page_token)
        found.append(page)
    assert sum(each.site_days for each in found) == 2
    assert sum(each.hits for each in found) == 7
    assert not any(each.problems for each in found)


def late_hit(mesh: SmallMesh) -> None:
    """Send a further hit of the first day, and let the stream process the hit."""
    mesh.send([a_hit(9)])
    mesh.heartbeat()
    mesh.stream()
    mesh.runner.flush()


def test_site_day_that_is_settled_between_two_reads_of_the_check_has_no_problem(mesh: SmallMesh) -> None:
    mesh.runner.flush()
    late_hit(mesh)
    query, generations, settler = mesh.stores.metrics.query, mesh.stores.generations, a_settler(mesh)

    def settled_before(*arguments: Any) -> Any:
        mesh.stores.metrics.query = query  # type: ignore[method-assign]  # only once
        (old,) = generations.current(SITE, DAY, DAY + 1).values()
        settler.run_once()
        mesh.stores.generations.retire(SiteDay(SITE, DAY), mesh.clock.now())
        mesh.clock.advance(1)
        settler.run_once()
        (new,) = generations.current(SITE, DAY, DAY + 1).values()
        assert new.sequence > old.sequence
        assert mesh.stores.series.read(SITE, DAY, DAY + 1, old.generation).is_empty(), "the rows are removed"
        return query(*arguments)

    mesh.stores.metrics.query = settled_before  # type: ignore[assignment, method-assign]  # a settler works meanwhile
    assert problems(mesh.stores, mesh.clock, [SITE]) == []


@pytest.mark.parametrize("is_before", [True, False])
def test_hit_that_is_streamed_between_two_reads_of_the_check_is_no_problem(mesh: SmallMesh, is_before: bool) -> None:
    mesh.runner.flush()
    read, reads = mesh.stores.dirty.marks, list[int]()

    def beside_the_stream(site: str) -> Sequence[DirtyMark]:
        if is_before and not reads:
            late_hit(mesh)
        found = read(site)
        if not is_before and not reads:
            late_hit(mesh)
        reads.append(len(found))
        return found

    mesh.stores.dirty.marks = beside_the_stream  # type: ignore[method-assign]  # the stream works meanwhile
    assert problems(mesh.stores, mesh.clock, [SITE]) == []
    assert reads
