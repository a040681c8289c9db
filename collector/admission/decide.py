"""Which hits are taken, and what is stored of them: step 2 of the journey, in the order in which it decides.

Pure: keys, salts, classes, ids and times come as arguments. All frames of a micro-batch are one table; no step loops
over hits, but over distinct values, frames and what is at fault. What is said of a hit does not depend on its
neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from collector.admission.batches import Answer, Batches, read_batches, refused_senders
from collector.admission.classes import Judge
from collector.admission.columns import Columns
from collector.admission.envelopes import Envelope
from collector.admission.frames import Decoded, Frame, FrameDecoder, read_frames
from collector.admission.hits import NOBODY, Hits, Tools, hits_of, read_hits
from collector.admission.identity import SaltOf
from collector.admission.refusals import issues_of, rejected_of
from collector.admission.verdicts import Issue, Verdicts
from hitmesh.model.keys import hash64, partition_of

_MOST_SITES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of a micro-batch.

    Attributes:
        hits: HITS_COLUMNS and `frame` (UInt32), `partition` (Int32); by partition, then in the order of arrival.
        rejected: REJECTED_COLUMNS and `frame` (UInt32): one row per refused hit or batch.
        issues: everything that is not plainly accepted, by frame and index.
        accepted: hits taken per frame.
    """

    hits: pl.DataFrame
    rejected: pl.DataFrame
    issues: list[Issue]
    accepted: npt.NDArray[np.int64]


@cache
def _decoder() -> FrameDecoder:
    return FrameDecoder()


def decode(
    frames: Sequence[Frame],
    envelopes: Sequence[Envelope] | None = None,
    grants: Mapping[tuple[str, str], Answer] | None = None,
) -> Decoded:
    """Returns all frames as one table.

    Args:
        frames: in the order of arrival.
        envelopes: of the frames, where they were read to look up the senders; see `read_frames`.
        grants: as in `admit`: hits of senders who may not send are counted, not read. None reads all hits.
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
) -> Admitted:
    """Returns the hits that are taken, as they are stored, and what is said of the others.

    Args:
        decoded: what `decode` returned.
        grants: (key, site header) → what the sender may do; a sender that is not in it is unknown.
        classifier: asked for distinct strings only.
        now: UTC ms; only says which salts exist.
        partitions: of the log.
        salt_of: salt of a site's local date.
        random_id: makes an id for a hit that has neither an id nor a batch id.
    """
    of_batches = Verdicts(len(decoded.frames))
    batches = read_batches(decoded, grants, of_batches)
    hits = hits_of(decoded, batches)
    of_hits = Verdicts(len(hits.frame))
    columns = Columns(len(hits.frame))
    tools = Tools(classifier, now, salt_of, random_id)
    identified = NOBODY  # where no hit is read, 12 ms of looking at empty columns are saved
    if len(hits.frame):
        identified = read_hits(hits, batches, decoded.hit_faults, tools, columns, of_hits)
    taken = np.flatnonzero(~of_hits.refused)
    return Admitted(
        _stored(columns, hits, batches, identified.visitor.low, taken, partitions),
        rejected_of(decoded, batches, of_batches, hits, of_hits, identified),
        issues_of(batches, of_batches, hits, of_hits, identified),
        np.bincount(hits.frame[taken], minlength=len(decoded.frames)).astype(np.int64),
    )


@lru_cache(maxsize=_MOST_SITES)
def _site_hash(name: str) -> int:
    return hash64(name)


def _stored(
    columns: Columns,
    hits: Hits,
    batches: Batches,
    visitor_lo: npt.NDArray[np.uint64],
    taken: npt.NDArray[np.int64],
    partitions: int,
) -> pl.DataFrame:
    """Returns the rows taken, by partition (decision A4)."""
    senders = batches.senders
    site = senders.site[hits.sender[taken]]
    site_hash = np.array([_site_hash(each.name) for each in senders.sites], dtype=np.uint64)
    spread = np.array([each.spread for each in senders.sites], dtype=np.uint64)
    partition = partition_of(site_hash[site], visitor_lo[taken], spread[site], partitions)
    # The sort of 16-bit numbers is a radix sort.
    narrow = partition.astype(np.int16) if partitions <= np.iinfo(np.int16).max else partition
    order = np.argsort(narrow, kind="stable")
    rows = taken[order]
    origin = [
        pl.Series("frame", hits.frame[rows].astype(np.uint32)),
        pl.Series("partition", partition[order].astype(np.int32)),
    ]
    return pl.DataFrame(columns.series_of(rows) + origin)
