"""Convert a site to columns, and mutable columns to a site, in the same order and form for every store with tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from hitmesh.adapters.shared.rule_values import rules_of, rules_value
from hitmesh.model.sites import Site

MUTABLE_COLUMNS: Final = (
    "cookieless_counting",
    "consent_by_default",
    "identify_by_user_id",
    "rules",
    "display_name",
    "own_hosts",
    "allowed_origins",
    "revision",
    "updated_at",
    "deleted_at",
)
"""The columns that SiteDirectory.change_site replaces."""
SITE_COLUMNS: Final = "name, time_zone, currency, secret, created_at, spread, policy, " + ", ".join(MUTABLE_COLUMNS)


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
        *mutable_columns(site),
    )


def mutable_columns(site: Site) -> tuple[Any, ...]:
    """Return the values of MUTABLE_COLUMNS. A value that earlier versions did not store is None by default."""
    return (
        site.cookieless_counting,
        site.consent_by_default,
        site.identify_by_user_id,
        rules_value(site.rules),
        site.display_name or None,
        _texts_value(site.own_hosts),
        _texts_value(site.allowed_origins),
        site.revision or None,
        site.updated_at,
        site.deleted_at,
    )


def with_mutable_columns(site: Site, values: Sequence[Any]) -> Site:
    """Return the site with the values of MUTABLE_COLUMNS.

    Raises:
        StoreCorrupt: the text with the exclusion rules is damaged.
    """
    cookieless, consent, by_user_id, rules, display_name, own_hosts, origins, revision, updated_at, deleted_at = values
    return replace(
        site,
        cookieless_counting=bool(cookieless),
        consent_by_default=bool(consent),
        identify_by_user_id=bool(by_user_id),
        rules=rules_of(rules),
        display_name=display_name or "",
        own_hosts=_texts_of(own_hosts),
        allowed_origins=_texts_of(origins),
        revision=revision or 0,
        updated_at=updated_at,
        deleted_at=deleted_at,
    )


def _texts_value(texts: Sequence[str]) -> str | None:
    return json.dumps(texts) if texts else None


def _texts_of(value: str | None) -> tuple[str, ...]:
    return tuple(json.loads(value)) if value else ()
