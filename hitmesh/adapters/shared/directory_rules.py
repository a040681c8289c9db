"""Pure rules for site directories: which requests conflict with an existing site, and which salts are kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256
from typing import Final

from hitmesh.model.days import date_text
from hitmesh.model.errors import AlreadyExists, NotFound, RefusedError
from hitmesh.model.exclusion import SiteRules
from hitmesh.model.merchants import Merchant
from hitmesh.model.sites import MAX_POLICY_CHANGES, PolicyChange, Site

SALT_BYTES: Final = 16
MESH_SECRET_BYTES: Final = 32
_ONE_DAY: Final = timedelta(days=1)


def secret_digest(secret: str) -> bytes:
    """Return the SHA-256 of a key's secret in UTF-8. Stores keep only this hash, never the secret."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def agreed(existing: Site, requested: Site) -> Site:
    """Return the existing site if the requested site has the same time zone, currency and policy.

    Raises:
        AlreadyExists: time zone, currency or policy differ, or the existing site is deleted.
    """
    if existing.deleted_at is not None:
        raise AlreadyExists(
            f"site {existing.name} was deleted, and names of deleted sites are not used again: undelete the site with "
            "`hitmesh sites undelete` (UndeleteSite) within 30 days of the deletion, or use another site name",
            field="site_id",
            site=existing.name,
        )
    for field, there, wanted in (
        ("time_zone", existing.time_zone, requested.time_zone),
        ("currency", existing.currency, requested.currency),
        ("policy", existing.policy, requested.policy),
    ):
        if there != wanted:
            raise AlreadyExists(
                f"site {existing.name} exists with {field} {there}, not {wanted}; "
                f"use the existing value, or another site name",
                field=f"site.{field}",
                site=existing.name,
                value=str(wanted),
                existing=str(there),
            )
    return existing


def with_change(site: Site | None, name: str, change: PolicyChange) -> Site:
    """Return the site with a policy change added. If the site has this change already, return the site unchanged.

    Raises:
        NotFound: `site` is None, because no site has this name.
        AlreadyExists: the site has a different policy change that takes effect on the same day.
        RefusedError: the site has MAX_POLICY_CHANGES changes.
    """
    if site is None:
        cure = "list the sites with `hitmesh sites` (ListSites)"
        raise NotFound(f"site {name} does not exist: {cure}", field="name", value=name)
    there = {each.from_day: each for each in site.policy_changes}
    if there.get(change.from_day, change) != change:
        raise AlreadyExists(
            f"site {name} already has a different change of its visit policy from {date_text(change.from_day)} on, "
            "and changes are never edited; use a later day",
            field="change.first_utc_date",
            site=name,
            value=date_text(change.from_day),
        )
    if change.from_day not in there and len(there) >= MAX_POLICY_CHANGES:
        raise RefusedError(
            f"site {name} has {MAX_POLICY_CHANGES} changes of its visit policy, which is the limit; no further change "
            "can be stored",
            field="change",
            value=name,
            limit=MAX_POLICY_CHANGES,
        )
    there[change.from_day] = change
    return replace(site, policy_changes=tuple(sorted(there.values())))


def agreed_merchant(existing: Merchant, requested: Merchant) -> Merchant:
    """Return the existing merchant if the requested merchant has the same display name.

    Raises:
        AlreadyExists: the display names differ, or the existing merchant is deleted.
    """
    if existing.deleted_at is not None:
        raise AlreadyExists(
            f"{existing.name} was deleted, and names of deleted merchants are not used again: use another merchant id",
            field="merchant_id",
            merchant=existing.name,
        )
    if existing.display_name != requested.display_name:
        raise AlreadyExists(
            f"{existing.name} exists with another display name: use the existing merchant, or another merchant id",
            field="merchant.display_name",
            merchant=existing.name,
        )
    return existing


def may_replace(there: Site | None, stored: Site) -> bool:
    """Return whether the site that is there has the revision and the rules of the site that the caller read."""
    return there is not None and (there.revision, there.rules.version) == (stored.revision, stored.rules.version)


def is_same_change(there: Site | None, changed: Site) -> bool:
    """Return whether the site that is there results from this change: a repeated call succeeds again."""
    return there is not None and mutable_values(there) == mutable_values(changed)


def mutable_values(site: Site) -> tuple[object, ...]:
    """Return the values that SiteDirectory.change_site replaces."""
    return (
        site.display_name,
        site.own_hosts,
        site.allowed_origins,
        site.cookieless_counting,
        site.consent_by_default,
        site.identify_by_user_id,
        site.rules,
        site.revision,
        site.updated_at,
        site.deleted_at,
    )


def follows(stored: SiteRules, changed: SiteRules) -> bool:
    """Return whether the version of the changed rules directly follows the version of the stored rules."""
    return changed.version == stored.version + 1


def no_key(merchant: str, key_id: str) -> NotFound:
    """Return the error for a key that does not exist."""
    return NotFound(f"{merchant} has no key {key_id}", field="name", merchant=merchant, key_id=key_id)


def no_site(name: str) -> NotFound:
    """Return the error for a site that does not exist."""
    return NotFound(
        f"site {name[:160]!r} does not exist: list the sites with `hitmesh sites` (ListSites)", field="site", value=name
    )


def salted_date(local_date: date, today: date) -> date:
    """Return the date whose salt is used for `local_date`.

    If `local_date` and `today` are more than a day apart, the result is `today`; otherwise the result is `local_date`.
    """
    return local_date if abs(local_date - today) <= _ONE_DAY else today


def oldest_salted(today: date) -> date:
    """Return the oldest date whose salt a site keeps on `today` (rule I2)."""
    return today - _ONE_DAY


def oldest_salted_anywhere(today: date) -> date:
    """Return the oldest date whose salt any site keeps: two days before `today`.

    In some time zones, the local date may still be the day before `today`. A site keeps the salt of the day before its
    local date.
    """
    return oldest_salted(today) - _ONE_DAY
