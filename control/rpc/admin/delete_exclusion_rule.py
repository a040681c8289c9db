"""DeleteExclusionRule: delete a rule, so that matching hits that are collected after this call count again."""

from __future__ import annotations

from functools import partial

from control.backend import Backend
from control.rpc.admin.rules import changed_rules, rule_of
from hitmesh.access.callers import Caller
from hitmesh.access.checks import found_site
from hitmesh.api.control.v1 import rules_pb2 as pb
from hitmesh.model.rule_changes import without_rule


def delete_exclusion_rule(
    backend: Backend, caller: Caller | None, request: pb.DeleteExclusionRuleRequest
) -> pb.DeleteExclusionRuleResponse:
    """Delete a rule; with `validate_only`, only check that the rule exists.

    Raises:
        NotFound: the site or the rule does not exist.
        RefusedError: the name is invalid.
    """
    name, id_ = rule_of(request.name)
    site = found_site(backend.directory, name, "name")
    if request.validate_only:
        without_rule(site.rules, id_)
        return pb.DeleteExclusionRuleResponse(rules_version=site.rules.version)
    rules = changed_rules(backend.directory, name, partial(without_rule, id_=id_))
    return pb.DeleteExclusionRuleResponse(rules_version=rules.version)
