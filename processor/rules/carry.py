"""A carry is the state that a settled day hands to the next day (rule L4).

A carry contains the visits that were open at the day's end, in their state at that instant. The day's settlement has
also read the next day's hits that continue the open visits. The carry contains a digest of the continuing hits. With
the digest, the next day's settlement detects whether the day's settlement has read all hits of the open visits. Equal
carries have equal bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.rows.expressions import as_types
from hitmesh.model.rows.rollup_rows import VISIT_DIMENSIONS
from hitmesh.model.stored import SETTLED_CURE, decoding, opened, sealed
from processor.rules.visits import OPEN_COLUMNS, TIMELINE, Summaries

# The dimensions that a carry contains for each open visit.
CARRIED_DIMENSIONS: Final = ("hostname", *VISIT_DIMENSIONS)
CARRY_COLUMNS: Final[dict[str, pl.DataType]] = {
    **OPEN_COLUMNS,
    **dict.fromkeys(CARRIED_DIMENSIONS, pl.String()),
}
_MAGIC: Final = b"HMC1"
_HEADER: Final = struct.Struct("<4sQ")
_MULTIPLIERS: Final = tuple(
    np.uint64(odd)
    for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
)


@dataclass(frozen=True, slots=True)
class Carry:
    """The visits that were open at the end of a day.

    Attributes:
        open_visits: the open visits with `CARRY_COLUMNS`, at most one visit per timeline, sorted by timeline.
        followed: the `digest` of the hits on the next day that continue the open visits. Only hits that the day's
            settlement has read are included.
    """

    open_visits: pl.DataFrame
    followed: int = 0

    def to_bytes(self) -> bytes:
        """Return the carry as bytes: a header with version and digest, then an Arrow IPC stream."""
        target = BytesIO()
        rows = self.open_visits[list(CARRY_COLUMNS)].sort(TIMELINE).rechunk()
        rows.write_ipc_stream(target, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
        return sealed(_HEADER.pack(_MAGIC, self.followed) + target.getvalue())

    @classmethod
    def from_bytes(cls, value: bytes) -> Carry:
        """Decode a carry from stored bytes.

        Raises:
            StoreCorrupt: the bytes are not a carry of this version.
        """
        value = bytes(opened(value, "a carry", SETTLED_CURE, _MAGIC))
        if len(value) < _HEADER.size or not value.startswith(_MAGIC):
            raise StoreCorrupt(
                f"a carry of {len(value)} bytes is not of version {_MAGIC.decode()}; {SETTLED_CURE}",
                size=len(value),
                newest=_MAGIC.decode(),
            )
        _, followed = _HEADER.unpack_from(value)
        with decoding(f"a carry of {len(value)} bytes", SETTLED_CURE):
            open_visits = pl.read_ipc_stream(BytesIO(value[_HEADER.size :])).select(*CARRY_COLUMNS)
        return cls(open_visits, followed)

    def hands_on_the_same(self, other: Carry) -> bool:
        """Return whether the next day's settlement has the same result with both carries."""
        return self.open_visits.equals(other.open_visits)


def no_open_visits() -> pl.DataFrame:
    """Return the rows of a carry without open visits."""
    return pl.DataFrame(schema=CARRY_COLUMNS)


def open_rows(visits: Summaries, hits: pl.DataFrame, carried: pl.DataFrame) -> pl.DataFrame:
    """Return open visits as rows with `CARRY_COLUMNS`.

    Args:
        visits: the open visits, in their state at the day's end.
        hits: the rows to which the summaries' row numbers refer: timeline, page_path and dimensions.
        carried: the rows of the carry from the day before, to which negative row numbers in the summaries refer.
    """
    timelines = first_values(visits, hits, carried, TIMELINE)
    numbers = pl.DataFrame(
        {
            "start": visits.start,
            "first_hash": visits.first_hash,
            "last": visits.last,
            "hits": visits.hits,
            "interactive_hits": visits.interactive_hits,
            "views": visits.views,
            "campaign_hash": visits.campaign,
        }
    )
    rows = pl.concat([timelines, numbers, visit_dimensions(visits, hits, carried)], how="horizontal")
    return rows.select(as_types(CARRY_COLUMNS))


def visit_dimensions(visits: Summaries, hits: pl.DataFrame, carried: pl.DataFrame) -> pl.DataFrame:
    """Return each visit's `CARRIED_DIMENSIONS` (rule S6): the first hit's dimensions and the first view's page."""
    of_first = tuple(name for name in CARRIED_DIMENSIONS if name != "landing_page")
    landing = hits["page_path"].gather(np.maximum(visits.landing, 0)) if hits.height else None
    pages = (
        pl.select(pl.when(pl.Series(visits.landing >= 0)).then(landing).otherwise(None).cast(pl.String)).to_series()
        if landing is not None
        else pl.Series([None] * len(visits), dtype=pl.String)
    )
    dimensions = first_values(visits, hits, carried, of_first).with_columns(pages.alias("landing_page"))
    if not (visits.first < 0).any():
        return dimensions[list(CARRIED_DIMENSIONS)]
    # The first view of a carried-in visit is either in `carried` or in `hits`.
    before = np.where(visits.first < 0, -1 - visits.first, 0)
    viewed = (visits.first < 0) & (carried["views"].to_numpy()[before] > 0)
    known = carried["landing_page"].gather(before)
    return dimensions.with_columns(
        pl.when(pl.Series(viewed)).then(known).otherwise(pl.col("landing_page")).alias("landing_page")
    ).select(CARRIED_DIMENSIONS)


def first_values(visits: Summaries, hits: pl.DataFrame, carried: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """Return the columns `names` for each visit.

    The values are from the visit's first hit; for a carried-in visit, they are from the carry.
    """
    is_carried = visits.first < 0
    if not is_carried.any():
        return hits[list(names)][visits.first]
    of_hits = hits[list(names)][visits.first[~is_carried]]
    of_carry = carried[list(names)][-1 - visits.first[is_carried]]
    places = np.concatenate([np.flatnonzero(~is_carried), np.flatnonzero(is_carried)])
    return pl.concat([of_hits, of_carry])[np.argsort(places)]


def digest(hits: pl.DataFrame, wins_order: BoolArray, excluded_by_rule: BoolArray | None = None) -> int:
    """Return the sum modulo 2⁶⁴ of the hits' hashes.

    A hit's hash covers all values of the hit that can change its visit.

    Args:
        hits: hits in visits, in any order.
        wins_order: (n,) whether the hit is the ORDER that counts (rule D3).
        excluded_by_rule: (n,) whether the hit is excluded only by an exclusion rule; None if no value is True. A hit
            that is excluded as a bot or as referrer spam has the value False, because this exclusion never changes.
    """
    mixed = np.zeros(hits.height, np.uint64)
    columns = [hits[name].to_numpy() for name in ("visitor_lo", "hit_hash", "content_hash")]
    decided = wins_order.astype(np.uint64)
    if excluded_by_rule is not None:
        decided += excluded_by_rule.astype(np.uint64) * np.uint64(2)
    for values, odd in zip(
        [*columns, hits["event_time"].to_numpy().view(np.uint64), decided],
        _MULTIPLIERS,
        strict=True,
    ):
        mixed = (mixed ^ (values * odd)) * _MULTIPLIERS[0]
        mixed ^= mixed >> np.uint64(29)
    return int(np.add.reduce(mixed, dtype=np.uint64)) if len(mixed) else 0
