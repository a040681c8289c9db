"""ListExclusionRules: return a site's rules, at most 50, the oldest first."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.rules import rule_message
from hitmesh.access.callers import readable_site
from hitmesh.access.roles import Role, has_role
from hitmesh.api.control.v1 import rules_pb2 as pb
from hitmesh.model.sites import IngestKey


def list_exclusion_rules(
    backend: Backend, caller: IngestKey | None, request: pb.ListExclusionRulesRequest
) -> pb.ListExclusionRulesResponse:
    """Return the rules of a site that the caller may read; an operator may read every site's rules.

    Raises:
        Unauthenticated: reads need a key, and the caller has no key.
        NotFound: the site does not exist, or the caller may not read the site.
        RefusedError: the name is invalid.
    """
    is_open = backend.open_reads or (caller is not None and has_role(caller, Role.OPERATE))
    site = readable_site(backend.directory, is_open, caller, request.parent)
    return pb.ListExclusionRulesResponse(
        rules=[rule_message(site.name, rule) for rule in site.rules.current], rules_version=site.rules.version
    )
