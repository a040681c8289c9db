"""Assigns numbers to a partition's sites. Keeps the sites' rules that a step needs (journey step 5).

The caller reads the policies from the site directory. After a policy takes effect, it no longer changes (rules §4). A
replay therefore uses the same policies as the first run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from hitmesh.model.keys import hash64
from hitmesh.model.sites import PolicyChange, VisitPolicy, policies_between


class SiteRules(NamedTuple):
    """A site's rules for building visits: the first policy, later changes of the policy, and the time zone."""

    policy: VisitPolicy
    zone: str
    changes: tuple[PolicyChange, ...] = ()

    def between(self, first: int, last: int) -> BuildingRules:
        """Return the rules that apply to visits that begin in [first, last] (UTC ms)."""
        found = policies_between(self.policy, self.changes, first, last)
        policies = tuple(found[:1] + [after for before, after in pairwise(found) if after[1] != before[1]])
        has_midnights = any(policy.split_at_local_midnight for _, policy in policies)
        return BuildingRules(policies, self.zone if has_midnights else "UTC")


class BuildingRules(NamedTuple):
    """The rules for building visits. Visits of sites with equal rules are built together.

    Attributes:
        policies: the policies that are in force, in ascending order. Each policy has the instant from which it applies
            (UTC ms).
        zone: the site's time zone if a policy splits visits at local midnight; otherwise UTC.
    """

    policies: tuple[tuple[int, VisitPolicy], ...]
    zone: str


DEFAULT_RULES: Final = SiteRules(VisitPolicy(), "UTC")


class Sites:
    """The sites of a partition, numbered in the order in which they arrived.

    Attributes:
        known_through: the last UTC day for which the policies of all sites were read; None before the first read.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._rules: list[SiteRules] = []
        self._numbers_of_rules: dict[SiteRules, int] = {}
        self._hashes = np.empty(0, np.uint64)
        self._gaps = np.empty(0, np.int64)
        self._rules_of = np.empty(0, np.int32)
        self.known_through: int | None = None
        self.add(dict.fromkeys(names, DEFAULT_RULES))

    def add(self, rules: Mapping[str, SiteRules]) -> None:
        """Add the new sites in `rules`. For sites that are already known, replace the rules."""
        fresh = self.unknown(list(rules))
        for name in fresh:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        self._hashes = np.concatenate([self._hashes, np.array([hash64(name) for name in fresh], np.uint64)])
        self._gaps = np.concatenate([self._gaps, np.zeros(len(fresh), np.int64)])
        self._rules_of = np.concatenate([self._rules_of, np.zeros(len(fresh), np.int32)])
        for name, rule in rules.items():
            number = self._numbers[name]
            self._gaps[number] = rule.policy.gap_ms
            if rule not in self._numbers_of_rules:
                self._numbers_of_rules[rule] = len(self._rules)
                self._rules.append(rule)
            self._rules_of[number] = self._numbers_of_rules[rule]

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Return the site names that have no number yet."""
        return [name for name in names if name not in self._numbers]

    def known(self, names: Iterable[str]) -> list[str]:
        """Return the site names that have a number."""
        return [name for name in names if name in self._numbers]

    def numbers(self, sites: pl.Series) -> I32Array:
        """Return each site's number (n,). All sites must have a number."""
        distinct = sites.unique(maintain_order=True)
        if len(distinct) <= 1:
            return np.full(len(sites), self._numbers[distinct[0]] if len(distinct) else 0, np.int32)
        table = {name: self._numbers[name] for name in distinct.to_list()}
        return sites.replace_strict(table, return_dtype=pl.Int32).to_numpy()

    def texts(self, numbers: npt.NDArray[np.integer]) -> pl.Series:
        """Return each site's name (n,)."""
        return pl.Series(self.names, dtype=pl.String).gather(numbers.astype(np.uint32))

    def hashes(self, numbers: I32Array) -> U64Array:
        """Return the hash64 of each site's name (n,)."""
        return self._hashes[numbers]

    def gaps(self, numbers: I32Array) -> I64Array:
        """Return the longest gap in ms between two hits of a visit, according to each site's policy (n,)."""
        return self._gaps[numbers]

    def by_rules(self, numbers: I32Array, first: int, last: int) -> list[tuple[BuildingRules, BoolArray | None]]:
        """Return the distinct rules for visits that begin in [first, last] (UTC ms).

        If two sites' policies are equal from `first` to `last`, the sites share a BuildingRules value. The number of
        returned values therefore does not grow with the number of sites.

        Returns:
            The BuildingRules values, each with a mask (n,) that is true for the sites with this value. If a single
            value applies to all sites, the mask is None.
        """
        rules_of = self._rules_of[numbers]
        groups: dict[BuildingRules, list[int]] = {}
        for number in np.unique(rules_of):
            groups.setdefault(self._rules[int(number)].between(first, last), []).append(int(number))
        if len(groups) <= 1:
            return [(rules, None) for rules in groups]
        return [(rules, np.isin(rules_of, members)) for rules, members in groups.items()]
