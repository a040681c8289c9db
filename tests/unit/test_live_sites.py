"""Test groups of sites whose visits are built together."""

from __future__ import annotations

import numpy as np

from hitmesh.model.sites import PolicyChange, VisitPolicy
from hitmesh.model.zones import DAY_MS
from processor.stream.live.sites import SiteRules, Sites

DAY = 20_000
KEEPS = VisitPolicy("v1-campaign-keeps", campaign_splits=False)


def sites_with(*changes: tuple[PolicyChange, ...]) -> Sites:
    sites = Sites()
    sites.add({f"site-{number}": SiteRules(VisitPolicy(), "UTC", each) for number, each in enumerate(changes)})
    return sites


def groups(sites: Sites, first_day: int, end_day: int) -> list[list[int]]:
    """Return groups of sites, each as a list of site numbers, for visits that begin on days in [first_day, end_day)."""
    numbers = np.arange(len(sites.names), dtype=np.int32)
    found = sites.by_rules(numbers, first_day * DAY_MS, end_day * DAY_MS - 1)
    return [numbers.tolist() if mask is None else numbers[mask].tolist() for _, mask in found]


def test_sites_with_different_changes_share_a_group_while_their_policies_are_equal() -> None:
    sites = sites_with((), *((PolicyChange(DAY + number, False, False),) for number in range(50)))
    assert groups(sites, DAY - 1, DAY) == [list(range(51))]
    assert groups(sites, DAY + 50, DAY + 51) == [[0], list(range(1, 51))]
    assert groups(sites, DAY + 9, DAY + 10) == [[0, *range(11, 51)], list(range(1, 11))]


def test_a_change_to_the_same_policy_separates_no_sites() -> None:
    sites = sites_with((), (PolicyChange(DAY, True, False), PolicyChange(DAY + 1, True, False)))
    assert groups(sites, DAY - 1, DAY + 2) == [[0, 1]]


def test_zones_separate_sites_only_where_midnight_splits_visits() -> None:
    sites = Sites()
    change = (PolicyChange(DAY, True, True),)
    sites.add({zone: SiteRules(VisitPolicy(), zone, change) for zone in ("Europe/Berlin", "Asia/Kathmandu")})
    assert groups(sites, DAY - 1, DAY) == [[0, 1]]
    assert groups(sites, DAY - 1, DAY + 1) == [[0], [1]]


def test_rules_name_the_instant_of_each_change() -> None:
    rules = SiteRules(VisitPolicy(), "UTC", (PolicyChange(DAY, False, False),))
    found = rules.between((DAY - 1) * DAY_MS, DAY * DAY_MS)
    assert found.policies == (((DAY - 1) * DAY_MS, VisitPolicy()), (DAY * DAY_MS, KEEPS))
