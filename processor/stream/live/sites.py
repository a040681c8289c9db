"""Number a partition's sites and hold the rules that a step needs (step 5 of the journey).

Policies come from the site directory through the caller. A policy is fixed before it takes effect (rules §4), so that a
replay sees the same policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from hitmesh.model.keys import hash64
from hitmesh.model.sites import PolicyChange, VisitPolicy, policies_between


class SiteRules(NamedTuple):
    """How a site's hits become visits: the policy before all changes, the zone, and changes of the policy."""

    policy: VisitPolicy
    zone: str
    changes: tuple[PolicyChange, ...] = ()

    @property
    def group(self) -> SiteRules:
        """The rules that sites must share to build their visits together; the zone matters only for local midnights."""
        has_midnights = self.policy.split_at_local_midnight or any(
            change.split_at_local_midnight for change in self.changes
        )
        return self if has_midnights else self._replace(zone="UTC")

    def between(self, first: int, last: int) -> list[tuple[int, VisitPolicy]]:
        """Return the policies for visits that begin in [first, last] (UTC ms), each with the instant of its change."""
        return policies_between(self.policy, self.changes, first, last)


DEFAULT_RULES: Final = SiteRules(VisitPolicy(), "UTC")


class Sites:
    """Sites by number, in the order in which they arrived.

    Attributes:
        known_through: the UTC day through which the policies of all sites are known; None: not asked yet.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._groups: list[SiteRules] = []
        self._hashes = np.empty(0, np.uint64)
        self._gaps = np.empty(0, np.int64)
        self._group_of = np.empty(0, np.int32)
        self.known_through: int | None = None
        self.add(dict.fromkeys(names, DEFAULT_RULES))

    def add(self, rules: Mapping[str, SiteRules]) -> None:
        """Add new sites, and update the rules for known sites."""
        fresh = self.unknown(list(rules))
        for name in fresh:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        self._hashes = np.concatenate([self._hashes, np.array([hash64(name) for name in fresh], np.uint64)])
        self._gaps = np.concatenate([self._gaps, np.zeros(len(fresh), np.int64)])
        self._group_of = np.concatenate([self._group_of, np.zeros(len(fresh), np.int32)])
        for name, rule in rules.items():
            number = self._numbers[name]
            if rule.group not in self._groups:
                self._groups.append(rule.group)
            self._gaps[number] = rule.policy.gap_ms
            self._group_of[number] = self._groups.index(rule.group)

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Return the names that have no number."""
        return [name for name in names if name not in self._numbers]

    def known(self, names: Iterable[str]) -> list[str]:
        """Return the names that have a number."""
        return [name for name in names if name in self._numbers]

    def numbers(self, sites: pl.Series) -> I32Array:
        """Return each site's number (n,); all sites must be known."""
        distinct = sites.unique(maintain_order=True)
        if len(distinct) <= 1:
            return np.full(len(sites), self._numbers[distinct[0]] if len(distinct) else 0, np.int32)
        table = {name: self._numbers[name] for name in distinct.to_list()}
        return sites.replace_strict(table, return_dtype=pl.Int32).to_numpy()

    def texts(self, numbers: npt.NDArray[np.integer]) -> pl.Series:
        """Return each site's name (n,)."""
        return pl.Series(self.names, dtype=pl.String).gather(numbers.astype(np.uint32))

    def hashes(self, numbers: I32Array) -> U64Array:
        """Return hash64 of each site's name (n,)."""
        return self._hashes[numbers]

    def gaps(self, numbers: I32Array) -> I64Array:
        """Return the gap in each site's policy, ms (n,)."""
        return self._gaps[numbers]

    def by_rules(self, numbers: I32Array) -> list[tuple[SiteRules, BoolArray | None]]:
        """Return the distinct rules, each with a mask for its sites (n,); None for rules that all sites share."""
        group_of = self._group_of[numbers]
        found = np.unique(group_of)
        if len(found) <= 1:
            return [(self._groups[int(group)], None) for group in found]
        return [(self._groups[int(group)], group_of == group) for group in found]
