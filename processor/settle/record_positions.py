"""Stores the positions of a window's records. Each position takes 24 bytes.

A day of small records has millions of positions.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

import numpy as np

from hitmesh.model.arrays import BoolArray
from hitmesh.model.positions import PartitionId, Position


class RecordPositions:
    """Positions by number, in log order. Only `add` changes the positions.

    Example:
        >>> positions = RecordPositions([Position("a", 0, 7)])
        >>> positions.add(Position("b", 2, 9)), len(positions), positions[1]
        (None, 2, Position(log='b', partition=2, offset=9))
        >>> positions.are_below({PartitionId("a", 0): 8, PartitionId("b", 2): 9}).tolist()
        [True, False]
    """

    def __init__(self, positions: Iterable[Position] = ()) -> None:
        self._logs: dict[str, int] = {}
        self._names: list[str] = []
        self._numbers = array("q")
        for position in positions:
            self.add(position)

    def add(self, position: Position) -> None:
        """Add a position, and assign the next number to the position."""
        log = self._logs.setdefault(position.log, len(self._logs))
        if log == len(self._names):
            self._names.append(position.log)
        self._numbers.extend((log, position.partition, position.offset))

    def __len__(self) -> int:
        return len(self._numbers) // 3

    def __getitem__(self, number: int) -> Position:
        log, partition, offset = self._numbers[3 * number : 3 * number + 3]
        return Position(self._names[log], partition, offset)

    def are_below(self, offsets: Mapping[PartitionId, int]) -> BoolArray:
        """Return whether each position is below its partition's offset (n,).

        A partition without an offset has the offset 0.
        """
        numbers = np.array(self._numbers, np.int64).reshape(-1, 3)
        below = np.zeros(len(numbers), np.bool_)
        for (log, partition), offset in offsets.items():
            if log in self._logs:
                of_partition = (numbers[:, 0] == self._logs[log]) & (numbers[:, 1] == partition)
                below |= of_partition & (numbers[:, 2] < offset)
        return below
