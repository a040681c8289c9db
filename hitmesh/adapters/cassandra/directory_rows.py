"""Encode and decode the columns of rows in the tables of sites, keys and policy changes."""

from __future__ import annotations

import json
from typing import Any, Final

from hitmesh.adapters.cassandra.session import Row
from hitmesh.adapters.shared.key_values import roles_of, roles_value
from hitmesh.adapters.shared.rule_values import rules_of
from hitmesh.model.sites import IngestKey, KeyKind, PolicyChange, Site, VisitPolicy

KEY_COLUMNS: Final = "merchant, key_id, kind, site, unbounded_history, created_at, revoked_at, roles"


def site_of(row: Row) -> Site:
    """Return the site in a row of SITE_COLUMNS, without policy changes."""
    return Site(
        name=row.name,
        time_zone=row.time_zone,
        currency=row.currency,
        secret=bytes(row.secret),
        created_at=row.created_at,
        spread=row.spread,
        policy=VisitPolicy(**json.loads(row.policy)),
        cookieless_counting=row.cookieless_counting,
        consent_by_default=row.consent_by_default,
        identify_by_user_id=row.identify_by_user_id,
        rules=rules_of(row.rules),
    )


def policy_change_of(row: Row) -> PolicyChange:
    """Return the policy change that a row holds."""
    return PolicyChange(row.from_day, row.campaign_splits, row.split_at_local_midnight)


def key_values(key: IngestKey) -> tuple[Any, ...]:
    """Return a key as KEY_COLUMNS."""
    return (
        key.merchant,
        key.key_id,
        key.kind.value,
        key.site,
        key.unbounded_history,
        key.created_at,
        key.revoked_at,
        roles_value(key.roles),
    )


def key_of(row: Row) -> IngestKey:
    """Return the key in a row of KEY_COLUMNS."""
    return IngestKey(
        key_id=row.key_id,
        merchant=row.merchant,
        kind=KeyKind(row.kind),
        site=row.site,
        unbounded_history=row.unbounded_history,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        roles=roles_of(row.roles),
    )
