"""Test orders and refunds that arrive after their day has closed.

A second hit with the same order counts as a repeat at once, even before the day of the first hit is settled (rule D3).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.model.rows.rollup_rows import RowSource
from tests.reference.hits import RefHit
from tests.reference.streamed import stream
from tests.support.live_mesh import LiveMesh, partition_of
from tests.support.live_rows import Seen
from tests.support.small_mesh import expected_rows, folded_rows

SITE = "merchants/demo/sites/alpha"
DAY_MS = 86_400_000
NOON = 20_000 * DAY_MS + DAY_MS // 2
OLD = NOON - 3 * DAY_MS
ORDER = RefHit(SITE, "v", "old", OLD, type="ORDER", order_id="o1", currency="USD", total_micros=100_000_000)
REFUND = RefHit(
    SITE, "v", "old", OLD, type="REFUND", order_id="o1", refund_id="r1", currency="USD", refund_micros=7_000_000
)


def summed(seen: Seen, name: str) -> int:
    """Return the sum of a measure over all rows that are not excluded."""
    return sum(row.get(name, 0) for key, row in seen.rows.items() if key[:2] == (RowSource.TRAFFIC, False))


@pytest.mark.parametrize(("old", "measure"), [(ORDER, "gross_revenue"), (REFUND, "refunds")])
@pytest.mark.parametrize("in_one_record", [False, True])
def test_an_order_or_refund_of_history_is_not_counted_again_before_its_day_is_settled(
    tmp_path: Path, old: RefHit, measure: str, in_one_record: bool
) -> None:
    again = replace(old, hit_id="new", event_time=NOON)
    with LiveMesh("memory:", tmp_path, NOON, [SITE]) as mesh:
        for part in [[old, again]] if in_one_record else [[old], [again]]:
            mesh.append(part, partition_of(old))
            mesh.step()
        mesh.idle()
        mesh.runner.flush()
        assert mesh.seen(SITE).differences_from(folded_rows(stream(mesh.logged[SITE], mesh.clock.now()).entries)) == []
        assert summed(mesh.seen(SITE), measure) == 0, "the old one has it, and waits for settlement"
        mesh.settle()
        assert mesh.seen(SITE).differences_from(expected_rows(mesh.logged[SITE])) == []
        assert summed(mesh.seen(SITE), measure) == (old.total_micros or old.refund_micros)


@pytest.mark.parametrize("excluded", [False, True])
def test_an_order_of_history_is_apart_from_those_of_excluded_hits(tmp_path: Path, excluded: bool) -> None:
    again = replace(ORDER, hit_id="new", event_time=NOON)
    with LiveMesh("memory:", tmp_path, NOON, [SITE]) as mesh:
        mesh.append([replace(ORDER, excluded=excluded)], partition_of(ORDER))
        mesh.append([again], partition_of(again))
        mesh.idle()
        mesh.runner.flush()
        assert summed(mesh.seen(SITE), "gross_revenue") == (ORDER.total_micros if excluded else 0)
