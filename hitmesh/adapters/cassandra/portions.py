"""Group rows into Cassandra requests. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

# Cassandra warns of a batch above 5 KiB and rejects a batch above 50 KiB. A single row with a sketch may have 32 KiB.
_MAX_BYTES: Final = 4_096
_BYTES_OF_OTHERS: Final = 8


def portions(rows: Iterable[Sequence[object]], key_columns: int) -> Iterator[list[Sequence[object]]]:
    """Yield the rows in portions of at most about 4 KiB; the rows of a portion belong to a single Cassandra partition.

    Args:
        rows: values, in any order.
        key_columns: number of leading values that form the partition key.
    """
    partitions: dict[tuple[object, ...], list[Sequence[object]]] = {}
    for row in rows:
        partitions.setdefault(tuple(row[:key_columns]), []).append(row)
    for partition_rows in partitions.values():
        yield from _cut(partition_rows)


def _cut(rows: Sequence[Sequence[object]]) -> Iterator[list[Sequence[object]]]:
    portion: list[Sequence[object]] = []
    left = _MAX_BYTES
    for row in rows:
        size = sum(len(value) if isinstance(value, str | bytes) else _BYTES_OF_OTHERS for value in row)
        if portion and size > left:
            yield portion
            portion, left = [], _MAX_BYTES
        portion.append(row)
        left -= size
    if portion:
        yield portion
