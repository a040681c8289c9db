"""Test that the table of rights has exactly one rule for each RPC, which also covers the RPC's REST routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2, resource_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from hitmesh.access.page import with_table
from hitmesh.access.rights import RULES, Door, Rule, request_type, rule_of
from hitmesh.model.sites import Role
from hitmesh.tools.dev.envoy import descriptors
from tests.support.rights import method_at

RESOURCES_OF_MERCHANTS = {f"hitmesh.dev/{name}" for name in ("Merchant", "Site", "IngestKey", "ExclusionRule")}
# Fields that an RPC compares with the merchant or site that the rule has checked, or that the RPC ignores.
# UpdateIngestKey refuses a site that differs from the stored site, and reads no site.
CHECKED_BY_RPC = {"CreateIngestKey": {"key.site"}, "UpdateIngestKey": {"key.site"}}
Method = descriptor_pb2.MethodDescriptorProto
VARIABLE = re.compile(r"\{([^=}]+)=([^}]+)\}")
OF_MERCHANTS = {Role.READ, Role.ADMINISTER}
# The resources of these RPCs have no merchant in their path. The RPCs compare the owner with the caller.
OWNER_IN_NAME = {"ListRejectedHits", "GetRejectedHit", "MarkRejectedHitsReplayed"}

# The rule of the only RPC at the operators' listener that needs no key: the bootstrap token is the credential.
TOKEN_RULE = RULES["/hitmesh.api.control.v1.AdminService/ExchangeBootstrapToken"]


def committed() -> dict[str, Method]:
    """Return every method in the committed descriptor set, keyed by gRPC path."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors().read_bytes())
    return {
        f"/{file.package}.{service.name}/{method.name}": method
        for file in files.file
        for service in file.service
        for method in service.method
    }


METHODS = committed()


def routes_of(method: Method) -> Iterator[str]:
    """Yield each path template in a method's REST routes."""
    rule = method.options.Extensions[annotations_pb2.http]
    for route in (rule, *rule.additional_bindings):
        if kind := route.WhichOneof("pattern"):
            yield str(getattr(route, kind))


def test_every_rpc_has_a_rule_and_every_rule_an_rpc() -> None:
    borrowed = {
        f"/{service.full_name}/{method.name}"
        for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert set(RULES) == {*METHODS, *borrowed}


def test_the_page_on_security_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    assert page == with_table(page), "run: python -m hitmesh.access.page docs/security.md"


def test_a_request_type_names_its_rpc() -> None:
    for path, method in METHODS.items():
        if method.name != "SendJsonHits":  # the collector checks the key of this RPC, which has a body of any form
            assert method.input_type == f".{request_type(path)}"
            assert rule_of(request_type(path)) is RULES[path]


def test_a_request_of_no_rpc_is_refused() -> None:
    with pytest.raises(KeyError):
        rule_of("hitmesh.api.control.v1.NoSuchRequest")


@pytest.mark.parametrize("path", [path for path in METHODS if list(routes_of(METHODS[path]))])
def test_every_rest_route_names_the_merchant_in_the_field_of_the_rule(path: str) -> None:
    rule, method = RULES[path], METHODS[path]
    for route in routes_of(method):
        named = [field for field, pattern in VARIABLE.findall(route) if pattern.startswith("merchants/")]
        if rule.role in OF_MERCHANTS and method.name not in OWNER_IN_NAME:
            assert named == [rule.fields[0]]
        else:
            assert named == []


def fields_with_sites(message: Descriptor, before: str = "", seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the path of each field, also in nested messages, that names a merchant's resource."""
    for field in message.fields:
        path = f"{before}{field.name}"
        reference = field.GetOptions().Extensions[resource_pb2.resource_reference]
        if {reference.type, reference.child_type} & RESOURCES_OF_MERCHANTS:
            yield path
        elif field.message_type is not None and field.message_type.full_name not in seen:
            nested = field.message_type
            yield from fields_with_sites(nested, f"{path}.", seen | {nested.full_name})


@pytest.mark.parametrize("path", [path for path, rule in RULES.items() if rule.role in OF_MERCHANTS])
def test_every_field_of_a_request_that_names_a_site_is_in_the_rule_or_checked_by_the_rpc(path: str) -> None:
    found = set(fields_with_sites(method_at(path).input_type))
    # The name of a key, site or rule in `name` has the type of the resource, and is in the rule too.
    assert found - set(RULES[path].fields) == CHECKED_BY_RPC.get(path.rpartition("/")[2], set())


def test_rpcs_without_a_merchant_need_the_operators_door_or_are_open() -> None:
    for path, rule in RULES.items():
        if rule != TOKEN_RULE:
            assert (rule.door is Door.OPERATORS) == (rule.role is Role.OPERATE), path
        if rule.role in OF_MERCHANTS:
            assert rule.fields or METHODS[path].name in OWNER_IN_NAME


def test_only_the_exchange_of_a_token_needs_no_key_at_the_operators_listener() -> None:
    assert Rule(None, Door.OPERATORS) == TOKEN_RULE
    assert [path for path, rule in RULES.items() if rule == TOKEN_RULE] == [
        "/hitmesh.api.control.v1.AdminService/ExchangeBootstrapToken"
    ]


def test_open_reads_open_only_reads() -> None:
    opened = {METHODS[path].name for path, rule in RULES.items() if rule.is_open_read}
    assert {re.match("[A-Z][a-z]+", name)[0] for name in opened} == {"Run", "Explain", "Get", "List", "Export", "Trace"}  # type: ignore[index]  # every name has a verb
    assert {name for name in opened if name.startswith("Run")} == {"RunReport"}
    assert not any("Rejected" in name for name in opened)
