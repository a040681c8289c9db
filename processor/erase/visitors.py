"""Recognises erased visitors' hits by erasure marks. All functions are pure.

A mark contains only the visitor's hash. On a site with marks, each distinct visitor is therefore hashed, which takes
about 1 µs. Each mark has a time `until`, up to which the visitor's hits are erased. If a hit is later than `until` in
all the site's marks, the hit's visitor is not hashed. Nearly all hits of live traffic are later than all these times.
Visitors of sites without marks are not hashed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.claims import OrderClaim
from hitmesh.model.erasures import ErasureMark, timeline_digest
from hitmesh.model.keys import hash64, timeline_keys, visitors_of
from hitmesh.model.rows.erased_rows import is_erased
from hitmesh.model.zones import DAY_MS


class ErasedVisitors:
    """The erased visitors on some sites.

    Args:
        mesh_secret: the mesh secret.
        marks: erasure marks.
    """

    def __init__(self, mesh_secret: bytes, marks: Iterable[ErasureMark] = ()) -> None:
        self._secret = mesh_secret
        self._until: dict[str, dict[str, int]] = {}
        for mark in marks:
            of_site = self._until.setdefault(mark.site, {})
            of_site[mark.digest] = max(mark.until, of_site.get(mark.digest, 0))

    def __bool__(self) -> bool:
        return bool(self._until)

    @cached_property
    def sites(self) -> frozenset[str]:
        """The sites that have erased visitors."""
        return frozenset(self._until)

    def later_than(self, until: int) -> ErasedVisitors:
        """Return the erased visitors whose mark ends after the time `until` (UTC ms)."""
        later = ErasedVisitors(self._secret)
        for site, of_site in self._until.items():
            found = {digest: end for digest, end in of_site.items() if end > until}
            if found:
                later._until[site] = found
        return later

    def until(self, site: str, timelines: U64Array) -> I64Array:
        """Return for each timeline the instant (UTC ms) from which its hits are accepted; 0 without an erasure."""
        of_site = self._until.get(site)
        if not of_site or not len(timelines):
            return np.zeros(len(timelines), np.int64)
        distinct, places = np.unique(visitors_of(timelines), return_inverse=True)
        found = [of_site.get(timeline_digest(self._secret, timeline), 0) for timeline in distinct.tolist()]
        untils: I64Array = np.array(found, np.int64)[places]
        return untils

    def hits(self, rows: pl.DataFrame) -> BoolArray:
        """Return a boolean array (n,): True for each row that is an erased visitor's hit and is not blank yet.

        Args:
            rows: site, visitor_hi, visitor_lo, event_time, flags.
        """
        erased = np.zeros(rows.height, np.bool_)
        marked = self.sites.intersection(rows["site"].unique().to_list()) if self._until else frozenset[str]()
        for site in marked:
            latest = max(self._until[site].values())
            earlier = (pl.col("site") == site) & (pl.col("event_time") < latest) & ~is_erased()
            at = np.flatnonzero(rows.select(earlier).to_series().to_numpy())
            names = ("visitor_hi", "visitor_lo", "event_time")
            high, low, times = (rows[name].to_numpy()[at] for name in names)
            erased[at] = times < self.until(site, _timelines(site, high, low))
        return erased

    def has_claim(self, claim: OrderClaim) -> bool:
        """Return whether a claim comes from an erased hit.

        A claim contains its hit's UTC day, but not the hit's time. If the hit is on the UTC day of the mark's time
        `until`, the claim's log time is therefore compared with `until`.
        """
        high, low = (np.array([part], np.uint64) for part in (claim.visitor_hi, claim.visitor_lo))
        until = int(self.until(claim.site, _timelines(claim.site, high, low))[0])
        last_day = until // DAY_MS
        return claim.day < last_day or (claim.day == last_day and claim.log_time < until)


def _timelines(site: str, high: U64Array, low: U64Array) -> U64Array:
    return timeline_keys(np.full(len(high), hash64(site), np.uint64), high, low, np.zeros(len(high), np.bool_))
