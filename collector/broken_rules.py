"""Writes a log line about exclusion rules that do not compile. Admission skips rules that do not compile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from collector.admission.batches import Grant
from hitmesh.model.rows.rule_flags import broken_rules
from hitmesh.runtime.logs import Seldom, logger

_MAX_CHECKED: Final = 10_000


class BrokenRules:
    """Logs each site's broken rules once per version of the site's rules. An instance must be used by one thread only.

    Args:
        seldom: the rate limit for log lines. If the limit does not allow a line for a site, the line is written when a
            later batch arrives.
        max_checked: the maximum number of pairs (site, rules version) that are remembered as checked.
    """

    def __init__(self, seldom: Seldom, max_checked: int = _MAX_CHECKED) -> None:
        self._seldom = seldom
        self._max_checked = max_checked
        self._checked: set[tuple[str, int]] = set()

    def note(self, answers: Iterable[object]) -> None:
        """Check the rules of every site to which a grant in `answers` gives access."""
        sites = {answer.site.name: answer.site for answer in answers if isinstance(answer, Grant)}
        for site in sites.values():
            key = (site.name, site.rules.version)
            if not site.rules.version or key in self._checked:
                continue
            broken = broken_rules(site.rules.current)
            if broken and not self._seldom.due("exclusion_rules_skipped"):
                continue
            if broken:
                rules = [f"{rule.id}: {rule.kind} {rule.value[:64]!r}" for rule in broken]
                hint = "the rules do not compile and match no hit: delete the rules"
                logger().error("exclusion_rules_skipped", site=site.name, rules=rules, message=hint)
            if len(self._checked) >= self._max_checked:
                self._checked.clear()
            self._checked.add(key)
