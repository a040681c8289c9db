"""Encode and decode a site's exclusion rules, in the same way for every store.

A site whose rules never changed has no value.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.exclusion import NO_RULES, ExclusionRule, RuleKind, SiteRules

_SUBJECT = "a text with the exclusion rules of a site"
_CURE = "restore the directory of sites from a backup"


def rules_value(rules: SiteRules) -> str | None:
    """Return a site's rules as text; None before the first change."""
    return None if rules == NO_RULES else json.dumps(asdict(rules))


def rules_of(value: str | None) -> SiteRules:
    """Return the rules in a stored text.

    Raises:
        StoreCorrupt: the text is damaged.
    """
    if value is None:
        return NO_RULES
    # `hitmesh.model.stored:decoding` is not used, because its import would load Polars. The control service should
    # start without Polars.
    try:
        fields = json.loads(value)
        rules = tuple(ExclusionRule(**{**rule, "kind": RuleKind(rule["kind"])}) for rule in fields["rules"])
        return SiteRules(fields["version"], rules, fields["networks_since"])
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        cause = type(error).__name__
        raise StoreCorrupt(f"{_SUBJECT} does not decode ({cause}): {_CURE}", place=_SUBJECT, cause=cause) from None
