"""Test that a request to Cassandra has few rows, all of one partition. Every row is in exactly one request."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from hitmesh.adapters.cassandra.portions import portions

ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.binary(max_size=1_500), st.text(max_size=300)), max_size=60
)
LIMIT = 4_096


def size_of(row: Sequence[object]) -> int:
    return sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)


@given(ROWS)
def test_every_row_goes_once_with_its_partition_and_in_its_order(rows: list[tuple[str, int, bytes, str]]) -> None:
    portioned = list(portions(rows, 2))
    assert all(len({tuple(row[:2]) for row in portion}) == 1 for portion in portioned)
    by_partition: dict[tuple[object, ...], list[object]] = {}
    for portion in portioned:
        by_partition.setdefault(tuple(portion[0][:2]), []).extend(portion)
    assert by_partition == {key: [row for row in rows if row[:2] == key] for key in {row[:2] for row in rows}}


@given(ROWS)
def test_a_portion_is_small_or_one_row(rows: list[tuple[str, int, bytes, str]]) -> None:
    for portion in portions(rows, 2):
        assert len(portion) == 1 or sum(size_of(row) for row in portion) <= LIMIT


def test_small_rows_of_a_partition_go_together() -> None:
    rows = [("a", number) for number in range(100)]
    assert [len(portion) for portion in portions(rows, 1)] == [100]
    assert [len(portion) for portion in portions(rows, 2)] == [1] * 100
