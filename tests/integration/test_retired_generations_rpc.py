"""Test ListRetiredGenerations: pages, reasons and refused calls."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from hitmesh.api.control.v1 import retired_pb2 as pb
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.sites import SiteDay
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import UTC_DAY, a_ledger, a_rebuilt, a_reprocessing
from tests.support.reporters import NOW, OPERATOR, Mesh, bearer, refusal, start
from tests.support.settled_rows import SITE

BLOG = "merchants/demo/sites/blog"


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def list_page(mesh: Mesh, **fields: object) -> pb.ListRetiredGenerationsResponse:
    request = pb.ListRetiredGenerationsRequest(**fields)  # type: ignore[arg-type]  # fields of the request
    return mesh.reprocessings.ListRetiredGenerations(request, metadata=bearer(OPERATOR))


def list_all(mesh: Mesh, **fields: object) -> list[pb.RetiredGeneration]:
    page = list_page(mesh, **fields)
    found = list(page.retired_generations)
    while page.next_page_token:
        page = list_page(mesh, **fields, page_token=page.next_page_token)
        found += page.retired_generations
    return found


def replace_generation(mesh: Mesh, site: str, day: int, keep_until: int) -> tuple[int, int]:
    """Publish two generations of a day, and return their generation numbers."""
    generations, site_day = mesh.stores.generations, SiteDay(site, day)
    publish_day(generations, site_day, NOW - 2_000, a_ledger(1))
    old = generations.current(site, day, day + 1)[day]
    new = generations.begin(site_day)
    generations.publish(
        site_day,
        new,
        logic_version=2,
        read_through={},
        seen_sequence=old.sequence,
        ledger=a_ledger(1),
        carry=b"",
        now=NOW - 1_000,
        keep_until=keep_until,
    )
    return old.generation, new


def test_retired_generations_have_a_reason_and_come_by_pages(mesh: Mesh) -> None:
    versions = replace_generation(mesh, SITE, UTC_DAY, NOW + 10_000)
    due = replace_generation(mesh, SITE, UTC_DAY + 1, 0)
    other = replace_generation(mesh, BLOG, UTC_DAY, NOW + 10_000)
    found = list_all(mesh, page_size=1)
    assert [(each.site, each.generation, each.reason) for each in found] == [
        (BLOG, other[0], pb.RETIRED_REASON_DATA_VERSION),
        (SITE, versions[0], pb.RETIRED_REASON_DATA_VERSION),
        (SITE, due[0], pb.RETIRED_REASON_DUE),
    ]
    assert (found[1].replace_time.ToMilliseconds(), found[1].keep_until_time.ToMilliseconds()) == (
        NOW - 1_000,
        NOW + 10_000,
    )
    assert not found[1].HasField("rows")
    assert list_all(mesh, site=SITE) == found[1:] == list_all(mesh, site=SITE, page_size=1)


@pytest.mark.parametrize("state", [State.PUBLISHED, State.FAILED])
def test_a_reprocessing_holds_the_generations_that_it_can_make_current(mesh: Mesh, state: State) -> None:
    old, new = replace_generation(mesh, SITE, UTC_DAY, NOW + 10_000)
    replace_generation(mesh, SITE, UTC_DAY + 1, NOW + 10_000)
    mesh.stores.reprocessings.create(a_reprocessing(state=state, work=Work.PUBLISH, created_at=NOW))
    mesh.stores.reprocessings.put("r1", [a_rebuilt({}, generations=(old, new))])
    found = list_all(mesh)
    assert [(each.reason, each.reprocessing) for each in found] == [
        (pb.RETIRED_REASON_REPROCESSING, "reprocessings/r1"),
        (pb.RETIRED_REASON_DATA_VERSION, ""),
    ]


def test_wrong_requests_are_refused(mesh: Mesh) -> None:
    replace_generation(mesh, SITE, UTC_DAY, NOW + 10_000)
    token = list_page(mesh).next_page_token
    for fields, field, reason in (
        ({"site": "shop"}, "site", "INVALID_FIELD"),
        ({"page_size": -1}, "page_size", "INVALID_FIELD"),
        ({"page_token": "x"}, "page_token", "PAGE_TOKEN_MISMATCH"),
        ({"page_token": token, "site": SITE}, "page_token", "PAGE_TOKEN_MISMATCH"),
    ):
        found = refusal(lambda fields=fields: list_page(mesh, **fields))  # type: ignore[misc]  # called at once
        assert (found.code, found.field, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, field, reason)
