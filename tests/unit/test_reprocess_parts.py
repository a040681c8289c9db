"""Test the parts into which work on a reprocessing is divided.

If a settler has begun a part, other settlers may continue it.
"""

from __future__ import annotations

from dataclasses import replace

from hitmesh.model.logic import V0
from hitmesh.model.plan import Kind
from hitmesh.model.positions import Position
from hitmesh.model.reprocessings import LostHits, Part, RawRepair, Reprocessing, RestoredRecord, State, Work
from hitmesh.model.site_buckets import EVERY_BUCKET, site_bucket
from hitmesh.model.sites import SiteDay
from processor.reprocess.pages import page_of
from processor.reprocess.parts import buckets_left, loads_of, narrowed, new_part, with_part
from processor.reprocess.reprocessor import Reprocessor
from processor.settle.lease_keeper import LeaseKeeper, LeasePace
from tests.support.reprocessing import SMALL_PORTIONS, plan, rebuilt, reprocessor_of, request, stored, work_off
from tests.support.small_mesh import SmallMesh, settler_stores
from tests.unit.settling import DAY, NOON, a_hit

SITES = tuple(f"merchants/m/sites/s{number}" for number in range(6))
BUCKETS = frozenset(map(site_bucket, SITES))
FIRST, REST = min(BUCKETS), BUCKETS - {min(BUCKETS)}
RUNNING = Reprocessing("r", Kind.LOGIC, "v0", SITES, 0, 10, 0, 0, State.RUNNING, Work.RECOMPUTE, site_days=12)


def finished(part: Part, done: int) -> Part:
    return replace(part, done=done, is_finished=True)


def test_work_ends_with_the_last_finished_part_and_lasts_from_the_first_beginning() -> None:
    first = new_part(RUNNING, Work.RECOMPUTE, frozenset({FIRST}), 1_000)
    rest = new_part(RUNNING, Work.RECOMPUTE, REST, 1_500)
    running = with_part(with_part(RUNNING, first, 1_000), replace(rest, done=3), 2_000)
    assert (running.state, running.done, buckets_left(running)) == (State.RUNNING, 3, BUCKETS)
    half = with_part(running, finished(rest, 10), 3_000)
    assert (half.state, half.done, buckets_left(half)) == (State.RUNNING, 10, frozenset({FIRST}))
    whole = with_part(half, finished(first, 2), 4_000)
    assert (whole.state, whole.work, whole.done, whole.parts) == (State.DIFF_READY, None, 12, ())
    assert whole.recompute_ms == 3_000


def test_part_that_another_settler_continues_replaces_the_parts_with_its_buckets() -> None:
    begun = with_part(RUNNING, Part(Work.RECOMPUTE, tuple(sorted(BUCKETS)), 7, began_at=1), 2)
    part = new_part(begun, Work.RECOMPUTE, frozenset({FIRST}), 5)
    assert part.began_at == 0
    continued = with_part(begun, part, 5)
    assert (continued.parts, continued.done) == ((part,), 0)
    whole = with_part(continued, finished(new_part(continued, Work.RECOMPUTE, BUCKETS, 6), 12), 9)
    assert (whole.state, whole.recompute_ms) == (State.DIFF_READY, 0)


def test_parts_of_an_earlier_work_do_not_count() -> None:
    published = Part(Work.PUBLISH, tuple(sorted(BUCKETS)), 12, is_finished=True)
    rolling = replace(RUNNING, work=Work.ROLL_BACK, parts=(published,))
    assert buckets_left(rolling) == BUCKETS
    part = new_part(rolling, Work.ROLL_BACK, BUCKETS, 3)
    assert with_part(rolling, part, 3).parts == (part,)


def test_reprocessing_without_sites_is_finished_by_its_first_part() -> None:
    empty = replace(RUNNING, sites=())
    assert with_part(empty, new_part(empty, Work.RECOMPUTE, frozenset(), 3), 3).state is State.DIFF_READY


