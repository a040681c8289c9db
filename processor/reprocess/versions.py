"""Decides under which logic and rules a reprocessing recomputes a day.

Days after the plan keep their logic and rules. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from hitmesh.model.logic import Logic, logic_named
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Reprocessing
from hitmesh.model.sites import SiteDay


def logic_for(reprocessing: Reprocessing, day: int) -> Logic | None:
    """Return the logic under which a day is recomputed; None means the current generation's logic.

    Raises:
        RefusedError: this release does not have the reprocessing's logic version.
    """
    is_changed = reprocessing.kind is Kind.LOGIC and reprocessing.is_planned(day)
    return logic_named(reprocessing.logic) if is_changed else None


def rules_for(reprocessing: Reprocessing, site_day: SiteDay) -> Mapping[int, int]:
    """Return the exclusion-rule version for a day and both neighbouring days.

    If all three days keep their version, the result is empty.
    """
    site, day = site_day
    if reprocessing.kind is not Kind.RULES:
        return {}
    days = range(max(day - 1, reprocessing.first_day), min(day + 2, reprocessing.end_day))
    return dict.fromkeys(days, reprocessing.rules_of(site))
