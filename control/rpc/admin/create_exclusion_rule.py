"""CreateExclusionRule: exclude matching hits that are collected after this call.

The call is idempotent: if the site already has an equal rule, the call returns the existing rule unchanged.

Limits: a site has at most 50 rules, and at most 1,000 rules including the deleted rules. A value has at most 200
characters. All patterns of a kind together have at most 150 RE2 instructions.
"""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.rules import KINDS, changed_rules, rule_message
from hitmesh.access.callers import Caller
from hitmesh.access.checks import found_site
from hitmesh.api.control.v1 import rules_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.exclusion import ExclusionRule, RuleKind, SiteRules
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rule_changes import checked_value, with_rule


def create_exclusion_rule(
    backend: Backend, caller: Caller | None, request: pb.CreateExclusionRuleRequest
) -> pb.CreateExclusionRuleResponse:
    """Return the rule; with `validate_only`, store nothing.

    Raises:
        NotFound: the site does not exist.
        RefusedError: a value is invalid, or a limit is exceeded.
    """
    site = found_site(backend.directory, request.parent, "parent")
    kind, now = _kind_of(request.rule), backend.clock.now()

    def change(rules: SiteRules) -> SiteRules:
        return with_rule(rules, kind, request.rule.value, now=now, own_hosts=site.own_hosts)

    if request.validate_only:
        rule = rule_message(site.name, _found(change(site.rules), kind, request.rule.value))
        rule.name = ""
        return pb.CreateExclusionRuleResponse(rule=rule, rules_version=site.rules.version)
    rules = changed_rules(backend.directory, site.name, change)
    return pb.CreateExclusionRuleResponse(
        rule=rule_message(site.name, _found(rules, kind, request.rule.value)), rules_version=rules.version
    )


def _kind_of(wanted: pb.ExclusionRule) -> RuleKind:
    if wanted.kind not in KINDS:
        raise RefusedError(
            "kind is missing: send EXCLUSION_RULE_KIND_HOST, _PAGE, _COUNTRY, _USER_AGENT, _REFERRER or _NETWORK",
            field="rule.kind",
            reason=ErrorReason.MISSING_FIELD,
        )
    return KINDS[wanted.kind]


def _found(rules: SiteRules, kind: RuleKind, value: str) -> ExclusionRule:
    wanted = (kind, checked_value(kind, value))
    return next(rule for rule in rules.current if (rule.kind, rule.value) == wanted)
