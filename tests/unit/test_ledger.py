"""Test the ledger's equations with literal numbers (rule D5)."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
import pytest

from control.ledger import site_ledger, siteless_totals
from hitmesh.model.counts import Count
from hitmesh.model.generations import DirtyMark, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.rows.stream_columns import LEDGER_SUMS
from hitmesh.model.sites import SiteDay

SITE = "merchants/demo/sites/shop"
LOG = "hits-1"
TOP = (1 << 64) - 1
DAY = 20_000

Row = tuple[str, int, str, Count]


def sums(*rows: Row, site: str = SITE) -> pl.DataFrame:
    return pl.DataFrame(
        [(site, kind, at, name, count.hits, count.sum64, count.xor64) for kind, at, name, count in rows],
        schema=LEDGER_SUMS,
        orient="row",
    )


def came_in(received: Count, rejected: Count, accepted: Count, at: int = 0) -> list[Row]:
    return [("cell", at, "received", received), ("cell", at, "rejected", rejected), ("cell", at, "accepted", accepted)]


def entry(generation: int = 1, read_through: int = 10) -> GenerationEntry:
    return GenerationEntry(generation, 1, 1, {PartitionId(LOG, 0): read_through}, 0)


def mark(offset: int, count: Count, day: int = DAY) -> DirtyMark:
    return DirtyMark(SiteDay(SITE, day), Position(LOG, 0, offset), 0, count.hits, count.sum64, count.xor64)


def streamed(*counts: tuple[str, Count], day: int = DAY) -> list[Row]:
    return [("day", day, name, count) for name, count in counts]


def balanced_rows(accepted: Count) -> Iterable[Row]:
    return came_in(accepted, Count(), accepted)


def test_a_streamed_day_is_the_sum_of_its_classes() -> None:
    accepted = Count(6, 100, 7)
    found = site_ledger(
        sums(
            *came_in(Count(8, 130, 7 ^ 5), Count(2, 30, 5), accepted),
            *streamed(
                ("accepted", accepted),
                ("counted", Count(3, 50, 1)),
                ("duplicate", Count(1, 20, 2)),
                ("excluded", Count(1, 20, 4)),
                ("pending", Count(1, 10, 0)),
            ),
        ),
        {},
        {},
        [],
    )
    (day,) = found.days
    assert (day.counted, day.duplicate, day.excluded, day.pending.hits) == (3, 1, 1, 1)
    assert (day.is_settled, day.generation) == (False, 0)
    assert day.classified == Count(5, 90, 7)
    assert found.totals.accepted_by_day == accepted
    assert found.imbalance == 0


def test_a_settled_day_is_its_entry_and_the_marks_it_was_not_read_through() -> None:
    accepted = Count(5, 60, 9)
    found = site_ledger(
        sums(*balanced_rows(accepted), *streamed(("accepted", accepted), ("counted", accepted))),
        {DAY: entry(generation=4, read_through=10)},
        {DAY: LedgerEntry(accepted=3, counted=1, duplicate=1, excluded=1, sum64=40, xor64=8)},
        [mark(9, Count(1, 5, 1)), mark(10, Count(2, 20, 1))],
    )
    (day,) = found.days
    assert (day.is_settled, day.generation) == (True, 4)
    assert day.pending == Count(2, 20, 1)
    assert found.imbalance == 0


def test_marks_of_a_partition_that_was_never_read_wait() -> None:
    waits = DirtyMark(SiteDay(SITE, DAY), Position("hits-2", 5, 0), 0, 2, 20, 1)
    accepted = Count(5, 60, 9)
    found = site_ledger(
        sums(*balanced_rows(accepted), *streamed(("accepted", accepted))),
        {DAY: entry()},
        {DAY: LedgerEntry(3, 3, 0, 0, 40, 8)},
        [waits],
    )
    assert found.imbalance == 0


def test_a_mark_waits_by_what_was_read_of_its_own_partition() -> None:
    read_through = {PartitionId(LOG, 0): 10, PartitionId(LOG, 1): 3}
    waits = DirtyMark(SiteDay(SITE, DAY), Position(LOG, 1, 5), 0, 2, 20, 1)
    accepted = Count(5, 60, 9)
    found = site_ledger(
        sums(*balanced_rows(accepted), *streamed(("accepted", accepted))),
        {DAY: GenerationEntry(1, 1, 1, read_through, 0)},
        {DAY: LedgerEntry(3, 3, 0, 0, 40, 8)},
        [waits],
    )
    assert (found.days[0].pending, found.imbalance) == (Count(2, 20, 1), 0)


def test_sums_wrap_at_64_bits() -> None:
    accepted = Count(2, 1, TOP ^ 2)
    found = site_ledger(
        sums(
            *balanced_rows(accepted),
            *streamed(("accepted", accepted), ("counted", Count(1, TOP, TOP)), ("excluded", Count(1, 2, 2))),
        ),
        {},
        {},
        [],
    )
    assert found.imbalance == 0


@pytest.mark.parametrize(
    ("counted", "imbalance"),
    [
        (Count(3, 60, 9), 0),
        (Count(2, 60, 9), 1),
        (Count(5, 60, 9), 2),
        (Count(3, 61, 9), 1),
        (Count(3, 60, 8), 1),
        (Count(2, 40, 8), 3),
    ],
)
def test_a_loss_is_seen_in_hits_and_one_masked_by_a_duplicate_in_checksums(counted: Count, imbalance: int) -> None:
    accepted = Count(3, 60, 9)
    found = site_ledger(
        sums(*balanced_rows(accepted), *streamed(("accepted", accepted), ("counted", counted))), {}, {}, []
    )
    assert found.imbalance == found.days[0].imbalance == imbalance


def test_classes_of_an_entry_that_do_not_add_up_are_seen() -> None:
    accepted = Count(3, 60, 9)
    found = site_ledger(
        sums(*balanced_rows(accepted), *streamed(("accepted", accepted))),
        {DAY: entry()},
        {DAY: LedgerEntry(3, 1, 0, 0, 60, 9)},
        [],
    )
    assert found.imbalance == 2


def test_received_hits_must_be_rejected_or_accepted() -> None:
    rows = [
        *came_in(Count(5, 50, 0), Count(1, 10, 1), Count(3, 30, 1)),
        *came_in(Count(), Count(), Count(), at=900_000),
    ]
    found = site_ledger(sums(*rows, *streamed(("accepted", Count(3, 30, 1)), ("counted", Count(3, 30, 1)))), {}, {}, [])
    assert found.totals.received == Count(5, 50, 0)
    assert found.totals.imbalance == found.imbalance == 2


def test_a_loss_in_a_cell_is_not_offset_by_a_surplus_in_another_cell() -> None:
    single = Count(1, 10, 1)
    rows = [*came_in(single + single, Count(), single), *came_in(Count(), Count(), single, at=900_000)]
    found = site_ledger(sums(*rows, *streamed(("accepted", single + single), ("counted", single + single))), {}, {}, [])
    assert found.totals.received == found.totals.accepted
    assert found.imbalance == 2 + 2 * 2


def test_hits_taken_by_collect_time_are_those_taken_by_day() -> None:
    days = [
        *streamed(("accepted", Count(1, 10, 1)), ("counted", Count(1, 10, 1))),
        *streamed(("accepted", Count(1, 20, 2)), ("pending", Count(1, 20, 2)), day=DAY - 400),
    ]
    together = Count(2, 30, 3)
    assert site_ledger(sums(*balanced_rows(together), *days), {}, {}, []).imbalance == 0
    found = site_ledger(sums(*balanced_rows(Count(3, 30, 3)), *days), {}, {}, [])
    assert (found.totals.imbalance, found.imbalance) == (1, 1)
    assert [day.day for day in found.days] == [DAY - 400, DAY]


def test_a_settled_day_that_the_stream_never_saw_is_out_of_balance() -> None:
    found = site_ledger(sums(), {DAY: entry()}, {DAY: LedgerEntry(2, 2, 0, 0, 5, 5)}, [])
    assert found.days[0].imbalance == 4


def test_an_empty_ledger_balances() -> None:
    found = site_ledger(sums(), {}, {}, [])
    assert (found.imbalance, found.days) == (0, ())


def test_hits_of_no_site_have_totals_only() -> None:
    found = siteless_totals(sums(*came_in(Count(2, 3, 1), Count(2, 3, 1), Count()), site=""))
    assert (found.received.hits, found.accepted_by_day, found.imbalance) == (2, None, 0)
    assert siteless_totals(sums(*came_in(Count(2, 3, 1), Count(1, 3, 1), Count()), site="")).imbalance == 1
