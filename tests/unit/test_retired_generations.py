"""Test how retired generations are listed and removed.

If reports no longer read a generation, the generation is listed as retired until the settler removes its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import structlog

from hitmesh.model.errors import RetryError
from hitmesh.model.history import RetiredGeneration
from hitmesh.model.plan import KEEP_REPLACED_DAYS
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.site_buckets import EVERY_BUCKET, site_bucket
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from processor.settle import removal
from processor.settle.removal import remove_superseded
from tests.reference.visits import V0 as V0_RULES
from tests.support.reprocessing import SMALL_PORTIONS, done, plan, rebuilt, reprocessor_of, request, stored
from tests.support.small_mesh import SmallMesh, differences, expected_rows, settler_stores
from tests.unit.reprocessed import DAYS, a_settled_mesh, arrive, entries
from tests.unit.settling import SITE, TODAY, TOMORROW, a_hit

SIX_MINUTES = 360_001


def retired(mesh: SmallMesh) -> list[RetiredGeneration]:
    return list(mesh.stores.generations.retired(SITE, None, 100))


def stored_series(mesh: SmallMesh, site_day: SiteDay) -> set[int]:
    """Return those generations of a site-day that have a stored series."""
    site, day = site_day
    return {number for number in range(1, 20) if not mesh.stores.series.read(site, day, day + 1, number).is_empty()}


def let_the_settler_remove(mesh: SmallMesh, after_ms: int = SIX_MINUTES) -> list[dict[str, Any]]:
    """Advance the clock, run a pass of the settler, and return the log lines about removed rows."""
    mesh.clock.advance(after_ms)
    with structlog.testing.capture_logs() as lines:
        mesh.settler.run_once()
    return [dict(line) for line in lines if line["event"] == "retired_generations_removed"]


def fail_to_ingest(mesh: SmallMesh, site_day: SiteDay) -> None:
    """Change the store so that the rows of a site-day never become readable."""
    ingested = mesh.stores.sink.ingested

    def stuck(of_day: SiteDay, generation: int) -> bool:
        if of_day == site_day:
            raise RetryError("the rows are not readable yet")
        return ingested(of_day, generation)

    mesh.stores.sink.ingested = stuck  # type: ignore[assignment, method-assign]  # a store that lags


def test_replaced_generation_is_listed_until_its_rows_are_removed_and_the_log_names_it() -> None:
    mesh = a_settled_mesh()
    old = entries(mesh)[TOMORROW.day]
    arrive(mesh, a_hit(1_520))
    mesh.settle()
    (found,) = retired(mesh)
    replaced_at = entries(mesh)[TOMORROW.day].published_at
    kept_until = replaced_at + KEEP_REPLACED_DAYS * DAY_MS
    assert found == RetiredGeneration(TOMORROW, old.generation, kept_until, replaced_at)
    assert let_the_settler_remove(mesh, KEEP_REPLACED_DAYS * DAY_MS) == []
    assert stored_series(mesh, TOMORROW) == {old.generation, old.generation + 1}
    (line,) = let_the_settler_remove(mesh)
    assert (line["generations"], line["has_more"]) == (1, False)
    assert line["removed"] == [f"{SITE} 2024-10-05 generation {old.generation}"]
    assert retired(mesh) == []
    assert stored_series(mesh, TOMORROW) == {old.generation + 1}


def test_removal_is_bounded_and_continues_with_the_next_pass() -> None:
    mesh = a_settled_mesh()
    for site_day in DAYS:
        for _ in range(removal.LISTED):
            mesh.stores.generations.begin(site_day)
        mesh.stores.generations.abandon(*site_day, site_day.day + 1, now=1)
    count, limit = len(retired(mesh)), removal.LISTED + 1
    for page in (1, 1_000):
        others = EVERY_BUCKET - {site_bucket(SITE)}
        assert remove_superseded(settler_stores(mesh.stores), 2, limit, others, page) == 0
    with structlog.testing.capture_logs() as lines:
        assert remove_superseded(settler_stores(mesh.stores), 2, limit) == limit
    assert (lines[0]["generations"], lines[0]["has_more"], len(lines[0]["removed"])) == (limit, True, removal.LISTED)
    assert len(retired(mesh)) == count - limit
    while remove_superseded(settler_stores(mesh.stores), 2, limit, page=1):
        pass
    assert retired(mesh) == []


def test_rows_of_a_portion_that_timed_out_are_listed_and_removed_although_the_work_is_never_repeated() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    fail_to_ingest(mesh, TODAY)
    request(mesh, Work.RECOMPUTE)
    with pytest.raises(RetryError):
        reprocessor_of(mesh).run_once()
    assert stored(mesh).state is State.RUNNING
    assert [each.site_day for each in retired(mesh)] == DAYS
    assert {each.replaced_at for each in retired(mesh)} == {None}
    before = {day: mesh.stores.generations.current(*day, day.day + 1)[day.day] for day in DAYS}
    (line,) = let_the_settler_remove(mesh)
    assert line["generations"] == len(DAYS)
    assert retired(mesh) == []
    assert {day: mesh.stores.generations.current(*day, day.day + 1)[day.day] for day in DAYS} == before


def test_cancel_also_removes_rows_that_a_killed_process_left() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    left = {
        site_day: mesh.stores.generations.begin(site_day) for site_day in DAYS
    }  # the process died after it began these generations, and before it stored the recomputed site-days
    done(mesh, Work.CANCEL, pace=SMALL_PORTIONS)
    assert stored(mesh).done == len(DAYS)
    found = {(each.site_day, each.generation) for each in retired(mesh)}
    assert found >= left.items()
    let_the_settler_remove(mesh)
    assert retired(mesh) == []


def fail_to_publish(mesh: SmallMesh, site_day: SiteDay) -> Any:
    """Let the publication of a site-day fail, and return the original method."""
    publish = mesh.stores.generations.publish

    def broken(of_day: SiteDay, *arguments: Any, **values: Any) -> Any:
        if of_day == site_day:
            raise ValueError("broken")
        return publish(of_day, *arguments, **values)

    mesh.stores.generations.publish = broken  # type: ignore[assignment, method-assign]  # a damaged store
    return publish


def after_failed_publish(mesh: SmallMesh) -> Sequence[RetiredGeneration]:
    """Publish the first day, fail at the second day, and roll back.

    Return the generations that were never published.
    """
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    publish = fail_to_publish(mesh, TOMORROW)
    assert done(mesh, Work.PUBLISH).state is State.FAILED
    assert done(mesh, Work.ROLL_BACK).state is State.ROLLED_BACK
    mesh.stores.generations.publish = publish  # type: ignore[method-assign]  # the store is mended
    return [each for each in retired(mesh) if each.replaced_at is None]


def test_rows_after_the_site_day_where_a_publication_failed_are_kept_like_replaced_rows_and_then_removed() -> None:
    mesh = a_settled_mesh()
    rows = mesh.rows()
    unpublished = after_failed_publish(mesh)
    assert [(each.site_day, each.generation) for each in unpublished] == [
        (each.site_day, each.after.generation) for each in rebuilt(mesh)[1:]
    ]
    assert all(each.kept_until > mesh.clock.now() + (KEEP_REPLACED_DAYS - 1) * DAY_MS for each in unpublished)
    assert mesh.rows() == rows
    (line,) = let_the_settler_remove(mesh, KEEP_REPLACED_DAYS * DAY_MS + SIX_MINUTES)
    assert line["generations"] == len(DAYS)
    assert retired(mesh) == []
    assert mesh.rows() == rows


def test_publication_after_a_failed_publication_was_rolled_back_uses_the_kept_rows() -> None:
    mesh = a_settled_mesh()
    after_failed_publish(mesh)
    numbers = [each.after.generation for each in rebuilt(mesh)]
    done(mesh, Work.PUBLISH)
    assert [entry.generation for entry in entries(mesh).values()] == numbers
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
