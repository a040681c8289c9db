"""Sites as messages."""

from __future__ import annotations

from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.days import day_message
from hitmesh.model.sites import Site
from hitmesh.runtime.rpc_values import timestamp


def etag_of(site: Site) -> str:
    """Return the etag of a site, which changes with every change of a value or of the visit policy."""
    return f"r{site.revision}p{len(site.policy_changes)}"


def site_message(site: Site) -> pb.Site:
    """Return a site as a message, without the site's secret."""
    return pb.Site(
        name=site.name,
        time_zone=site.time_zone,
        currency=site.currency,
        create_time=timestamp(site.created_at),
        visit_policy=pb.VisitPolicy(
            campaign_keeps_visit=not site.policy.campaign_splits,
            split_at_local_midnight=site.policy.split_at_local_midnight,
        ),
        cookieless_counting=site.cookieless_counting,
        identify_by_user_id=site.identify_by_user_id,
        spread=site.spread,
        visit_policy_changes=[
            pb.VisitPolicyChange(
                first_utc_date=day_message(change.from_day),
                visit_policy=pb.VisitPolicy(
                    campaign_keeps_visit=not change.campaign_splits,
                    split_at_local_midnight=change.split_at_local_midnight,
                ),
            )
            for change in site.policy_changes
        ],
        store_network=site.rules.networks_since is not None,
        display_name=site.display_name,
        own_hosts=site.own_hosts,
        allowed_origins=site.allowed_origins,
        consent_by_default=site.consent_by_default,
        etag=etag_of(site),
        update_time=timestamp(site.created_at if site.updated_at is None else site.updated_at),
        delete_time=None if site.deleted_at is None else timestamp(site.deleted_at),
    )
