"""Complete a plan of kind RULES: add the version of each site's rules, and the number of hits without an address.

A plan contains the versions from the time of planning, so later changes of the rules do not affect the reprocessing.
"""

from __future__ import annotations

from dataclasses import replace

from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.exclusion import NO_RULES, RuleKind, SiteRules
from hitmesh.model.reprocessings import Reprocessing
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Generations, SiteDirectory


def with_site_rules(
    planned: Reprocessing, directory: SiteDirectory, generations: Generations, checkpoint: Checkpoint
) -> Reprocessing:
    """Return the plan with the version of each site's rules. Each site is read separately.

    Raises:
        Abandoned: the caller left or the deadline passed. The checkpoint is called before each read.
    """
    versions, not_applicable = [], 0
    for name in planned.sites:
        checkpoint()
        site = directory.site_or_deleted(name)
        rules = site.rules if site else NO_RULES
        versions.append(rules.version)
        end_day = _first_day_with_networks(rules, planned)
        if end_day > planned.first_day and any(rule.kind is RuleKind.NETWORK for rule in rules.current):
            ledgers = generations.ledger(name, planned.first_day, end_day)
            not_applicable += sum(entry.accepted for entry in ledgers.values())
    return replace(planned, rules=tuple(versions), not_applicable=not_applicable)


def _first_day_with_networks(rules: SiteRules, planned: Reprocessing) -> int:
    """Return the first planned day that began after `store_network` was set.

    If no planned day began after `store_network` was set, return the day after the plan's last day.
    """
    if rules.networks_since is None:
        return planned.end_day
    return min(-(-rules.networks_since // DAY_MS), planned.end_day)
