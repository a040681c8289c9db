"""Unite sketches into a single sketch, and estimate the distinct count of the union.

The product's function unites many groups at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from hitmesh.model.arrays import BoolArray
from hitmesh.model.sketches.theta import MAX_THETA, Theta
from hitmesh.model.sketches.unions import merge_by_group


def union(sketches: Iterable[bytes]) -> Theta:
    """Return the union of sketches."""
    column = pa.array(list(sketches), pa.large_binary())
    return merge_by_group(column, np.zeros(len(column), np.int64), 1)[0]


def union_by_group(
    sketches: pa.Array | pa.ChunkedArray | pl.Series, group_ids: npt.NDArray[np.integer], n_groups: int
) -> tuple[npt.NDArray[np.float64], BoolArray]:
    """For each group, return the distinct count of the union, and whether this count is exact."""
    merged = merge_by_group(sketches, group_ids, n_groups)
    return merged.estimates, merged.exact


def estimate(sketch: Theta) -> float:
    """Return the distinct count: the number of hashes divided by the sampled fraction theta / MAX_THETA."""
    return len(sketch.hashes) / (float(sketch.theta) / float(MAX_THETA))
