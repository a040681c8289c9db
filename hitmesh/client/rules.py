"""Creates, lists and deletes the exclusion rules of a site through the admin service of a mesh."""

from __future__ import annotations

from typing import Final

from hitmesh.api.control.v1 import admin_pb2, rules_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh

_PREFIX: Final = "EXCLUSION_RULE_KIND_"


def kind_name(kind: rules_pb2.ExclusionRuleKind.ValueType) -> str:
    """Return the name of a kind, for example "user-agent"."""
    return rules_pb2.ExclusionRuleKind.Name(kind).removeprefix(_PREFIX).lower().replace("_", "-")


def create_rule(
    mesh: Mesh, site: str, kind: str, value: str, *, validate_only: bool
) -> rules_pb2.CreateExclusionRuleResponse:
    """Create a rule; `kind` is a name that `kind_name` returns, for example "user-agent"."""
    number = rules_pb2.ExclusionRuleKind.Value(_PREFIX + kind.upper().replace("-", "_"))
    request = rules_pb2.CreateExclusionRuleRequest(
        parent=site, rule=rules_pb2.ExclusionRule(kind=number, value=value), validate_only=validate_only
    )
    return mesh.admin.CreateExclusionRule(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def list_rules(mesh: Mesh, site: str) -> rules_pb2.ListExclusionRulesResponse:
    """Return all rules of a site."""
    request = rules_pb2.ListExclusionRulesRequest(parent=site)
    return mesh.admin.ListExclusionRules(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def delete_rule(mesh: Mesh, site: str, id_: str, *, validate_only: bool) -> int:
    """Delete a rule and return the version of the site's rules."""
    request = rules_pb2.DeleteExclusionRuleRequest(name=f"{site}/exclusionRules/{id_}", validate_only=validate_only)
    return mesh.admin.DeleteExclusionRule(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).rules_version


def store_network(mesh: Mesh, site: str, *, stored: bool) -> admin_pb2.Site:
    """Change whether a site stores truncated IP addresses, and return the site."""
    request = admin_pb2.UpdateSiteRequest(site=admin_pb2.Site(name=site, store_network=stored))
    request.update_mask.paths.append("store_network")
    return mesh.admin.UpdateSite(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).site
