"""Test versions of the logic in settlement.

A settled day keeps its version of the logic. A visit follows the version of its first day.
"""

from __future__ import annotations

import pytest

from hitmesh.model.errors import RefusedError
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.logic import CURRENT, V0, V1, Logic, logic_numbered
from hitmesh.model.positions import Topic
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.config import load
from hitmesh.tools.dev import instances
from hitmesh.tools.dev.envoy import Address
from processor.settings import ProcessorSettings
from processor.settle.attempt import Attempt, Handed
from processor.settle.settlement import Settled
from tests.support.small_mesh import SmallMesh, differences, expected_rows, policy_under, settler_stores
from tests.unit.settling import (
    DAY,
    MIDNIGHT,
    MINUTE,
    NOON,
    SITE,
    TODAY,
    TOMORROW,
    YESTERDAY,
    a_hit,
    dirty,
    entry,
)

GAP = 10
"""Minutes between two hits. Under V1, the hits are one visit. Under V0, each hit is a visit."""


def a_mesh(logic: Logic, now: int = NOON) -> SmallMesh:
    return SmallMesh(now, sites=[SITE], logic=logic)


def totals(mesh: SmallMesh, day: int = DAY) -> tuple[int, int, int]:
    """Return a day's number of visits, the duration of all visits in minutes, and the number of page views."""
    start = day * 86_400_000
    rows = [
        row
        for (_, with_excluded, _, cell, _), row in mesh.rows().items()
        if not with_excluded and start <= cell < start + 86_400_000
    ]
    visits, duration, views = (
        sum(row.get(name, 0) for row in rows) for name in ("visits", "visit_duration_total", "visit_views")
    )
    return visits, duration // MINUTE, views


def version_of(mesh: SmallMesh, site_day: SiteDay) -> int | None:
    found = entry(mesh, site_day)
    return None if found is None else found.logic_version


def an_attempt(
    mesh: SmallMesh,
    site_day: SiteDay,
    handed: Handed | None = None,
    logic: Logic | None = None,
    fallback: Logic = CURRENT,
) -> Attempt:
    """Return an attempt to settle a site-day. The attempt reads all committed records."""
    through = {
        partition: reached.next_offset for partition, reached in mesh.stores.progress.progress(Topic.HITS).items()
    }
    stores = settler_stores(mesh.stores)
    return Attempt(stores, site_day, through, through, handed or Handed(), logic=logic, fallback=fallback)


def settled_by(attempt: Attempt) -> Settled:
    settled = attempt.settle()
    assert settled is not None
    return settled


def visits_of(settled: Settled) -> int:
    return sum(int(rows["visits"].sum()) for rows in settled.rows.visits)


# ---- a settled day keeps its version


def test_late_hit_is_settled_under_the_version_of_its_day_and_new_days_under_the_processors_own() -> None:
    mesh = a_mesh(V0)
    mesh.send([a_hit(minute) for minute in (0, GAP, 2 * GAP)])
    mesh.settle()
    assert (totals(mesh), version_of(mesh, TODAY)) == ((3, 0, 3), V0.number)
    mesh.change_logic(V1)
    tomorrow = 1_440
    mesh.send([a_hit(minute) for minute in (3 * GAP, tomorrow + 600, tomorrow + 600 + GAP)])
    mesh.settle()
    assert (totals(mesh), version_of(mesh, TODAY)) == ((4, 0, 4), V0.number)
    assert (totals(mesh, DAY + 1), version_of(mesh, TOMORROW)) == ((1, GAP, 2), V1.number)
    by_day = {(SITE, DAY): policy_under(V0)}
    assert not differences(mesh.rows(), expected_rows(mesh.sent, by_day=by_day))


def test_entry_of_an_unknown_number_counts_as_current_and_gets_the_current_number() -> None:
    mesh = a_mesh(V0)
    mesh.send([a_hit(0), a_hit(GAP)])
    mesh.settle()
    first = entry(mesh)
    assert first is not None
    generations = mesh.stores.generations
    carry = generations.carry(TODAY)
    assert carry is not None
    generations.publish(
        TODAY,
        generations.begin(TODAY),
        logic_version=1,
        read_through=first.read_through,
        seen_sequence=first.sequence,
        ledger=mesh.ledgers()[TODAY],
        carry=carry,
        now=NOON,
    )
    mesh.send([a_hit(2 * GAP)])
    mesh.settle()
    assert (totals(mesh), version_of(mesh, TODAY)) == ((1, 2 * GAP, 3), CURRENT.number)


@pytest.mark.parametrize("explicit", [V0, V1])
def test_explicit_version_precedes_the_version_of_the_day(explicit: Logic) -> None:
    mesh = a_mesh(V0)
    mesh.send([a_hit(0), a_hit(GAP)])
    mesh.settle()
    attempt = an_attempt(mesh, TODAY, logic=explicit, fallback=V1)
    assert (attempt.logic, attempt.current) == (explicit, entry(mesh))
    assert visits_of(settled_by(attempt)) == (2 if explicit is V0 else 1)
    assert an_attempt(mesh, TODAY, fallback=V1).logic is V0
    fresh = an_attempt(mesh, TOMORROW, fallback=V0)
    assert (fresh.logic, fresh.current) == (V0, None)


def test_unknown_site_is_settled_under_the_version_too() -> None:
    mesh = SmallMesh(NOON, logic=V0)
    mesh.send([a_hit(0), a_hit(GAP)])
    mesh.settle()
    assert totals(mesh) == (2, 0, 2)