def test_loads_count_the_sites_of_leased_buckets_that_are_left() -> None:
    loads = loads_of(RUNNING, EVERY_BUCKET)
    assert (frozenset(loads), sum(loads.values())) == (BUCKETS, 12)
    begun = with_part(RUNNING, Part(Work.RECOMPUTE, (FIRST,), is_finished=True), 2)
    assert set(loads_of(begun, EVERY_BUCKET)) == REST
    assert loads_of(begun, frozenset({FIRST})) == {}


REPAIR = replace(RUNNING, kind=Kind.REPAIR)


def a_repair(restored: int, *lost: LostHits) -> RawRepair:
    return RawRepair(restored, 2 * restored, sum(each.hits for each in lost), len(lost), lost)


def test_findings_of_a_repair_are_those_of_all_its_parts() -> None:
    in_first, in_rest = (
        LostHits(SiteDay(next(site for site in SITES if site_bucket(site) in buckets), DAY), 1, kept=True)
        for buckets in ({FIRST}, REST)
    )
    first = new_part(REPAIR, Work.RECOMPUTE, frozenset({FIRST}), 1)
    rest = new_part(REPAIR, Work.RECOMPUTE, REST, 1)
    assert first.raw_repair is rest.raw_repair is None
    half = with_part(REPAIR, replace(finished(first, 2), raw_repair=a_repair(3, in_first)), 2)
    assert half.raw_repair == a_repair(3, in_first)
    assert new_part(half, Work.RECOMPUTE, REST, 2).raw_repair == RawRepair()
    running = with_part(half, replace(rest, raw_repair=a_repair(4, in_rest)), 3)
    named = sorted((in_first, in_rest), key=lambda lost: lost.site_day)
    assert running.raw_repair == a_repair(7, *named)
    again = new_part(running, Work.RECOMPUTE, REST, 4)
    assert again.raw_repair == a_repair(4, in_rest), "the records that an interrupted part restored stay counted"
    whole = with_part(with_part(running, again, 4), finished(again, 10), 5)
    assert (whole.state, whole.raw_repair) == (State.DIFF_READY, a_repair(7, *named))
    published = replace(whole, state=State.RUNNING, work=Work.PUBLISH)
    moved = with_part(published, finished(new_part(published, Work.PUBLISH, BUCKETS, 6), 12), 7)
    assert (moved.state, moved.raw_repair) == (State.PUBLISHED, whole.raw_repair)


def restored(*records: RestoredRecord) -> RawRepair:
    return RawRepair(len(records), sum(record.hits for record in records), restored=records)


def test_record_that_two_parts_restore_counts_once_also_if_a_part_is_continued() -> None:
    mine, both, theirs = (RestoredRecord(Position("hits.1", 0, number), 10 + number) for number in range(3))
    first = replace(new_part(REPAIR, Work.RECOMPUTE, frozenset({FIRST}), 1), raw_repair=restored(mine, both))
    rest = replace(new_part(REPAIR, Work.RECOMPUTE, REST, 1), raw_repair=restored(both, theirs))
    running = with_part(with_part(REPAIR, first, 2), rest, 3)
    assert running.raw_repair == restored(mine, both, theirs)
    again = new_part(running, Work.RECOMPUTE, frozenset({FIRST}), 4)
    assert again.raw_repair == restored(mine)
    whole = with_part(with_part(running, finished(rest, 10), 5), finished(again, 2), 6)
    assert (whole.state, whole.raw_repair) == (State.DIFF_READY, restored(mine, both, theirs))


