"""Decides which hits in a micro-batch are accepted, and which values are stored for a hit (step 2 in docs/walk.md).

This module is pure: keys, salts, classes, ids and times are arguments. All frames in a micro-batch form a single table.
Python loops run over distinct values, frames, faults and missing ids, but never over all hits. The verdict on a hit
does not depend on the micro-batch's other hits. Only the budget for exclusion rules depends on other batches: if
earlier batches have used up a site's budget, a batch for the site must wait.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import numpy as np
import polars as pl

from collector.admission.batches import Answer, Batches, read_batches, refused_senders
from collector.admission.classes import Judge
from collector.admission.columns import Columns
from collector.admission.envelopes import Envelope
from collector.admission.frames import Decoded, Frame, FrameDecoder, read_frames
from collector.admission.hits import NOBODY, Hits, Tools, hits_of, read_hits
from collector.admission.identity import SaltOf
from collector.admission.refusals import issues_of, rejected_of
from collector.admission.rule_costs import RuleSteps, all_pass, put_off_frames
from collector.admission.rule_flags import with_rule_flags
from collector.admission.verdicts import Issue, Verdicts
from hitmesh.model.arrays import I64Array, U64Array
from hitmesh.model.keys import hash64, partition_of

_MOST_SITES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Admitted:
    """The result of admission for a micro-batch.

    Attributes:
        hits: the accepted hits, sorted by partition, then by arrival. The columns are HITS_COLUMNS, `frame` (UInt32)
            and `partition` (Int32).
        rejected: one row per refused hit or batch. The columns are REJECTED_COLUMNS and `frame` (UInt32).
        issues: all warnings, refusals and retries, sorted by frame and index.
        accepted: the number of accepted hits in each frame.
        put_off: the site of each frame that the client must send again because the site's exclusion rules cost too
            much. Frames in `put_off` have no data in the other attributes.
    """

    hits: pl.DataFrame
    rejected: pl.DataFrame
    issues: list[Issue]
    accepted: I64Array
    put_off: Mapping[int, str]


@cache
def _decoder() -> FrameDecoder:
    return FrameDecoder()


def decode(
    frames: Sequence[Frame],
    envelopes: Sequence[Envelope] | None = None,
    grants: Mapping[tuple[str, str], Answer] | None = None,
) -> Decoded:
    """Return all frames as one table.

    Args:
        frames: in arrival order.
        envelopes: the frames' envelopes, if `read_frames` has already read them; None = read the envelopes here.
        grants: as in `admit`. Hits from refused senders are counted but not read. If `grants` is None, all hits are
            read.
    """
    envelopes = read_frames(frames)[0] if envelopes is None else envelopes
    answers = {} if grants is None else grants
    return _decoder().decode(frames, envelopes, refused_senders(answers))


def admit(
    decoded: Decoded,
    grants: Mapping[tuple[str, str], Answer],
    classifier: Judge,
    *,
    now: int,
    partitions: int,
    salt_of: SaltOf,
    random_id: Callable[[], str],
    rule_steps: RuleSteps = all_pass,
    room_of: Callable[[str], int] = lambda site: sys.maxsize,
) -> Admitted:
    """Return the accepted hits as they will be stored, and all refusals and issues.

    Args:
        decoded: result from `decode`.
        grants: the grant or refusal for each sender (key, site header); a sender that is missing here counts as
            unknown.
        classifier: classifies user agents and referrers; called with distinct strings only.
        now: the current time in UTC ms, used only to choose salts, because salts exist only for recent dates.
        partitions: number of log partitions.
        salt_of: returns a site's salt for a hit's local date; see SaltOf.
        random_id: returns an id for a hit that has neither an id nor a batch id.
        rule_steps: charges each site for the RE2 steps that its exclusion rules take on the frames, and decides which
            frames may pass.
        room_of: returns the number of a site's refusals that may be kept with their bytes.
    """
    of_batches = Verdicts(len(decoded.frames))
    batches = read_batches(decoded, grants, of_batches)
    hits = hits_of(decoded, batches)
    of_hits = Verdicts(len(hits.frame))
    columns = Columns(len(hits.frame))
    tools = Tools(classifier, now, salt_of, random_id)
    identified = NOBODY  # for a micro-batch without hits, where `read_hits` would still take 12 ms
    if len(hits.frame):
        identified = read_hits(hits, batches, decoded.hit_faults, tools, columns, of_hits)
    taken = np.flatnonzero(~of_hits.refused)
    senders = batches.senders
    put_off = put_off_frames(
        lambda name: columns.series_at(name, taken),
        senders.sites,
        senders.site[hits.sender[taken]],
        hits.frame[taken],
        rule_steps,
    )
    rejected = rejected_of(decoded, batches, of_batches, hits, of_hits, identified, put_off, room_of)
    issues = issues_of(batches, of_batches, hits, of_hits, identified)
    if put_off:
        taken = taken[~np.isin(hits.frame[taken], list(put_off))]
        issues = [issue for issue in issues if issue.frame not in put_off]
    return Admitted(
        _stored(columns, hits, batches, identified.visitor.low, taken, partitions),
        rejected,
        issues,
        np.bincount(hits.frame[taken], minlength=len(decoded.frames)).astype(np.int64),
        put_off,
    )


@lru_cache(maxsize=_MOST_SITES)
def _site_hash(name: str) -> int:
    return hash64(name)


def _stored(
    columns: Columns,
    hits: Hits,
    batches: Batches,
    visitor_lo: U64Array,
    taken: I64Array,
    partitions: int,
) -> pl.DataFrame:
    """Return the accepted rows, sorted by partition (architecture A4).

    Each row has the flags that its site's rules set.
    """
    senders = batches.senders
    site = senders.site[hits.sender[taken]]
    site_hash = np.array([_site_hash(each.name) for each in senders.sites], dtype=np.uint64)
    spread = np.array([each.spread for each in senders.sites], dtype=np.uint64)
    partition = partition_of(site_hash[site], visitor_lo[taken], spread[site], partitions)
    # NumPy sorts 16-bit numbers with a radix sort, which is faster.
    narrow = partition.astype(np.int16) if partitions <= np.iinfo(np.int16).max else partition
    order = np.argsort(narrow, kind="stable")
    rows = taken[order]
    accepted = with_rule_flags(columns.series_of(rows), senders.sites, site[order])
    origin = [
        pl.Series("frame", hits.frame[rows].astype(np.uint32)),
        pl.Series("partition", partition[order].astype(np.int32)),
    ]
    return pl.DataFrame(accepted + origin)
