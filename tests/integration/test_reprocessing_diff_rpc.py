"""Test the difference of a reprocessing over gRPC, on in-memory stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from control.backend import ReprocessingLimits
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.reprocessings import Rebuilt, State, Work
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from tests.support.dates import a_date
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import UTC_DAY, a_ledger, a_rebuilt, a_reprocessing
from tests.support.reporters import NOW, OPERATOR, Mesh, bearer, refusal, start
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, frame, traffic, visits

RIVAL_SITE = "merchants/rival/sites/shop"


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


@pytest.fixture
def bounded() -> Iterator[Mesh]:
    yield from start(open_reads=False, reprocessing=ReprocessingLimits(compared_site_days=33, cell_site_days=5))


def diff(mesh: Mesh, name: str = "reprocessings/r1", **fields: object) -> pb.GetReprocessingDiffResponse:
    request = pb.GetReprocessingDiffRequest(name=name, **fields)  # type: ignore[arg-type]  # protobuf checks the fields
    return mesh.reprocessings.GetReprocessingDiff(request, metadata=bearer(OPERATOR))


def compared(mesh: Mesh, *rebuilt: Rebuilt, state: State = State.DIFF_READY, **fields: object) -> None:
    """Store a reprocessing of 30 days of SITE and RIVAL_SITE that has recomputed the given site-days."""
    days = (UTC_DAY - 29, UTC_DAY + 1)
    values: dict[str, Any] = {"updated_at": NOW} | fields
    mesh.stores.reprocessings.create(a_reprocessing(state=state, sites=(SITE, RIVAL_SITE), days=days, **values))
    mesh.stores.reprocessings.put("r1", rebuilt)


def test_a_difference_has_totals_days_and_sites(mesh: Mesh) -> None:
    compared(
        mesh,
        a_rebuilt({"visits": (20, 10), "hits": (50, 50)}, UTC_DAY - 1),
        a_rebuilt({"visits": (5, 5)}, UTC_DAY),
        a_rebuilt({"visits": (4, 5)}, UTC_DAY, RIVAL_SITE, ledgers=(a_ledger(9), a_ledger(9, duplicate=2))),
    )
    found = diff(mesh)
    assert found.reprocessing.name == "reprocessings/r1"
    assert (found.site_days, found.changed_site_days, found.changed_sites) == (3, 2, 2)
    (total,) = found.totals
    assert (total.metric, total.old, total.new, total.difference, total.absolute_difference) == (
        "visits",
        29,
        20,
        -9,
        11,
    )
    assert total.percent == pytest.approx(-900 / 29)
    assert total.absolute_percent == pytest.approx(1_100 / 29)
    first, second = found.days
    assert (first.utc_date, first.site_days, first.changed_site_days) == (a_date("2015-05-16"), 1, 1)
    assert [(each.metric, each.old, each.new) for each in second.metrics] == [("visits", 9, 10)]
    assert (second.ledger_before.counted, second.ledger_after.counted, second.ledger_after.duplicate) == (12, 10, 2)
    assert (found.ledger_before.accepted.hits, found.ledger_after.accepted.hits) == (15, 15)
    assert (found.sites_ranked_by, [each.site for each in found.sites]) == ("visits", [SITE, RIVAL_SITE])
    assert diff(mesh, top=1).sites[0].changed_site_days == 1


def test_a_difference_is_empty_if_nothing_changed(mesh: Mesh) -> None:
    compared(mesh, a_rebuilt({"visits": (20, 20)}), a_rebuilt({}, UTC_DAY - 1))
    found = diff(mesh)
    assert (found.site_days, found.changed_site_days) == (2, 0)
    assert not any((found.totals, found.days, found.sites, found.values, found.sites_ranked_by, found.next_page_token))
    assert found.ledger_before == found.ledger_after


def test_changed_days_come_in_pages_and_totals_cover_all_days(mesh: Mesh) -> None:
    compared(mesh, *(a_rebuilt({"visits": (1, 2)}, UTC_DAY - back) for back in range(5)))
    found, token = [], ""
    while True:
        page = diff(mesh, page_size=2, page_token=token)
        assert page.totals[0].new == 10
        assert bool(page.sites) == (not token)
        found += [day.utc_date.day for day in page.days]
        token = page.next_page_token
        if not token:
            break
    assert found == [13, 14, 15, 16, 17]
    token = diff(mesh, page_size=2).next_page_token
    changed = refusal(lambda: diff(mesh, page_size=2, page_token=token, site=SITE))
    assert (changed.reason, changed.field) == ("PAGE_TOKEN_MISMATCH", "page_token")


def test_a_difference_of_a_site_or_of_some_days(mesh: Mesh) -> None:
    rebuilt = [a_rebuilt({"visits": (1, 2)}, UTC_DAY - back, site) for back in range(4) for site in (SITE, RIVAL_SITE)]
    compared(mesh, *rebuilt)
    assert diff(mesh, site=RIVAL_SITE).site_days == 4
    dates = {"first_utc_date": a_date("2015-05-15"), "last_utc_date": a_date("2015-05-16")}
    assert [day.utc_date.day for day in diff(mesh, **dates).days] == [15, 16]
    assert diff(mesh, site=SITE, **dates).totals[0].old == 2
    assert diff(mesh, last_utc_date=a_date("2099-01-01")).site_days == 8
    for fields, field in (
        ({"site": "merchants/demo/sites/none"}, "site"),
        ({"first_utc_date": a_date("2016-01-01")}, "first_utc_date"),
        ({"page_size": -1}, "page_size"),
        ({"top": -1}, "top"),
        ({"order_by": "visitz"}, "order_by"),
    ):
        found = refusal(lambda: diff(mesh, **fields))  # noqa: B023 called at once
        assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_more_site_days_than_a_store_returns_at_once_are_compared(mesh: Mesh) -> None:
    compared(
        mesh, *(a_rebuilt({"visits": (1, 2)}, UTC_DAY - 29 + day % 30, f"s{day // 30:03}") for day in range(2_400))
    )
    assert (diff(mesh).site_days, diff(mesh).totals[0].new, diff(mesh).changed_sites) == (2_400, 4_800, 80)


@pytest.mark.parametrize(
    ("state", "work", "is_readable"),
    [
        (State.PLANNED, None, False),
        (State.RUNNING, Work.RECOMPUTE, False),
        (State.RUNNING, Work.PUBLISH, True),
        (State.RUNNING, Work.CANCEL, False),
        (State.FAILED, Work.RECOMPUTE, False),
        (State.FAILED, Work.ROLL_BACK, True),
        (State.PUBLISHED, None, True),
        (State.ROLLED_BACK, None, True),
        (State.CANCELLED, None, False),
    ],
)
def test_a_difference_is_read_once_every_site_day_is_recomputed(
    mesh: Mesh, state: State, work: Work | None, is_readable: bool
) -> None:
    mesh.stores.reprocessings.create(a_reprocessing(state=state, work=work, created_at=NOW))
    if is_readable:
        assert diff(mesh).site_days == 0
        return
    found = refusal(lambda: diff(mesh))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    rule = "a difference can be read only in DIFF_READY, PUBLISHED, ROLLED_BACK"
    assert found.message == f"reprocessings/r1 is {state.name}: {rule}"


def with_rows(mesh: Mesh, state: State = State.DIFF_READY, **fields: object) -> None:
    """Store two generations of two days of SITE, and a reprocessing.

    After the reprocessing, the first day was settled again.
    """
    times = (MIDNIGHT - DAY, MIDNIGHT)
    for generation, count in ((1, 5), (2, 3)):
        hits = [traffic(at, generation=generation, hits=9, channel="email") for at in times]
        starts = [visits(at, generation=generation, visits=count, channel="email") for at in times]
        mesh.stores.sink.write(frame(RowSource.TRAFFIC, hits), frame(RowSource.VISITS, starts))
    for at in times:
        publish_day(mesh.stores.generations, SiteDay(SITE, at // DAY), NOW, a_ledger(9))
    again, same = a_rebuilt({}, UTC_DAY - 1, sequence=77), a_rebuilt({"visits": (5, 3)}, UTC_DAY, sequence=2)
    compared(mesh, again, same, state=state, **fields)


def test_values_of_a_dimension_are_compared_from_the_rows_of_both_generations(mesh: Mesh) -> None:
    with_rows(mesh)
    found = diff(mesh, dimension="channel")
    (value,) = found.values
    assert (value.value, [(each.metric, each.old, each.new) for each in value.metrics]) == ("email", [("visits", 5, 3)])
    assert (found.values_ranked_by, found.changed_values, found.settled_again_site_days) == ("visits", 1, 1)
    assert (found.site_days, found.changed_site_days) == (2, 1)


def test_cells_are_compared_from_the_rows_of_both_generations(mesh: Mesh) -> None:
    with_rows(mesh)
    found = diff(mesh, cells=True)
    (cell,) = found.cells
    assert (cell.site, cell.start_time.ToMilliseconds()) == (SITE, MIDNIGHT)
    assert [(each.metric, each.old, each.new) for each in cell.metrics] == [("visits", 5, 3)]
    assert (found.cells_ranked_by, found.changed_cells, found.settled_again_site_days) == ("visits", 1, 1)
    assert not found.values
    assert not diff(mesh).cells


def test_reasons_come_in_total_and_per_day(mesh: Mesh) -> None:
    merged = ChangeReasons(merged_visits=2)
    compared(
        mesh,
        a_rebuilt({"visits": (5, 3)}, reasons=merged),
        a_rebuilt({"visits": (5, 3)}, UTC_DAY - 1, reasons=merged),
        a_rebuilt({"visits": (5, 3)}, UTC_DAY - 2),
    )
    found = diff(mesh)
    assert (found.reasons.explained_site_days, found.reasons.merged_visits) == (2, 4)
    assert [day.reasons.merged_visits for day in found.days if day.HasField("reasons")] == [2, 2]
    assert not diff(mesh, last_utc_date=a_date("2015-05-15")).HasField("reasons")


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"dimension": "chanel"}, "UNKNOWN_DIMENSION", "dimension"),
        ({"dimension": "product", "order_by": "visits"}, "VISIT_METRIC_HIT_DIMENSION", "order_by"),
    ],
)
def test_a_dimension_that_cannot_be_compared_is_refused(
    mesh: Mesh, fields: dict[str, str], reason: str, field: str
) -> None:
    with_rows(mesh)
    found = refusal(lambda: diff(mesh, **fields))
    assert (found.reason, found.field) == (reason, field)


def test_a_dimension_has_a_limit_of_site_days(bounded: Mesh) -> None:
    # 33 site-days need two reads, because a page of stored site-days contains 32.
    compared(bounded, *(a_rebuilt({}, UTC_DAY - day % 30, f"s{day // 30:03}") for day in range(33)))
    assert diff(bounded, dimension="channel").changed_values == 0
    bounded.stores.reprocessings.put("r1", [a_rebuilt({}, UTC_DAY - 29, RIVAL_SITE)])
    found = refusal(lambda: diff(bounded, dimension="channel"))
    assert (found.reason, found.field) == ("TOO_MANY_SITE_DAYS", "dimension")
    assert "more than 33 site-days" in found.message
    found = refusal(lambda: diff(bounded, cells=True))
    assert (found.reason, found.field) == ("TOO_MANY_SITE_DAYS", "cells")
    assert "cells of more than 5 site-days" in found.message


@pytest.mark.parametrize("state", [State.PUBLISHED, State.ROLLED_BACK])
def test_a_dimension_is_refused_once_the_replaced_rows_of_a_compared_day_may_be_removed(
    mesh: Mesh, state: State
) -> None:
    with_rows(mesh, state, updated_at=NOW + 9 * DAY)  # the last site-day was published or rolled back after 9 days
    mesh.clock.advance(30 * DAY - 1)
    assert diff(mesh, dimension="channel").changed_values == 1
    mesh.clock.advance(1)
    found = refusal(lambda: diff(mesh, dimension="channel"))
    assert (found.reason, found.field) == ("WRONG_STATE", "dimension")
    assert "1 site-day was replaced 30 or more days ago, so the replaced rows are removed" in found.message
    assert diff(mesh).changed_site_days == 1
    assert diff(mesh, dimension="channel", last_utc_date=a_date("2015-05-16")).settled_again_site_days == 1


@pytest.mark.parametrize(
    ("state", "created_at"), [(State.DIFF_READY, 0), (State.PUBLISHED, NOW + 1), (State.ROLLED_BACK, NOW + 1)]
)
def test_rows_that_the_reprocessing_has_not_replaced_are_compared_at_any_time(
    mesh: Mesh, state: State, created_at: int
) -> None:
    with_rows(mesh, state, created_at=created_at)
    mesh.clock.advance(400 * DAY)
    assert diff(mesh, dimension="channel").changed_values == 1
