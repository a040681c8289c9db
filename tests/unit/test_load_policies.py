"""Test for which sites `hitmesh load` compares visits: only for sites with the policy that the generator knows."""

from __future__ import annotations

import pytest

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.model.days import day_message
from hitmesh.model.zones import DAY_MS
from hitmesh.tools.load.policies import not_predicted, other_policies

TODAY = 20_700
KEEPS = admin_pb2.VisitPolicy(campaign_keeps_visit=True)
MIDNIGHT = admin_pb2.VisitPolicy(split_at_local_midnight=True)


def a_site(created: admin_pb2.VisitPolicy | None = None, **changes: admin_pb2.VisitPolicy) -> admin_pb2.Site:
    """Return a site; the name of a change is `day` and the number of days after TODAY."""
    return admin_pb2.Site(
        visit_policy=created,
        visit_policy_changes=[
            admin_pb2.VisitPolicyChange(first_utc_date=day_message(TODAY + int(day[3:])), visit_policy=policy)
            for day, policy in changes.items()
        ],
    )


@pytest.mark.parametrize(
    ("site", "other"),
    [
        (a_site(), set()),
        (a_site(KEEPS), {"v1-campaign-keeps"}),
        (a_site(MIDNIGHT), {"v1-midnight"}),
        (a_site(KEEPS, day0=admin_pb2.VisitPolicy()), set()),
        (a_site(day0=KEEPS), {"v1-campaign-keeps"}),
        (a_site(day1=KEEPS), {"v1-campaign-keeps"}),
        (a_site(day2=KEEPS), set()),
        (a_site(KEEPS, day1=MIDNIGHT), {"v1-campaign-keeps", "v1-midnight"}),
    ],
)
def test_policies_that_apply_during_the_run_are_compared_with_the_generators_policy(
    site: admin_pb2.Site, other: set[str]
) -> None:
    assert other_policies(site, TODAY * DAY_MS, (TODAY + 2) * DAY_MS - 1) == other


def test_the_reason_names_the_policies_and_the_number_of_sites() -> None:
    assert not_predicted([0, 1, 2], [0, 1, 2], {}) == ""
    by_policy = not_predicted([0, 1, 2], [0, 1, 2], {1: frozenset({"v1-midnight"}), 2: frozenset({"v1-midnight"})})
    assert by_policy.startswith("not predicted for 2 sites with visit policy v1-midnight, because")
    both = not_predicted([0, 1, 2], [0], {1: frozenset({"v1-campaign-keeps"})})
    assert "1 site with visit policy v1-campaign-keeps" in both
    assert "; not predicted for 1 site, because each has a visitor with over 3,500 on-time hits" in both
