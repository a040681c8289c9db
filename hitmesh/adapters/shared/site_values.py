"""Convert a site to columns, in the same order and form for every store with tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from hitmesh.adapters.shared.rule_values import rules_value
from hitmesh.model.sites import Site

SITE_COLUMNS: Final = """name, time_zone, currency, secret, created_at, spread, policy, cookieless_counting,
    consent_by_default, identify_by_user_id, rules"""


def site_values(site: Site) -> tuple[Any, ...]:
    """Return a site as SITE_COLUMNS; its policy changes are stored in a separate table."""
    return (
        site.name,
        site.time_zone,
        site.currency,
        site.secret,
        site.created_at,
        site.spread,
        json.dumps(asdict(site.policy)),
        site.cookieless_counting,
        site.consent_by_default,
        site.identify_by_user_id,
        rules_value(site.rules),
    )
