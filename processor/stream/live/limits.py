"""Limits of the live stream that matter only at scale (journey step 5), and the values that a processor uses.

The limits for rules S9 and S10 and for the size of visitor sketches change the emitted rows; all other limits do not.
Tests use the smallest possible limits. With these limits, a few hits are enough to write kept hits to a file, to merge
pieces, and to drop unused texts. With the smallest sketch size, a cell's sketch with 31 or more visitors is a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hitmesh.model.limits import KEPT_HITS_OF_VISITOR, LG_K_CELL


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that decide when a partition's tables grow, are written to files, and lose their unused entries.

    Attributes:
        tidy_from: unused texts and tuples are dropped only if a table has at least this many texts or tuples.
        tidy_ratio: unused texts and tuples are dropped only if a table has this many times as many entries as visits
            may use.
        spill_rows: if this many kept hits are in memory, they are written to a file.
        file_rows: when an epoch ends, kept hits are written to a file if there are at least this many.
        fan_in: the number of pieces of kept hits with similar sizes that are merged at once. Merging several pieces at
            once limits how often a hit is copied.
        filter_ids: the number of ids that the smallest id filter can contain.
        index_bits: the smallest timeline index has 2**index_bits entries.
        compared_copies: up to this many hits with the same id are compared in bulk. Further hits with this id are
            compared one by one.
        hash_bits: the number of hash bits that are used to find texts, tuples and rows before they are compared.
        replay_hits: approximate number of hits that a recovery reads at once.
        handed_hits: a partition is handed over together with its kept hits if there are at most this many. The next
            owner of a partition with more kept hits reads them from the log.
        kept_of_visitor: if a visitor has at least this many kept hits, further hits that are out of order wait for
            settlement (rule S9). Emitted rows depend on this value.
        chunk_bytes: the maximum size of a snapshot chunk. Each chunk is a value in a store. Some stores refuse values
            above 8 MiB.
        texts_per_hour: maximum number of distinct texts per site, hour and partition (rule S10); further texts are
            `(other)` until their day is settled. Emitted rows depend on this value.
        lg_k: a cell's sketch that is a sample keeps 2**lg_k visitors. If a row has more than `unions.exact_limit`
            visitors, the row's sketch becomes a sample. Emitted rows depend on `lg_k`. `lg_k` decides which visitor
            counts are estimates, and how precise the estimates are. The settler must use the same `lg_k`.
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
    handed_hits: int = 2_000_000
    kept_of_visitor: int = KEPT_HITS_OF_VISITOR
    chunk_bytes: int = 1_000_000
    texts_per_hour: int = 50_000
    lg_k: int = LG_K_CELL


PRODUCTION: Final = Limits()
