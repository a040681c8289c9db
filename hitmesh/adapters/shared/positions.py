"""Check positions against the committed positions before a stream transaction commits (architecture A6).

Every position in a transaction with rows must be beyond the committed position. If a position is not beyond the
committed position, another writer owns the partition and has already committed these rows.
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
    """Refuse a transaction with rows unless all positions in the transaction are beyond the committed positions.

    Args:
        rows: the rows in the transaction; without rows, every position is accepted.
        positions: the positions in the transaction.
        committed: the committed positions; partitions without a commit may be absent.

    Raises:
        PartitionsMoved: another writer committed a position first.
        ValueError: the transaction has rows from a partition but no position for the partition.
    """
    if not rows:
        return
    missing = sorted({folded_rows.partition for folded_rows in rows} - positions.keys())
    if missing:
        raise ValueError(
            f"the transaction has rows of {missing[0]} without a position for this partition; pass rows and positions "
            "together"
        )
    for partition, progress in positions.items():
        there = committed.get(partition, _START)
        if progress.next_offset <= there.next_offset:
            raise PartitionsMoved(
                f"{partition.log}/{partition.partition} is committed at {there.next_offset}, but this transaction ends "
                f"at {progress.next_offset}, because another writer committed first; begin from the committed "
                "positions",
                retry_after_s=0,
            )