# ---- days that the stream counted under another version


def test_day_that_the_stream_counted_under_another_version_gets_settled_rows_and_shows_the_drift() -> None:
    mesh = a_mesh(V0, MIDNIGHT + 3 * GAP * MINUTE)
    mesh.send([a_hit(0), a_hit(GAP)])
    mesh.stream()
    mesh.change_logic(V1)
    mesh.settle()
    published, drift = entry(mesh), mesh.stores.generations.drifts(SITE, DAY, DAY + 1)[TODAY]
    assert published is not None
    assert (published.generation != STREAM_GENERATION, published.logic_version) == (True, V1.number)
    assert (drift.confirmed, drift.measures["visits"]) == (False, -1)
    assert (totals(mesh), drift.row_measures) == ((1, GAP, 2), {})


@pytest.mark.parametrize("streamed_by", [V0, V1])
def test_day_on_which_both_versions_agree_is_confirmed_whichever_streamed_it(streamed_by: Logic) -> None:
    mesh = a_mesh(streamed_by, MIDNIGHT + 3 * GAP * MINUTE)
    mesh.send([a_hit(0), a_hit(1), a_hit(2)])
    mesh.stream()
    mesh.clock.advance(86_400_000)  # all visits end before the version changes in a later epoch
    mesh.heartbeat()
    mesh.stream()
    mesh.change_logic(V1 if streamed_by is V0 else V0)
    mesh.settle()
    published = entry(mesh)
    assert published is not None
    assert published.generation == STREAM_GENERATION
    assert logic_numbered(published.logic_version) is not streamed_by
    assert not differences(mesh.rows(), expected_rows(mesh.sent))


# ---- visits over a midnight between two versions


def test_visit_that_began_under_the_shorter_gap_ends_with_it_after_midnight() -> None:
    mesh = a_mesh(V0)
    mesh.send([a_hit(-1)])
    mesh.settle()
    mesh.change_logic(V1)
    mesh.send([a_hit(1), a_hit(1 + GAP)])
    mesh.settle()
    assert (totals(mesh, DAY - 1), totals(mesh)) == ((1, 2, 2), (1, 0, 1))
    assert (version_of(mesh, YESTERDAY), version_of(mesh, TODAY)) == (V0.number, V1.number)


def test_visit_that_began_under_the_longer_gap_goes_on_after_midnight() -> None:
    mesh = a_mesh(V1)
    mesh.send([a_hit(-5)])
    mesh.settle()
    mesh.change_logic(V0)
    mesh.send([a_hit(5), a_hit(5 + GAP), a_hit(100), a_hit(100 + GAP)])
    mesh.settle()
    assert (totals(mesh, DAY - 1), totals(mesh)) == ((1, 10 + GAP, 3), (2, 0, 2))
    assert not dirty(mesh)


def test_change_of_version_marks_the_next_day_only_if_a_visit_is_open_between_them() -> None:
    mesh = a_mesh(V1)
    mesh.send([a_hit(-1), a_hit(20), a_hit(600), a_hit(1_500)])
    mesh.settle()
    before, today = (an_attempt(mesh, day, logic=V0) for day in (YESTERDAY, TODAY))
    # Under V0 too, the visit of 23:59 is open at midnight, but does not contain the hit of 00:20.
    assert before.disturbed_days(settled_by(before)) == {DAY}
    assert today.disturbed_days(settled_by(today)) == set()
    same = an_attempt(mesh, YESTERDAY)
    assert same.disturbed_days(settled_by(same)) == set()


def test_carry_that_is_handed_on_has_the_version_of_its_settlement() -> None:
    mesh = a_mesh(V1)
    mesh.send([a_hit(-5), a_hit(5)])
    mesh.settle()
    before = settled_by(an_attempt(mesh, YESTERDAY))
    counts = [
        visits_of(settled_by(an_attempt(mesh, TODAY, handed, logic=V0)))
        for handed in (Handed(), Handed(before.carry, logic=V1), Handed(before.carry))
    ]
    assert counts == [0, 0, 1]


# ---- settings


def settings(**values: str) -> ProcessorSettings:
    named = {f"HITMESH_PROCESSOR_{name.upper()}": value for name, value in values.items()}
    return load(ProcessorSettings, {"HITMESH_PROCESSOR_STORE": "memory:", **named})


def test_processor_applies_the_current_version_unless_a_setting_names_another() -> None:
    assert settings().version is CURRENT
    assert settings(logic="v0").version is V0


def test_unknown_version_in_the_settings_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RefusedError) as refused:
        settings(logic="v7")
    assert refused.value.message == (
        "setting HITMESH_PROCESSOR_LOGIC 'v7': logic 'v7' is not a version of the logic: use one of v0, v1"
    )


@pytest.mark.parametrize("replicas", [1, 2])
def test_mesh_passes_settings_to_its_processors_only(replicas: int) -> None:
    def planned(of_processors: dict[str, str]) -> dict[str, str | None]:
        free = iter([Address("127.0.0.1", port) for port in range(1, 99)])
        return {found.name: found.settings.get("LOGIC") for found in instances.planned(free, replicas, of_processors)}

    processors = {name for name in planned({}) if name.startswith(("processor", "settler"))}
    assert {name for name, version in planned({"LOGIC": "v0"}).items() if version == "v0"} == processors
    assert set(planned({}).values()) == {None}
