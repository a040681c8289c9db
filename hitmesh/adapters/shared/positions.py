"""Checks positions against the committed ones before a transaction of the stream commits (decision A6).

Decides that rows never go out without a position that moves ahead: a position that another writer committed before says
that this writer's partition moved, and that its rows were committed with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hitmesh.model.errors import PartitionsMoved
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.stream_values import FoldedRows

_START: Final = PartitionProgress(0, 0)


def refuse_rows_behind(
    rows: Sequence[FoldedRows],
    positions: Mapping[PartitionId, PartitionProgress],
    committed: Mapping[PartitionId, PartitionProgress],
) -> None:
    """Refuse rows whose transaction would move a position nowhere.

    Args:
        rows: the rows of the transaction; without rows every position is accepted.
        positions: the positions of the transaction.
        committed: the committed positions; partitions without a commit may be absent.

    Raises:
        PartitionsMoved: another writer committed a position first.
        ValueError: rows of a partition come without its position.
    """
    if not rows:
        return
    missing = sorted({one.partition for one in rows} - positions.keys())
    if missing:
        raise ValueError(f"rows of {missing[0]} come without its position; a transaction carries both or neither")
    for partition, progress in positions.items():
        there = committed.get(partition, _START)
        if progress.next_offset <= there.next_offset:
            raise PartitionsMoved(
                f"{partition.log}/{partition.partition} is committed at {there.next_offset} and this transaction ends "
                f"at {progress.next_offset}: another writer was first; begin from the committed positions",
                retry_after_s=0,
            )
