"""Decides which hits a settlement excludes, by the site's exclusion rules.

Each UTC day may have its own version of the rules. The version of a hit's UTC day decides about the hit, even if the
settlement of a neighbouring day reads the hit. Each hit is therefore excluded either in all settlements or in none. If
no version of the rules is stored for a day, the collector's decisions in the log apply. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.errors import FatalError
from hitmesh.model.exclusion import AS_COLLECTED, NO_RULES, ExclusionRule, RuleKind, SiteRules
from hitmesh.model.reasons import EXCLUDING_FLAGS, RULE_FLAGS, ErrorReason
from hitmesh.model.rows.rule_flags import MATCHED, broken_rules, matcher_of, rule_flags, rule_steps
from hitmesh.model.zones import DAY_MS

SETTLED_STEPS_A_HIT: Final = 2_000
"""For each hit that is decided, a settlement may spend this many RE2 steps on the rules' patterns."""
SETTLED_FREE_STEPS: Final = 2_000_000_000
"""Whatever the number of hits, a settlement may also spend this many RE2 steps, which take at most 24 s of CPU time."""
_NETWORK: Final = MATCHED[RuleKind.NETWORK].column


@dataclass(frozen=True, slots=True)
class DayRules:
    """The exclusion rules that apply to the days of a site.

    Attributes:
        rules: the site's rules, in all versions.
        versions: the version for each UTC day; AS_COLLECTED for all other days.
        steps_a_hit, free_steps: the limit for RE2 steps is free_steps, plus steps_a_hit for each hit that is decided.
    """

    rules: SiteRules = NO_RULES
    versions: Mapping[int, int] = field(default_factory=dict)
    steps_a_hit: int = SETTLED_STEPS_A_HIT
    free_steps: int = SETTLED_FREE_STEPS

    @property
    def columns(self) -> tuple[str, ...]:
        """The hit columns that the rules compare, in the order of RULE_COLUMNS."""
        kinds = {rule.kind for version in self._decided for rule in self.rules.at(version)}
        return tuple(matched.column for kind, matched in MATCHED.items() if kind in kinds)

    @property
    def decide_anew(self) -> bool:
        """Whether any day has a version of the rules.

        If no version is stored for a day, the collector's decisions apply.
        """
        return bool(self._decided)

    @property
    def skipped(self) -> tuple[ExclusionRule, ...]:
        """The rules that do not compile, in all versions that decide about a day. A skipped rule matches no hit."""
        found = (rule for version in self._decided for rule in broken_rules(self.rules.at(version)))
        return tuple(dict.fromkeys(found))

    def decided(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the hits with the flags that follow from the rules of their days.

        Args:
            rows: hits with event_time, flags, and `columns`.

        Raises:
            FatalError: the patterns need too many steps (FILTER_TOO_DEAR). The error is raised before any pattern is
            matched. A site's rules must not delay the settlement of other sites.
        """
        if not self.decide_anew or rows.is_empty():
            return rows
        versions = self._decided
        matchers = [matcher_of(self.rules.at(version)) for version in versions]
        days = rows["event_time"].to_numpy() // DAY_MS
        version = self._version_of(days)
        anew = version != AS_COLLECTED
        which = np.searchsorted(versions, version[anew])
        flags = rows["flags"].to_numpy().copy()
        looked_at = rows.select("flags", *self.columns).filter(pl.Series(anew))
        self._refuse_dear(int(rule_steps(looked_at, matchers, which)["steps"].sum()), looked_at.height)
        flags[anew] = (flags[anew] & ~np.uint32(RULE_FLAGS)) | rule_flags(looked_at, matchers, which)
        return rows.with_columns(pl.Series("flags", flags, pl.UInt32))

    def not_applicable(self, rows: pl.DataFrame, day: int) -> int:
        """Return the number of the day's hits without a stored network; 0 if no rule of the day compares networks."""
        rules = self.rules.at(self.versions.get(day, AS_COLLECTED))
        if not any(rule.kind is RuleKind.NETWORK for rule in rules):
            return 0
        return rows.filter(pl.col("event_time") // DAY_MS == day, pl.col(_NETWORK).is_null()).height

    def _refuse_dear(self, steps: int, hits: int) -> None:
        limit = self.free_steps + self.steps_a_hit * hits
        if steps > limit:
            raise FatalError(
                f"the exclusion rules need {steps:,} steps for {hits:,} hits; the limit is {limit:,} (RE2 instructions "
                "× bytes of distinct values): shorten or delete the site's rules of kind page and user_agent, then run "
                "a plan of kind rules for the day",
                reason=ErrorReason.FILTER_TOO_DEAR,
                steps=steps,
                count=hits,
                limit=limit,
            )

    @property
    def _decided(self) -> list[int]:
        """All versions of the rules that decide about a day, in ascending order."""
        return sorted({version for version in self.versions.values() if version != AS_COLLECTED})

    def _version_of(self, days: I64Array) -> I64Array:
        distinct, place = np.unique(days, return_inverse=True)
        return np.array([self.versions.get(int(day), AS_COLLECTED) for day in distinct], np.int64)[place]


COLLECTED: Final = DayRules()
"""The rules if no version is stored for any day: the collector's decision about each hit applies."""


def excluded_by_rule(flags: npt.NDArray[np.uint32]) -> BoolArray:
    """Return whether each hit is excluded by exclusion rules, but neither as a bot nor as referrer spam."""
    others = np.uint32(EXCLUDING_FLAGS & ~RULE_FLAGS)
    found: BoolArray = (flags & np.uint32(RULE_FLAGS) != 0) & (flags & others == 0)
    return found


def with_excluded(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the hits with the column `excluded`: True if a flag excludes the hit."""
    return rows.with_columns((pl.col("flags") & int(EXCLUDING_FLAGS) != 0).alias("excluded"))
