"""Test recomputing, comparing, publishing, rolling back and cancelling settled site-days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
import structlog

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.generations import STREAM_GENERATION, GenerationEntry, LedgerEntry
from hitmesh.model.logic import V0, V1
from hitmesh.model.plan import KEEP_PLAN_DAYS, KEEP_REPLACED_DAYS, Kind
from hitmesh.model.reprocessings import Change, State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from tests.reference.visits import V0 as V0_RULES
from tests.support.reprocessing import (
    SMALL_PORTIONS,
    done,
    plan,
    rebuilt,
    reprocessor_of,
    request,
    stored,
    work_off,
)
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.reprocessed import DAYS, a_settled_mesh, arrive, entries, logics
from tests.unit.settling import (
    DAY,
    MIDNIGHT,
    MINUTE,
    OTHER,
    SITE,
    TODAY,
    TOMORROW,
    a_hit,
    an_order,
    dirty,
    entry,
)


def test_recomputed_days_are_compared_and_no_report_reads_them() -> None:
    mesh = a_settled_mesh()
    before, rows = entries(mesh), mesh.rows()
    plan(mesh, [SITE])
    ready = done(mesh, Work.RECOMPUTE)
    assert (ready.state, ready.work, ready.done) == (State.DIFF_READY, None, 3)
    assert ready.recompute_ms >= 1
    assert (entries(mesh), mesh.rows(), dirty(mesh)) == (before, rows, [])
    assert [each.site_day for each in rebuilt(mesh)] == DAYS
    for each in rebuilt(mesh):
        assert (each.before.logic, each.after.logic) == (V1.number, V0.number)
        assert each.before.generation == before[each.site_day.day].generation
        assert each.sequence == before[each.site_day.day].sequence
        assert each.changes["visits"] == Change(1, 2)
        assert each.changes["bounces"] == Change(0, 2)
        assert each.changes["visit_duration_total"] == Change(10 * MINUTE, 0)
        assert each.changes["hits"] == Change(2, 2)
        assert each.changes["visitors"] == Change(1, 1)
        assert "orders" not in each.changes


def test_published_days_are_those_of_the_reference_and_so_are_days_rolled_back() -> None:
    mesh = a_settled_mesh()
    rows = mesh.rows()
    plan(mesh, [SITE])
    measured = done(mesh, Work.RECOMPUTE)
    for _ in range(2):
        published = done(mesh, Work.PUBLISH)
        assert (published.state, published.done) == (State.PUBLISHED, 3)
        assert published.recompute_ms == measured.recompute_ms > 0
        assert logics(mesh) == [V0.number] * 3
        assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
        assert done(mesh, Work.ROLL_BACK).state is State.ROLLED_BACK
        assert logics(mesh) == [V1.number] * 3
        assert mesh.rows() == rows
        assert not dirty(mesh)
    assert (
        len({each.before.generation for each in rebuilt(mesh)} | {each.after.generation for each in rebuilt(mesh)}) == 2
    )


def test_diff_of_unchanged_logic_is_empty() -> None:
    mesh = a_settled_mesh(a_hit(-5), an_order(30, "o"), an_order(1_600, "o", "w"))
    for kind, logic, id_ in ((Kind.LOGIC, "v1", "same"), (Kind.REPAIR, "", "repair")):
        plan(mesh, [SITE], kind=kind, logic=logic, id_=id_)
        done(mesh, Work.RECOMPUTE, id_)
        assert len(rebuilt(mesh, id_)) == 4
        assert all(change.old == change.new for each in rebuilt(mesh, id_) for change in each.changes.values())
        assert all(not each.disturbed_days and not each.flags for each in rebuilt(mesh, id_))
        done(mesh, Work.CANCEL, id_)


def test_repair_uses_the_logic_of_each_day_and_brings_back_a_lost_series() -> None:
    # The visit that is open at midnight began on a day under v0, so the visit continues under v0.
    mesh = a_settled_mesh(a_hit(1_439, "x"), a_hit(1_441, "x"), a_hit(1_450, "x"))
    plan(mesh, [SITE], (DAY, DAY + 1), id_="first")
    done(mesh, Work.RECOMPUTE, "first")
    done(mesh, Work.PUBLISH, "first")
    mesh.settle()
    rows, versions = mesh.rows(), logics(mesh)
    assert versions == [V0.number, V1.number, V1.number]
    mesh.stores.series.drop([(SiteDay(SITE, DAY), entries(mesh)[DAY].generation)])
    plan(mesh, [SITE], kind=Kind.REPAIR, logic="", id_="repair")
    done(mesh, Work.RECOMPUTE, "repair")
    assert [each.changes["visits"] for each in rebuilt(mesh, "repair")] == [Change(0, 3), Change(2, 2), Change(1, 1)]
    done(mesh, Work.PUBLISH, "repair")
    assert (logics(mesh), mesh.rows()) == (versions, rows)
    series = mesh.stores.series.read(SITE, DAY, DAY + 1, entries(mesh)[DAY].generation)
    assert series["visits"].sum() == 3


def test_only_settled_days_of_the_range_are_recomputed() -> None:
    mesh = a_settled_mesh()
    arrive(mesh, a_hit(-2_000))
    plan(mesh, [SITE, OTHER], (DAY - 9, DAY + 2))
    assert done(mesh, Work.RECOMPUTE).done == 2
    assert [each.site_day for each in rebuilt(mesh)] == [TODAY, TOMORROW]


def test_confirmed_day_goes_back_to_the_rows_of_the_stream() -> None:
    mesh = SmallMesh(MIDNIGHT + 40 * MINUTE, sites=[SITE])
    mesh.send([a_hit(10), a_hit(20)])
    mesh.settle()
    rows, streamed = mesh.rows(), entry(mesh)
    assert streamed is not None
    assert streamed.generation == STREAM_GENERATION
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
    mesh.clock.advance(DAY_MS)
    mesh.settler.run_once()
    done(mesh, Work.ROLL_BACK)
    assert mesh.rows() == rows
    restored = entry(mesh)
    assert restored is not None
    assert restored.generation == STREAM_GENERATION


def test_replaced_rows_are_kept_for_a_rollback_and_recomputed_once_they_are_gone() -> None:
    mesh = a_settled_mesh()
    rows, old = mesh.rows(), entries(mesh)
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    mesh.clock.advance((KEEP_REPLACED_DAYS - 1) * DAY_MS)
    mesh.settler.run_once()
    assert not mesh.stores.generations.superseded(mesh.clock.now())
    mesh.clock.advance(2 * DAY_MS)
    mesh.settler.run_once()
    assert done(mesh, Work.ROLL_BACK).state is State.ROLLED_BACK
    assert mesh.rows() == rows
    assert {entry.generation for entry in entries(mesh).values()}.isdisjoint({old[day].generation + 1 for day in old})
    assert not dirty(mesh)


def test_cancelled_rows_are_gone_and_the_changes_stay() -> None:
    mesh = a_settled_mesh()
    rows = mesh.rows()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    cancelled = done(mesh, Work.CANCEL)
    assert (cancelled.state, mesh.rows()) == (State.CANCELLED, rows)
    for each in rebuilt(mesh):
        day = each.site_day.day
        assert mesh.stores.series.read(SITE, day, day + 1, each.after.generation).is_empty()
    assert len(rebuilt(mesh)) == 3


def test_site_day_that_cannot_be_read_fails_the_work_and_the_work_can_be_requested_again() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    ledger = mesh.stores.generations.ledger

    def broken(site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        return {} if first_day == TOMORROW.day else ledger(site, first_day, end_day)

    mesh.stores.generations.ledger = broken  # type: ignore[method-assign]  # a value that the store lost
    failed = done(mesh, Work.RECOMPUTE, pace=SMALL_PORTIONS)
    assert (failed.state, failed.work, failed.done) == (State.FAILED, Work.RECOMPUTE, 1)
    assert failed.error.startswith(f"{SITE}, UTC day 2024-10-05: ")
    assert "request the work again" in failed.error
    mesh.stores.generations.ledger = ledger  # type: ignore[method-assign]  # the value is mended
    assert done(mesh, Work.RECOMPUTE).state is State.DIFF_READY
    assert len(rebuilt(mesh)) == 3


def test_any_error_of_a_site_day_fails_the_work_and_names_the_site_day() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    ledger = mesh.stores.generations.ledger

    def broken(site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        if first_day == TOMORROW.day:
            raise pl.exceptions.PanicException("index out of bounds")
        return ledger(site, first_day, end_day)

    mesh.stores.generations.ledger = broken  # type: ignore[method-assign]  # a value on which a library fails
    failed = done(mesh, Work.RECOMPUTE, pace=SMALL_PORTIONS)
    assert (failed.state, failed.done) == (State.FAILED, 1)
    assert failed.error.startswith(f"{SITE}, UTC day 2024-10-05: PanicException: index out of bounds")


def test_publication_that_failed_is_rolled_back_and_a_rollback_that_failed_is_published() -> None:
    mesh = a_settled_mesh()
    rows = mesh.rows()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    generations = mesh.stores.generations
    publish = generations.publish

    def broken(site_day: SiteDay, *arguments: Any, **fields: Any) -> GenerationEntry:
        if site_day == TOMORROW:
            raise StoreCorrupt("rot", place="the store")
        return publish(site_day, *arguments, **fields)

    for first, second, state, logic in (
        (Work.PUBLISH, Work.ROLL_BACK, State.ROLLED_BACK, V1),
        (Work.ROLL_BACK, Work.PUBLISH, State.PUBLISHED, V0),
    ):
        if first is Work.ROLL_BACK:
            done(mesh, Work.PUBLISH)
        generations.publish = broken  # type: ignore[method-assign]  # a damaged value in the store
        failed = done(mesh, first, pace=SMALL_PORTIONS)
        assert (failed.state, failed.work, failed.done) == (State.FAILED, first, 1)
        assert "roll back a failed publication, or publish after a failed rollback" in failed.error
        assert len(set(logics(mesh))) == 2
        assert done(mesh, second).state is state
        assert logics(mesh) == [logic.number] * 3
        assert (mesh.rows() == rows) == (logic is V1)
        generations.publish = publish  # type: ignore[method-assign]  # the value is mended
    assert not dirty(mesh)


def test_reprocessing_of_unknown_logic_fails_and_names_the_known_logics() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE], logic="v9")
    failed = done(mesh, Work.RECOMPUTE)
    assert (failed.state, "use one of v0, v1" in failed.error) == (State.FAILED, True)


def test_younger_reprocessing_of_the_same_days_waits_and_others_do_not() -> None:
    mesh = a_settled_mesh(replace(a_hit(5), site=OTHER))
    plan(mesh, [SITE], (DAY, DAY + 2), id_="a")
    mesh.clock.advance(1)
    plan(mesh, [SITE, OTHER], (DAY + 1, DAY + 3), id_="b")
    mesh.clock.advance(1)
    plan(mesh, [OTHER], id_="c")
    for id_ in ("a", "b", "c"):
        request(mesh, Work.RECOMPUTE, id_)
    reprocessor = reprocessor_of(mesh)
    for _ in range(3):
        reprocessor.run_once()
    assert [stored(mesh, id_).state for id_ in ("a", "b")] == [State.DIFF_READY, State.RUNNING]
    done(mesh, Work.PUBLISH, "a")
    assert work_off(mesh, reprocessor, "b").state is State.DIFF_READY
    done(mesh, Work.CANCEL, "b")
    assert work_off(mesh, reprocessor, "c").state is State.DIFF_READY


def test_plan_that_nobody_runs_expires_and_is_removed_later() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    reprocessor = reprocessor_of(mesh)
    mesh.clock.advance(KEEP_PLAN_DAYS * DAY_MS)
    reprocessor.run_once()
    assert stored(mesh).state is State.PLANNED
    mesh.clock.advance(1)
    reprocessor.run_once()
    assert stored(mesh).state is State.EXPIRED
    mesh.clock.advance(7 * DAY_MS + 1)
    reprocessor.run_once()
    assert mesh.stores.reprocessings.get("r") is None


def test_finished_reprocessing_is_removed_with_its_recomputed_days_after_ninety_days() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.CANCEL)
    reprocessor = reprocessor_of(mesh)
    mesh.clock.advance(90 * DAY_MS - 1)
    reprocessor.run_once()
    assert (stored(mesh).state, len(rebuilt(mesh))) == (State.CANCELLED, 3)
    mesh.clock.advance(1)
    reprocessor.run_once()
    assert (mesh.stores.reprocessings.all(), rebuilt(mesh)) == ([], [])


def test_line_about_a_portion_shows_rate_and_time_left() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    with structlog.testing.capture_logs() as logged:
        done(mesh, Work.RECOMPUTE)
    (line,) = (line for line in logged if line["event"] == "reprocessed")
    assert {"id", "work", "site_days", "of", "per_s", "left_s"} <= line.keys()
