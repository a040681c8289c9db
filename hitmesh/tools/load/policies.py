"""Finds the sites whose visits the generator does not predict. Pure.

The generator predicts visits under a new site's visit policy only: a campaign change splits a visit, and
midnight does not. The gap between visits (rule S1) is the same for all sites and is not part of a policy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.model.days import day_of
from hitmesh.model.plurals import counted
from hitmesh.model.sites import PolicyChange, VisitPolicy, changed_policy, policies_between
from hitmesh.tools.load.visitors import MOST_TIMELINE

PREDICTED: Final = VisitPolicy().version
"""The version of the visit policy under which the generator predicts visits."""


def other_policies(site: admin_pb2.Site, first_ms: int, last_ms: int) -> frozenset[str]:
    """Return the versions of a site's visit policies, for visits that begin in a range, that are not PREDICTED.

    Args:
        site: the site.
        first_ms: the first instant at which a visit may begin, UTC ms.
        last_ms: the last instant at which a visit may begin, UTC ms.
    """
    changes = [
        _change(day_of("first_utc_date", change.first_utc_date), change.visit_policy)
        for change in site.visit_policy_changes
    ]
    created = changed_policy(VisitPolicy(), _change(0, site.visit_policy))
    versions = {policy.version for _, policy in policies_between(created, changes, first_ms, last_ms)}
    return frozenset(versions - {PREDICTED})


def not_predicted(used: Collection[int], predicted: Collection[int], policies: Mapping[int, frozenset[str]]) -> str:
    """Return why some sites' visits are not predicted, or an empty text if all are predicted.

    Args:
        used: all sites' ranks in the run.
        predicted: the ranks of the sites for which the generator has visits.
        policies: for the rank of each site with another visit policy, the versions of its policies.
    """
    versions = ", ".join(sorted({version for of_site in policies.values() for version in of_site}))
    long = len(set(used) - set(predicted) - policies.keys())
    reasons = []
    if policies:
        reasons.append(
            f"not predicted for {counted(len(policies), 'site')} with visit policy {versions}, because the generator "
            f"knows only visit policy {PREDICTED}"
        )
    if long:
        reasons.append(
            f"not predicted for {counted(long, 'site')}, because each has a visitor with over {MOST_TIMELINE:,} "
            "on-time hits"
        )
    return "; ".join(reasons)


def _change(day: int, policy: admin_pb2.VisitPolicy) -> PolicyChange:
    return PolicyChange(day, not policy.campaign_keeps_visit, policy.split_at_local_midnight)
