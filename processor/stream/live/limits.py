"""Limits of the live stream that matter only at scale, and the values a processor uses (journey step 5).

The emitted rows do not depend on these values, except for rules S9 and S10 and the size of visitor sketches. Tests use
the smallest values, so that a table is tidied, spilled and merged within a handful of hits, and a cell's visitors are a
sample from 31 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hitmesh.model.limits import KEPT_HITS_OF_VISITOR, LG_K_CELL


@dataclass(frozen=True, slots=True)
class Limits:
    """When a partition's tables grow, spill and are tidied.

    Attributes:
        tidy_from: minimum number of texts or tuples for tidying.
        tidy_ratio: for tidying, the number of texts or tuples must also be at least this many times the number that
            visits may use.
        spill_rows: number of kept hits in memory that triggers a spill to a file.
        file_rows: minimum number of kept hits for a file when an epoch ends; fewer stay in memory.
        fan_in: number of similar-sized pieces of kept hits that are merged at once; a hit is thus copied only a few
            times.
        filter_ids: capacity of the smallest id filter.
        index_bits: binary logarithm of the number of entries in the smallest timeline index.
        compared_copies: number of hits with the same id that are compared in bulk; further hits are compared singly.
        hash_bits: number of hash bits by which texts, tuples and rows are found before they are compared.
        replay_hits: approximate number of hits that a recovery reads at once.
        kept_of_visitor: a visitor's out-of-order hits wait for settlement when the visitor has at least this many kept
            hits (rule S9). Emitted rows depend on this value.
        chunk_bytes: maximum size of a snapshot chunk; each chunk is a value in a store, and some stores refuse more
            than 8 MiB.
        texts_per_hour: maximum number of distinct texts per site, hour and partition (rule S10); further texts are
            `(other)` until their day is settled. Emitted rows depend on this value.
        lg_k: binary logarithm of the number of visitors that a cell's sketch keeps once it is a sample. A row's sketch
            becomes a sample beyond `unions.exact_limit` visitors. Emitted rows depend on this value, because it
            determines which visitor counts are estimates, and their precision. The settler must use the same value.
    """

    tidy_from: int = 10_000
    tidy_ratio: int = 4
    spill_rows: int = 100_000
    file_rows: int = 5_000
    fan_in: int = 4
    filter_ids: int = 1 << 10
    index_bits: int = 10
    compared_copies: int = 16
    hash_bits: int = 64
    replay_hits: int = 50_000
    kept_of_visitor: int = KEPT_HITS_OF_VISITOR
    chunk_bytes: int = 1_000_000
    texts_per_hour: int = 50_000
    lg_k: int = LG_K_CELL


PRODUCTION: Final = Limits()
