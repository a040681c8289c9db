"""Names, messages and changes shared by the RPCs for exclusion rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from hitmesh.access.checks import site_not_found
from hitmesh.api.control.v1 import rules_pb2 as pb
from hitmesh.model.errors import RefusedError, Unavailable
from hitmesh.model.exclusion import ExclusionRule, RuleKind, SiteRules
from hitmesh.model.names import SITE_PATTERN
from hitmesh.ports import SiteDirectory
from hitmesh.runtime.rpc_values import timestamp

KINDS: Final = {pb.ExclusionRuleKind.Value(f"EXCLUSION_RULE_KIND_{kind.name}"): kind for kind in RuleKind}
_NUMBERS: Final = {kind: number for number, kind in KINDS.items()}
_RULE_NAME: Final = re.compile(rf"({SITE_PATTERN.pattern})/exclusionRules/([0-9]{{1,9}})")
_ATTEMPTS: Final = 5

Change = Callable[[SiteRules], SiteRules]


def changed_rules(directory: SiteDirectory, name: str, change: Change) -> SiteRules:
    """Change a site's rules, and store the next version.

    Other callers may change the rules at the same time.

    Raises:
        NotFound, RefusedError: raised by the change.
        Unavailable: other callers changed the rules at every attempt.
    """
    for _ in range(_ATTEMPTS):
        site = directory.site(name)
        if site is None:
            raise site_not_found(name, "name")
        rules = change(site.rules)
        if rules == site.rules or directory.change_rules(name, rules):
            return rules
    raise Unavailable("other callers changed the exclusion rules at every attempt: call again")


def rule_of(name: str) -> tuple[str, str]:
    """Return (site, rule id) from a rule's name.

    Raises:
        RefusedError: the text is not the name of a rule.
    """
    found = _RULE_NAME.fullmatch(name)
    if not found:
        raise RefusedError(
            f"name {name[:200]!r} is not an exclusion rule: write merchants/{{merchant}}/sites/{{site}}/"
            "exclusionRules/{id}",
            field="name",
            value=name[:200],
        )
    return name.rpartition("/exclusionRules/")[0], name.rpartition("/")[2]


def rule_message(site: str, rule: ExclusionRule) -> pb.ExclusionRule:
    """Return a rule as a message."""
    return pb.ExclusionRule(
        name=f"{site}/exclusionRules/{rule.id}",
        kind=_NUMBERS[rule.kind],
        value=rule.value,
        create_time=timestamp(rule.created_at),
    )
