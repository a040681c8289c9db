"""Logs the exclusion rules that a settlement skips because the rules do not compile.

A new rule is refused if it does not compile within the limits. A rule that was accepted may still not compile, because
a later release may have other limits. Settlement and the collector's admission then continue without the rule. The rule
is logged, because reports then include hits that the rule would exclude.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.model.days import date_text
from hitmesh.model.exclusion import ExclusionRule
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.logs import logger

_MAX_NAMED: Final = 10_000


class SkippedRules:
    """Logs each site's skipped rules once. An instance must be used by one thread only.

    Args:
        max_named: at most this many pairs (site, skipped rules) are remembered as logged.
    """

    def __init__(self, max_named: int = _MAX_NAMED) -> None:
        self._max_named = max_named
        self._named: set[tuple[str, Sequence[str]]] = set()

    def note(self, site_day: SiteDay, rules: Sequence[ExclusionRule]) -> None:
        """Log the rules that a site-day's settlement skipped, unless they were logged before."""
        key = (site_day.site, tuple(rule.id for rule in rules))
        if not rules or key in self._named:
            return
        if len(self._named) >= self._max_named:
            self._named.clear()
        self._named.add(key)
        logger().error(
            "exclusion_rules_skipped",
            site=site_day.site,
            date=date_text(site_day.day),
            rules=[f"{rule.id}: {rule.kind} {rule.value[:64]!r}" for rule in rules],
            message="the rules do not compile and match no hit: delete the rules, then run a plan of kind rules",
        )
