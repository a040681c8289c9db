"""Numbers of the live stream that matter only at scale (step 5 of the journey), with what a processor uses.

Decides nothing about hits: whatever they are, what goes out is the same, but for rules S9 and S10 and for the size of a
sketch of visitors. Tests run with the smallest, so that a table is tidied, spilled and merged within a handful of hits,
and a cell's visitors are a sample from 31 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hitmesh.model.sketches.unions import LG_K_CELL


@dataclass(frozen=True, slots=True)
class Limits:
    """When the tables of a partition grow, spill and are tidied.

    Attributes:
        tidy_from: so many texts or tuples are worth tidying.
        tidy_ratio: … once they are this many times what visits use.
        spill_rows: so many kept hits in memory are written to a file.
        file_rows: kept hits of an epoch that are worth a file of their own; fewer stay in memory.
        fan_in: so many pieces of kept hits of about one size become one; a hit is copied a few times only.
        filter_ids: ids for which the smallest filter has room.
        index_bits: binary logarithm of the places of the smallest table of timelines.
        compared_copies: hits of one id that are compared all at once; those beyond are compared one by one.
        hash_bits: bits of the hashes by which texts, tuples and rows are found before they are compared.
        replay_hits: hits that a recovery reads at once, about.
        kept_of_visitor: beyond so many kept hits of a visitor its hits out of order wait for settlement (rule S9):
            what goes out depends on it.
        chunk_bytes: of a snapshot, in one value of a store: some refuse more than 8 MiB.
        texts_per_hour: distinct texts that a site may have in an hour, of one partition (rule S10). What goes
            out depends on it: what is beyond it is `(other)` until its day is settled.
        lg_k: binary logarithm of how many visitors the sketch of a cell keeps once it is a sample, which a row's is
            beyond `unions.exact_limit` of them. What goes out depends on it: which numbers of visitors are
            estimates, and how near they are. The settler must have the same.
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
    kept_of_visitor: int = 5_000
    chunk_bytes: int = 1_000_000
    texts_per_hour: int = 50_000
    lg_k: int = LG_K_CELL


PRODUCTION: Final = Limits()
