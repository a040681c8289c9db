"""ListExclusionRules: return a site's rules, at most 50, the oldest first."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.rules import rule_message
from hitmesh.access.callers import Caller
from hitmesh.access.checks import found_site
from hitmesh.api.control.v1 import rules_pb2 as pb


def list_exclusion_rules(
    backend: Backend, caller: Caller | None, request: pb.ListExclusionRulesRequest
) -> pb.ListExclusionRulesResponse:
    """Return the rules of a site; an operator may read every site's rules.

    Raises:
        NotFound: the site does not exist.
        RefusedError: the name is invalid.
    """
    site = found_site(backend.directory, request.parent, "parent")
    return pb.ListExclusionRulesResponse(
        rules=[rule_message(site.name, rule) for rule in site.rules.current], rules_version=site.rules.version
    )
