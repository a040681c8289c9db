"""CreateSite: create a site for the caller's merchant, who must have a record (CreateMerchant).

The new site's zone, currency, spread and first policy are immutable. Limits: site id up to 64 characters; spread up to
64 partitions. The call is idempotent: creating the same site again returns the stored site. Values that the request
does not set may differ from the stored site, because UpdateSite may have changed them.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.admin.delete_site import delete_stored_site
from control.rpc.admin.merchants import existing_merchant, undo_without_merchant
from control.rpc.admin.names import checked_merchant
from control.rpc.admin.quotas import refuse_another_site
from control.rpc.admin.site_changes import consent_in, refuse_other_site
from control.rpc.admin.site_messages import site_message
from control.rpc.admin.site_values import checked_display_name, checked_hosts, checked_origins
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.exclusion import NO_RULES
from hitmesh.model.money import CURRENCIES
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rule_changes import with_networks
from hitmesh.model.sites import Site, VisitPolicy, policy_version
from hitmesh.model.zones import UnknownTimeZoneError, load_zone

MAX_SPREAD: Final = 64
DEFAULT_ZONE: Final = "UTC"
DEFAULT_CURRENCY: Final = "USD"
DEFAULT_SPREAD: Final = 1


def create_site(backend: Backend, caller: Caller | None, request: pb.CreateSiteRequest) -> pb.CreateSiteResponse:
    """Return the new site, or the stored site if the same site was created before.

    Raises:
        RefusedError: a value is invalid, or the merchant has too many sites (TOO_MANY_RESOURCES).
        AlreadyExists: a site with another value of a field in the request, or a deleted site, has the name.
        NotFound: the merchant does not exist.
    """
    merchant = checked_merchant(request.parent)
    existing_merchant(backend, merchant, "parent")
    site = checked_site(merchant, request, secret=backend.new_token().encode(), now_ms=backend.clock.now())
    refuse_another_site(backend, merchant, site.name)
    created = backend.directory.create_site(site)
    undo_without_merchant(backend, merchant, "parent", lambda: delete_stored_site(backend, created.name))
    refuse_other_site(request.site, site, created)
    return pb.CreateSiteResponse(site=site_message(created))


def checked_site(merchant: str, request: pb.CreateSiteRequest, *, secret: bytes, now_ms: int) -> Site:
    """Return the requested site with defaults filled in.

    Raises:
        RefusedError: a value is invalid.
    """
    name = f"{merchant}/sites/{request.site_id}"
    if not SITE_PATTERN.fullmatch(name):
        raise RefusedError(
            f"site_id {request.site_id[:80]!r} is not a site id: use 1 to 64 characters of a-z, 0-9 and '-', "
            "not beginning with '-'",
            field="site_id",
            value=request.site_id,
        )
    wanted = request.site
    return Site(
        name=name,
        time_zone=_checked_zone(wanted.time_zone or DEFAULT_ZONE),
        currency=_checked_currency(wanted.currency or DEFAULT_CURRENCY),
        secret=secret,
        created_at=now_ms,
        spread=_checked_spread(wanted.spread) if wanted.HasField("spread") else DEFAULT_SPREAD,
        policy=_policy(wanted.visit_policy),
        cookieless_counting=wanted.cookieless_counting,
        identify_by_user_id=wanted.identify_by_user_id,
        consent_by_default=consent_in(wanted),
        display_name=checked_display_name(wanted.display_name, "site.display_name"),
        own_hosts=checked_hosts(wanted.own_hosts, "site.own_hosts"),
        allowed_origins=checked_origins(wanted.allowed_origins, "site.allowed_origins"),
        rules=with_networks(NO_RULES, stored=wanted.store_network, now=now_ms),
    )


def _checked_zone(name: str) -> str:
    try:
        load_zone(name)
    except UnknownTimeZoneError as error:
        error.field = "site.time_zone"
        raise
    return name


def _checked_currency(code: str) -> str:
    if code.upper() not in CURRENCIES:
        raise RefusedError(
            f"currency {code[:16]!r} is not an ISO 4217 code: use three letters such as EUR",
            field="site.currency",
            reason=ErrorReason.UNKNOWN_CURRENCY,
            value=code,
        )
    return code.upper()


def _checked_spread(spread: int) -> int:
    if not 1 <= spread <= MAX_SPREAD:
        raise RefusedError(
            f"spread {spread} is not 1 to {MAX_SPREAD}: send a value in this range, or leave spread out for the "
            f"default of {DEFAULT_SPREAD}",
            field="site.spread",
            value=spread,
            limit=MAX_SPREAD,
            default=DEFAULT_SPREAD,
        )
    return spread


def _policy(wanted: pb.VisitPolicy) -> VisitPolicy:
    """Return the policy that the message describes."""
    splits, midnight = not wanted.campaign_keeps_visit, wanted.split_at_local_midnight
    version = policy_version(campaign_splits=splits, split_at_local_midnight=midnight)
    return VisitPolicy(version=version, campaign_splits=splits, split_at_local_midnight=midnight)
