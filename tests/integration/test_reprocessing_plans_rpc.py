"""Test plans of reprocessings over gRPC, on in-memory stores: what is counted, stored, refused and abandoned."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from control.backend import ReprocessingLimits
from control.rpc.reprocessing.create_reprocessing import create_reprocessing
from hitmesh.access.callers import caller_with_key
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.errors import Abandoned
from hitmesh.model.names import OPERATORS
from hitmesh.model.reprocessings import State
from hitmesh.model.sites import IngestKey, KeyKind
from tests.support.dates import a_date
from tests.support.rebuilt_days import UTC_DAY, a_reprocessing
from tests.support.reporters import NOW, OPERATOR, Mesh, a_site, bearer, control_backend, refusal, start
from tests.support.reprocessing_calls import BLOG, LAST_CLOSED, RIVAL_SITE, create, get, settle, variables, wanted
from tests.support.settled_rows import DAY, SITE


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


@pytest.fixture
def settled(mesh: Mesh) -> Mesh:
    """Return a mesh in which one day is settled."""
    settle(mesh, SITE, UTC_DAY - 1, 1)
    return mesh


@pytest.fixture
def bounded() -> Iterator[Mesh]:
    yield from start(open_reads=False, reprocessing=ReprocessingLimits(names=2, sites=3, site_days=3))


def test_a_plan_counts_settled_site_days_and_hits(mesh: Mesh) -> None:
    for day, hits in ((UTC_DAY - 1, 300_000), (UTC_DAY - 2, 700_000), (UTC_DAY - 3, 5)):
        settle(mesh, SITE, day, hits)
    planned = create(mesh)
    assert planned.name.startswith("reprocessings/20150519-")
    assert planned.state == pb.REPROCESSING_STATE_PLANNED
    assert (planned.logic, list(planned.sites), planned.site_count) == ("v1", [SITE], 1)
    assert (planned.site_days, planned.hits, planned.done_site_days) == (2, 1_000_000, 0)
    assert (planned.first_utc_date, planned.last_utc_date) == (a_date("2015-05-15"), a_date(LAST_CLOSED))
    assert planned.estimated_duration.ToMilliseconds() == 4_060
    assert (planned.create_time.ToMilliseconds(), planned.expire_time.ToMilliseconds()) == (NOW, NOW + 7 * DAY)
    scan, recompute, compare, publish, retire = planned.stages
    assert (scan.scan.site_days, scan.scan.hits, scan.scan.raw_bytes) == (2, 1_000_000, 120_000_000)
    assert (recompute.recompute.logic, recompute.recompute.site_days) == ("v1", 2)
    assert (compare.compare.site_days, publish.publish.site_days, retire.retire.keep_days) == (2, 2, 30)
    assert get(mesh, planned.name) == planned
    assert mesh.stores.generations.sequence(SITE) == 3


def test_a_plan_that_is_only_validated_is_not_stored_and_has_no_name(mesh: Mesh) -> None:
    settle(mesh, SITE, UTC_DAY - 1, 7)
    planned = create(mesh, validate_only=True)
    assert (planned.name, planned.state, planned.site_days, planned.hits) == ("", 0, 1, 7)
    assert not planned.HasField("create_time")
    assert len(planned.stages) == 5
    assert mesh.stores.reprocessings.all() == []


def test_a_plan_without_settled_days_has_every_stage_and_is_not_stored(mesh: Mesh) -> None:
    found = refusal(lambda: create(mesh))
    assert (found.code.name, found.reason, found.field) == ("NOT_FOUND", "NOT_FOUND", "reprocessing.first_utc_date")
    assert variables(lambda: create(mesh)) == {
        "field": "reprocessing.first_utc_date",
        "first": "2015-05-15",
        "last": "2015-05-16",
    }
    assert mesh.stores.reprocessings.all() == []
    planned = create(mesh, validate_only=True)
    assert (planned.site_days, planned.estimated_duration.ToMilliseconds()) == (0, 0)
    assert [stage.WhichOneof("stage") for stage in planned.stages] == [
        *("scan", "recompute", "compare", "publish", "retire")
    ]
    assert planned.stages[4].retire.keep_days == 0


def test_a_plan_of_an_earlier_version_and_of_a_repair(settled: Mesh) -> None:
    assert create(settled, logic="v0").stages[1].recompute.logic == "v0"
    repair = create(settled, kind=pb.REPROCESSING_KIND_REPAIR)
    assert repair.kind == pb.REPROCESSING_KIND_REPAIR
    assert not repair.HasField("logic")
    assert not repair.stages[1].recompute.HasField("logic")


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (("merchants/demo/sites/-",), (BLOG,)),
        (("merchants/-/sites/-",), (BLOG, RIVAL_SITE)),
        (("merchants/demo/sites/-", SITE, SITE), (BLOG, SITE)),
        ((RIVAL_SITE, "merchants/demo/sites/-"), (BLOG, RIVAL_SITE)),
    ],
)
def test_sites_are_named_or_stand_for_all_of_a_merchant_or_of_the_mesh(
    mesh: Mesh, sites: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    mesh.stores.directory.create_site(a_site(BLOG))
    for site in (BLOG, RIVAL_SITE):
        settle(mesh, site, UTC_DAY - 1, 1)
    planned = create(mesh, *sites)
    assert tuple(planned.sites) == expected
    (stored,) = mesh.stores.reprocessings.all()
    assert stored.sites == expected


def test_a_plan_takes_the_speed_of_the_newest_reprocessing(mesh: Mesh) -> None:
    settle(mesh, SITE, UTC_DAY - 1, 1_000_000)
    measured = a_reprocessing(state=State.DIFF_READY, hits=1_000_000, site_days=1, recompute_ms=16_120)
    mesh.stores.reprocessings.create(measured)
    assert create(mesh, validate_only=True).estimated_duration.ToMilliseconds() == 16_120


@pytest.mark.parametrize(
    ("fields", "code", "reason", "field", "message"),
    [
        ({"kind": 0}, "INVALID_ARGUMENT", "MISSING_FIELD", "reprocessing.kind", "REPROCESSING_KIND_LOGIC"),
        ({"logic": "v9"}, "INVALID_ARGUMENT", "INVALID_FIELD", "reprocessing.logic", "use one of v0, v1"),
        (
            {"logic": "v1", "kind": pb.REPROCESSING_KIND_REPAIR},
            *("INVALID_ARGUMENT", "INVALID_FIELD", "reprocessing.logic", "only kind LOGIC changes the version"),
        ),
        ({"first_utc_date": None}, "INVALID_ARGUMENT", "MISSING_FIELD", "reprocessing.first_utc_date", "is missing"),
        ({"last_utc_date": None}, "INVALID_ARGUMENT", "MISSING_FIELD", "reprocessing.last_utc_date", "is missing"),
        (
            {"first_utc_date": a_date("2015-05-17")},
            *("INVALID_ARGUMENT", "INVALID_FIELD", "reprocessing.first_utc_date", "swap the dates"),
        ),
        (
            {"last_utc_date": a_date("2015-05-17")},
            *("FAILED_PRECONDITION", "DAY_NOT_CLOSED", "reprocessing.last_utc_date"),
            "last_utc_date 2015-05-17 is not closed, because hits can still change the day: 2015-05-16 is the last "
            "closed day",
        ),
        ({"sites": ()}, "INVALID_ARGUMENT", "INVALID_FIELD", "reprocessing.sites", "0 sites are named"),
        ({"sites": (SITE,) * 1_001}, "INVALID_ARGUMENT", "INVALID_FIELD", "reprocessing.sites", "limit is 1 to 1,000"),
        ({"sites": (SITE, "shop")}, "INVALID_ARGUMENT", "INVALID_FIELD", "reprocessing.sites[1]", "not a site name"),
        (
            {"sites": ("merchants/-/sites/shop",)},
            *("INVALID_ARGUMENT", "INVALID_FIELD", "reprocessing.sites[0]", "not a site name"),
        ),
        (
            {"sites": (SITE, "merchants/demo/sites/none")},
            *("NOT_FOUND", "NOT_FOUND", "reprocessing.sites[1]", "'merchants/demo/sites/none' does not exist"),
        ),
        (
            {"sites": ("merchants/none/sites/-",)},
            *("NOT_FOUND", "NOT_FOUND", "reprocessing.sites[0]", "'merchants/none/sites/-' matches no site"),
        ),
    ],
)
def test_a_plan_that_is_refused_names_field_value_and_remedy(
    mesh: Mesh, fields: dict[str, Any], code: str, reason: str, field: str, message: str
) -> None:
    found = refusal(lambda: create(mesh, **fields))
    assert (found.code.name, found.reason, found.field) == (code, reason, field)
    assert message in found.message
    assert mesh.stores.reprocessings.all() == []


def test_a_plan_has_a_limit_of_site_days(bounded: Mesh) -> None:
    for day in range(UTC_DAY - 2, UTC_DAY):
        for site in (SITE, RIVAL_SITE):
            settle(bounded, site, day, 1)
    found = refusal(lambda: create(bounded, "merchants/-/sites/-"))
    assert (found.reason, found.field) == ("TOO_MANY_SITE_DAYS", "reprocessing.sites")
    assert "more than 3 settled site-days" in found.message
    assert create(bounded, SITE).site_days == 2


def test_a_plan_has_limits_of_names_and_sites(bounded: Mesh) -> None:
    bounded.stores.directory.create_site(a_site(BLOG))
    assert create(bounded, "merchants/demo/sites/-", "merchants/-/sites/-", validate_only=True).site_count == 0
    bounded.stores.directory.create_site(a_site("merchants/demo/sites/news"))
    found = refusal(lambda: create(bounded, "merchants/-/sites/-"))
    assert (found.reason, found.field) == ("TOO_MANY_SITES", "reprocessing.sites[0]")
    assert "more than 3 sites" in found.message
    found = refusal(lambda: create(bounded, SITE, SITE, RIVAL_SITE))
    assert (found.field, "3 sites are named; the limit is 1 to 2" in found.message) == ("reprocessing.sites", True)


def test_limits_in_production_are_those_of_the_contract() -> None:
    assert ReprocessingLimits() == ReprocessingLimits(1_000, 20_000, 20_000, 2_000, 500)


@pytest.mark.parametrize("sites", [(SITE, RIVAL_SITE), ("merchants/-/sites/-",)])
def test_no_plan_is_stored_for_a_caller_who_left_whenever_the_caller_left(mesh: Mesh, sites: tuple[str, ...]) -> None:
    backend = control_backend(mesh.stores, mesh.clock, open_reads=False)
    operator = caller_with_key(IngestKey("operator-1", OPERATORS, KeyKind.OPERATOR))
    request = pb.CreateReprocessingRequest(reprocessing=wanted(*sites))
    settle(mesh, SITE, UTC_DAY - 1, 1)
    for left in range(100):
        calls = iter(range(left))

        def checkpoint(calls: Iterator[int] = calls) -> None:
            if next(calls, None) is None:
                raise Abandoned("the caller left")

        try:
            create_reprocessing(backend, operator, request, checkpoint)
        except Abandoned:
            assert mesh.stores.reprocessings.all() == []
            continue
        break
    assert left >= 3  # the caller can leave before either of two reads, or before the plan is stored
    assert len(mesh.stores.reprocessings.all()) == 1


def test_a_plan_is_abandoned_when_its_caller_leaves(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = threading.Event(), threading.Event()

    def endless(*arguments: Any) -> None:
        began.set()
        step = threading.Event()
        try:
            while not step.wait(0.01):
                arguments[-1]()
        except Abandoned:
            ended.set()
            raise

    monkeypatch.setattr("control.rpc.reprocessing.create_reprocessing.scope_of", endless)
    request = pb.CreateReprocessingRequest(reprocessing=wanted())
    call = mesh.reprocessings.CreateReprocessing.future(request, metadata=bearer(OPERATOR), timeout=60)
    assert began.wait(60)
    call.cancel()
    assert ended.wait(60)
    assert mesh.stores.reprocessings.all() == []
