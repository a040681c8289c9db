"""Test repairs, which restore raw records from the log and then recompute days.

The tests cover portions, restarts, log times and claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from control.history.checking import CheckLimits
from hitmesh.model.days import day_of
from hitmesh.model.plan import Kind
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import LoggedRecord, RawRecord
from hitmesh.model.reprocessings import LostHits, RawRepair, State, Work
from hitmesh.model.sites import SiteDay
from processor.reprocess.pace import ReprocessPace
from tests.support.checking import checked, problems, stores_of
from tests.support.reprocessing import SMALL_PORTIONS, done, imbalance, plan, reprocessor_of, request, stored, work_off
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.reprocessed import HITS
from tests.unit.settling import DAY, MINUTE, NOON, OTHER, SITE, TODAY, TOMORROW, a_hit, a_mesh, an_order

SMALL = replace(SMALL_PORTIONS, examined_positions=1, log_records=1)


def a_settled_mesh() -> SmallMesh:
    """Return a mesh with three settled days. Each hit is a separate record."""
    mesh = a_mesh()
    for hit in [*HITS, an_order(30, "o"), an_order(1_520, "o")]:
        mesh.send([hit])
    mesh.settle()
    mesh.runner.flush()
    return mesh


def raw_of(mesh: SmallMesh, site_days: Iterable[SiteDay]) -> list[RawRecord]:
    return [record for site, day in site_days for record in mesh.stores.raw.scan(site, day, day + 1)]


def lose(mesh: SmallMesh, records: Iterable[RawRecord]) -> None:
    """Remove records from the raw store in memory."""
    for record in records:
        del mesh.stores.raw._records[record.position]  # type: ignore[attr-defined]  # a loss on purpose


def repair(mesh: SmallMesh, pace: ReprocessPace | None = None, days: tuple[int, int] = (DAY, DAY + 3)) -> RawRepair:
    """Repair the days, publish the result, and return the counts of the repair."""
    plan(mesh, [SITE], days, kind=Kind.REPAIR, logic="", id_="repair")
    assert done(mesh, Work.RECOMPUTE, "repair", pace).state is State.DIFF_READY, stored(mesh, "repair").error
    assert done(mesh, Work.PUBLISH, "repair").state is State.PUBLISHED
    found = stored(mesh, "repair").raw_repair
    assert found is not None
    return found


@pytest.mark.parametrize("pace", [None, SMALL])
def test_lost_records_come_back_with_their_positions_and_log_times(pace: ReprocessPace | None) -> None:
    mesh = a_settled_mesh()
    whole = raw_of(mesh, [TODAY, TOMORROW])
    lose(mesh, whole[1:4])
    every = problems(mesh.stores, mesh.clock, [SITE])
    assert [SiteDay(each.site, day_of("utc_date", each.utc_date)) for each in every] == [TODAY, TOMORROW]
    found = repair(mesh, pace)
    assert (found.restored_records, found.restored_hits, found.lost_hits) == (3, 3, 0)
    assert raw_of(mesh, [TODAY, TOMORROW]) == whole
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert imbalance(mesh) == 0
    assert problems(mesh.stores, mesh.clock, [SITE]) == []


def test_records_of_the_days_around_are_restored_too_because_visits_need_them() -> None:
    mesh = a_settled_mesh()
    lose(mesh, raw_of(mesh, [TOMORROW]))
    assert repair(mesh, days=(DAY, DAY + 1)).restored_records == len(raw_of(mesh, [TOMORROW])) == 3
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_records_of_the_day_before_the_days_are_restored_too_because_visits_need_them() -> None:
    mesh = a_settled_mesh()
    lose(mesh, raw_of(mesh, [TODAY]))
    assert repair(mesh, days=(DAY + 1, DAY + 2)).restored_records == len(raw_of(mesh, [TODAY])) == 3
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_a_record_that_was_logged_on_the_day_before_its_hits_is_found_in_the_log() -> None:
    mesh = SmallMesh((DAY * 1_440 - 10) * MINUTE, sites=[SITE])
    mesh.send([a_hit(5)])  # the hit's time is 15 minutes after its log time
    mesh.settle()
    mesh.runner.flush()
    lose(mesh, raw_of(mesh, [TODAY]))
    (problem,) = problems(mesh.stores, mesh.clock, [SITE])
    assert (problem.missing_hits, problem.log_hits, problem.lost_hits) == (1, 1, 0)
    found = repair(mesh)
    assert (found.restored_hits, found.lost_hits) == (1, 0)
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_a_repair_that_finds_all_raw_hits_reads_no_log() -> None:
    mesh = a_settled_mesh()
    scan = mesh.stores.log_scan.read
    mesh.stores.log_scan.read = None  # type: ignore[method-assign,assignment]  # a call would fail
    assert repair(mesh) == RawRepair()
    mesh.stores.log_scan.read = scan  # type: ignore[method-assign]  # as before
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_a_restart_continues_and_keeps_the_number_of_restored_records() -> None:
    mesh = a_settled_mesh()
    lose(mesh, raw_of(mesh, [TODAY]))
    plan(mesh, [SITE], (DAY, DAY + 3), kind=Kind.REPAIR, logic="", id_="repair")
    request(mesh, Work.RECOMPUTE, "repair")
    first = reprocessor_of(mesh, SMALL)
    while not (stored(mesh, "repair").raw_repair or RawRepair()).restored_records:
        first.run_once()
    assert work_off(mesh, reprocessor_of(mesh, SMALL), "repair").state is State.DIFF_READY
    found = stored(mesh, "repair").raw_repair
    assert found is not None
    assert (found.restored_records, found.restored_hits, found.lost_hits) == (3, 3, 0)
    assert len(found.restored) == 3


def test_lost_claims_of_restored_records_come_back() -> None:
    mesh = a_settled_mesh()
    lost = [record for record in raw_of(mesh, [TODAY]) if record.position in claims_of(mesh, "o")]
    lose(mesh, lost)
    mesh.stores.claims._claims.clear()  # type: ignore[attr-defined]  # a loss on purpose
    repair(mesh)
    assert claims_of(mesh, "o") == {record.position for record in lost}
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_lost_refunds_of_restored_records_come_back() -> None:
    mesh = a_mesh(an_order(30, "o"))
    refund = replace(a_hit(1_500, "w"), type="REFUND", interactive=False, order_id="o", currency="USD")
    mesh.send([refund])
    mesh.settle()
    mesh.runner.flush()
    lose(mesh, raw_of(mesh, [TOMORROW]))
    mesh.stores.claims._refunds.clear()  # type: ignore[attr-defined]  # a loss on purpose
    repair(mesh)
    assert mesh.stores.claims.refund_days(SITE, ["o"]) == {"o": [DAY + 1]}
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def claims_of(mesh: SmallMesh, order_id: str) -> set[Position]:
    return {claim.position for claim in mesh.stores.claims.of(SITE, [order_id]) if claim.day == DAY}


def test_hits_that_the_log_lacks_too_are_lost_and_their_day_is_kept() -> None:
    mesh = a_settled_mesh()
    before, generation = mesh.rows(), current(mesh, DAY)
    lose(mesh, raw_of(mesh, [TODAY])[:2])
    no_log(mesh)
    (problem,) = problems(mesh.stores, mesh.clock, [SITE])
    assert (problem.missing_hits, problem.log_hits, problem.lost_hits) == (2, 0, 2)
    found = repair(mesh, SMALL)
    assert found == RawRepair(lost_hits=2, lost_site_days=1, named=(LostHits(TODAY, 2, kept=True),))
    assert (mesh.rows(), current(mesh, DAY)) == (before, generation)
    assert current(mesh, DAY + 1) != generation
    assert imbalance(mesh) == 0


def no_log(mesh: SmallMesh) -> None:
    """Delete all records of the log."""
    mesh.stores.log_scan.offset_at = lambda partition, log_time: 10**6  # type: ignore[method-assign]  # an expired log


def current(mesh: SmallMesh, day: int) -> int:
    return mesh.stores.generations.current(SITE, day, day + 1)[day].sequence


def test_a_day_beside_a_damaged_record_is_kept_instead_of_a_failure() -> None:
    mesh = a_settled_mesh()
    before = mesh.rows()
    damaged = raw_of(mesh, [TOMORROW])[0]
    mesh.stores.raw.restore([replace(damaged, value=b"damaged")])
    no_log(mesh)
    found = repair(mesh)
    assert found.lost_hits == 1
    assert {each.site_day: (each.hits, each.kept) for each in found.named} == {
        TOMORROW: (1, True),
        TODAY: (0, True),
    }
    assert mesh.rows() == before


def test_hits_that_were_lost_before_the_day_was_settled_come_back_too() -> None:
    mesh = a_mesh(*HITS)
    mesh.stream()
    mesh.send([a_hit(40)])
    mesh.heartbeat()
    mesh.stream()
    whole = raw_of(mesh, [TODAY])
    lose(mesh, whole[1:])
    mesh.settle()
    mesh.runner.flush()
    (problem,) = problems(mesh.stores, mesh.clock, [SITE])
    assert stores_of(problem) == {"raw", "ledger"}
    assert (problem.missing_hits, problem.log_hits) == (1, 1)
    assert repair(mesh).restored_hits == 1
    mesh.settle()
    assert imbalance(mesh) == 0
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_the_check_reads_a_bounded_part_of_the_log_and_leaves_the_rest_to_the_repair() -> None:
    mesh = a_settled_mesh()
    lose(mesh, raw_of(mesh, [TODAY]))
    (page,) = checked(mesh.stores, mesh.clock, [SITE], CheckLimits(log_records=2))
    (problem,) = page.problems
    assert problem.missing_hits == 3
    assert not problem.HasField("log_hits")
    assert not problem.HasField("lost_hits")


def test_a_check_of_another_site_reads_nothing_of_this_site() -> None:
    mesh = SmallMesh(NOON, sites=[SITE, OTHER])
    mesh.send([*HITS, replace(a_hit(15), site=OTHER)])
    mesh.settle()
    mesh.runner.flush()
    mesh.stores.series.drop([(SiteDay(SITE, DAY), current_generation(mesh))])
    assert [each.site for each in problems(mesh.stores, mesh.clock, ["merchants/m/sites/-"])] == [SITE]
    assert problems(mesh.stores, mesh.clock, [OTHER]) == []


def current_generation(mesh: SmallMesh) -> int:
    return mesh.stores.generations.current(SITE, DAY, DAY + 1)[DAY].generation


def test_log_times_of_restored_records_never_fall_behind_known_records() -> None:
    mesh = a_settled_mesh()
    whole = raw_of(mesh, [TODAY])
    lose(mesh, whole[1:])
    read = mesh.stores.log_scan.read

    def without_log_times(
        partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        return (replace(record, log_time=0) for record in read(partition, first_offset, end_offset, log_time))

    mesh.stores.log_scan.read = without_log_times  # type: ignore[method-assign]  # a log that keeps no log times
    repair(mesh)
    assert raw_of(mesh, [TODAY]) == whole