def test_two_settlers_that_restore_the_same_record_count_it_once() -> None:
    mesh = a_mesh_of_sites()
    both = keepers(mesh)
    raw = mesh.stores.raw._records  # type: ignore[attr-defined]  # a loss on purpose
    lost, hits = len(raw), sum(record.rows for record in raw.values())
    raw.clear()
    plan(mesh, SITES, kind=Kind.REPAIR, logic="")
    request(mesh, Work.RECOMPUTE)
    settlers = [
        Reprocessor(
            settler_stores(mesh.stores),
            mesh.stores.reprocessings,
            mesh.clock,
            SMALL_PORTIONS,
            marks=marks,
            share=keeper,
        )
        for marks, keeper in enumerate(both)
    ]
    while stored(mesh).state is State.RUNNING:
        for settler in settlers:
            settler.run_once()
    repair = stored(mesh).raw_repair
    assert stored(mesh).state is State.DIFF_READY, stored(mesh).error
    assert repair is not None
    assert (repair.restored_records, repair.restored_hits, repair.lost_hits) == (lost, hits, 0)


def test_publication_of_an_erasure_ends_in_its_state() -> None:
    erasing = replace(RUNNING, kind=Kind.ERASE, work=Work.PUBLISH, sites=SITES[:1])
    part = new_part(erasing, Work.PUBLISH, frozenset({site_bucket(SITES[0])}), 1)
    assert with_part(erasing, finished(part, 2), 2).state is State.ERASED


def a_mesh_of_sites() -> SmallMesh:
    """Return a mesh in which each site has two settled days."""
    mesh = SmallMesh(NOON, sites=SITES)
    mesh.send([replace(a_hit(minute), site=site, hit_id=f"{site}-{minute}") for site in SITES for minute in (5, 1_500)])
    mesh.settle()
    return mesh


def keepers(mesh: SmallMesh) -> list[LeaseKeeper]:
    """Return the lease keepers of two settlers, each of which has half of the buckets."""
    both = [LeaseKeeper(mesh.stores.leases, name, LeasePace(1_000), mesh.clock.now) for name in ("a", "b")]
    for _ in range(4):
        for keeper in both:
            keeper.turn()
            keeper.begin()
    return both


def test_two_settlers_do_parts_of_one_reprocessing() -> None:
    mesh = a_mesh_of_sites()
    both = keepers(mesh)
    stores = settler_stores(mesh.stores)
    settlers = [
        Reprocessor(stores, mesh.stores.reprocessings, mesh.clock, SMALL_PORTIONS, marks=marks, share=keeper)
        for marks, keeper in enumerate(both)
    ]
    plan(mesh, SITES)
    for work, state in ((Work.RECOMPUTE, State.DIFF_READY), (Work.PUBLISH, State.PUBLISHED)):
        request(mesh, work)
        done = [0, 0]
        while stored(mesh).state is State.RUNNING:
            for number, settler in enumerate(settlers):
                done[number] += settler.run_once()
        assert (stored(mesh).state, stored(mesh).done, sum(done)) == (state, 12, 12)
        assert done == [2 * sum(site_bucket(site) in keeper.buckets() for site in SITES) for keeper in both]
    assert [each.site_day for each in rebuilt(mesh)] == [SiteDay(site, day) for site in SITES for day in (DAY, DAY + 1)]
    entries = [mesh.stores.generations.current(site, 0, 10**6) for site in SITES]
    assert {entry.logic_version for of_site in entries for entry in of_site.values()} == {V0.number}


def test_pages_have_the_site_days_of_the_parts_sites_only() -> None:
    mesh = a_mesh_of_sites()
    plan(mesh, SITES)
    request(mesh, Work.RECOMPUTE)
    work_off(mesh, reprocessor_of(mesh))
    part = narrowed(stored(mesh), Part(Work.RECOMPUTE, tuple(sorted(REST))))
    expected = [SiteDay(site, day) for site in part.sites for day in (DAY, DAY + 1)]
    for limit in (1, 3, 100):
        found: list[SiteDay] = []
        while page := page_of(mesh.stores.reprocessings, part, found[-1] if found else None, limit):
            assert len(page) <= limit
            found += [each.site_day for each in page]
        assert found == expected
