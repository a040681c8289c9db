"""Try to call every RPC through Envoy without the right to call it: with too few roles, for a rival, at the wrong door.

The list of RPCs is the table of rights. A new RPC is therefore tested as soon as it has a rule.
"""

from __future__ import annotations

import json
import re
from typing import Any

import grpc
import pytest

from hitmesh.access.rights import RULES, Door, Rule, paths_of
from hitmesh.access.roles import MERCHANT_ROLES
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.names import merchant_of
from hitmesh.model.sites import Role, Site
from tests.e2e.asking import NOON_MS
from tests.e2e.conftest import NewSite, site_maker
from tests.support.mesh import Mesh
from tests.support.messages import page_view
from tests.support.rest import Rest, reason_of
from tests.support.rights import a_request, method_at, outcome, rest_calls
from tests.support.tenants import authorized, new_merchant

NOT_FOUND, DENIED = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED, UNIMPLEMENTED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED
OF_MERCHANTS = [path for path, rule in RULES.items() if rule.role in MERCHANT_ROLES - {Role.SEND}]
OF_OPERATORS = paths_of(Door.OPERATORS)
RIVAL_SITE, MISSING_SITE = "merchants/crossed/sites/theirs", "merchants/crossed/sites/never-made"
NO_MERCHANT = "merchants/no-such-merchant/sites/theirs"


@pytest.fixture(scope="module")
def new_site(closed_mesh: Mesh) -> NewSite:
    return site_maker(closed_mesh)


@pytest.fixture(scope="module")
def site(new_site: NewSite) -> str:
    return new_site("rights")


@pytest.fixture(scope="module")
def rival_key(closed_mesh: Mesh) -> str:
    site = Site(name=RIVAL_SITE, time_zone="UTC", currency="USD", secret=b"another merchant's secret")
    return new_merchant(closed_mesh, merchant_of(RIVAL_SITE), site)


def key_with(mesh: Mesh, *roles: admin_pb2.KeyRole.ValueType) -> str:
    """Create a server key of merchant demo with the given roles, and return the secret."""
    wanted = admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER, roles=roles)
    request = admin_pb2.CreateIngestKeyRequest(parent="merchants/demo", key=wanted)
    return mesh.admin().CreateIngestKey(request, metadata=authorized(mesh.key), timeout=20).secret


def refused(mesh: Mesh, path: str, site: str, key: str | None) -> tuple[grpc.StatusCode, str]:
    """Call an RPC for a site at the public door, and return the status and the message without the names."""
    method = method_at(path)
    name, request = a_request(method, site)
    code, message = outcome(mesh.channel(), method, request, key)
    message = message.replace(name or "no name", "NAME").replace(site, "SITE")
    return code, message.replace(merchant_of(site), "MERCHANT")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", OF_MERCHANTS)
def test_another_merchants_resource_reads_like_a_missing_resource(closed_mesh: Mesh, rival_key: str, path: str) -> None:
    mesh, rule = closed_mesh, RULES[path]
    foreign, missing, nobody = (refused(mesh, path, site, mesh.key) for site in (RIVAL_SITE, MISSING_SITE, NO_MERCHANT))
    assert foreign[0] is NOT_FOUND
    if rule.fields:
        assert foreign == missing == nobody
    assert refused(mesh, path, RIVAL_SITE, None)[0] is UNAUTHENTICATED
    assert refused(mesh, path, RIVAL_SITE, "hms_nobody")[0] is UNAUTHENTICATED
    # The owner of the resource does not get this answer, except for names of things that do not exist.
    by_owner = refused(mesh, path, RIVAL_SITE, rival_key)
    assert by_owner[0] not in (DENIED, UNAUTHENTICATED)


@pytest.mark.timeout(60)
def test_a_missing_site_of_ones_own_reads_like_a_site_of_another_merchant(closed_mesh: Mesh, rival_key: str) -> None:
    for path in OF_MERCHANTS:
        if path.endswith(("/CreateSite", "/CreateIngestKey", "/ListSites", "RejectedHit", "HitsReplayed")):
            continue  # these name the merchant, or name no site
        by_owner = refused(closed_mesh, path, "merchants/demo/sites/never-made", closed_mesh.key)
        if by_owner[0] is NOT_FOUND:
            assert by_owner == refused(closed_mesh, path, RIVAL_SITE, closed_mesh.key), path


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", [path for path in OF_MERCHANTS if RULES[path].fields])
def test_another_merchants_resource_is_missing_over_rest_too(closed_mesh: Mesh, rival_key: str, path: str) -> None:
    rest = Rest(closed_mesh, authorized_header(closed_mesh.key))
    answers: list[list[tuple[int, object]]] = []
    for site in (RIVAL_SITE, MISSING_SITE):
        name, _ = a_request(method_at(path), site)
        answers.append([])
        for verb, route in rest_calls(method_at(path), name):
            query = f"?site={site}" if path.endswith("/ListRejectedHits") else ""
            status, _, body = rest.request(verb, route + query, b"{}" if verb in ("POST", "PATCH") else None)
            error = json.loads(body)
            assert (status, reason_of(error)) == (404, "NOT_FOUND"), (verb, route)
            answers[-1].append((status, error["message"].replace(name, "NAME").replace(site, "SITE")))
    assert answers[0] == answers[1]


def authorized_header(key: str) -> dict[str, str]:
    return dict(authorized(key))


@pytest.mark.timeout(120)
def test_a_key_calls_only_what_its_roles_permit(closed_mesh: Mesh, site: str) -> None:
    send, read, administer = admin_pb2.KEY_ROLE_SEND, admin_pb2.KEY_ROLE_READ, admin_pb2.KEY_ROLE_ADMINISTER
    keys = {Role.SEND: key_with(closed_mesh, send), Role.READ: key_with(closed_mesh, read)}
    keys |= {Role.ADMINISTER: key_with(closed_mesh, administer)}
    for path in OF_MERCHANTS:
        for role, key in keys.items():
            code, message = refused(closed_mesh, path, site, key)
            if RULES[path].role is role:
                assert code not in (DENIED, UNAUTHENTICATED, UNIMPLEMENTED), (path, role, code)
            else:
                assert code is DENIED, (path, role, code)
                assert message.startswith(f"the server key has only the role {role}, "), path
    assert [sends(closed_mesh, site, key) for key in keys.values()] == [True, False, False]


def sends(mesh: Mesh, site: str, key: str) -> bool:
    """Return whether the collector accepts a hit with the key."""
    batch = hit_pb2.HitBatch(ingest_key=key, hits=[page_view(f"hit-{key[-8:]}", NOON_MS, visitor="v")])
    request = collector_pb2.SendHitsRequest(batch=batch)
    try:
        answer = mesh.collector().SendHits(request, metadata=(("hitmesh-site", site),), timeout=20)
    except grpc.RpcError as error:
        if error.code() is not DENIED:
            raise
        return False
    return answer.accepted_count == 1


@pytest.mark.timeout(60)
def test_a_key_without_roles_sends_and_no_key_gets_more_roles_than_its_creator_may_give(
    closed_mesh: Mesh, site: str
) -> None:
    plain, reader = key_with(closed_mesh), key_with(closed_mesh, admin_pb2.KEY_ROLE_SEND, admin_pb2.KEY_ROLE_READ)
    assert sends(closed_mesh, site, plain)
    for key in (plain, reader):
        for wanted in (
            admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER, unbounded_history=True),
            admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER, roles=[admin_pb2.KEY_ROLE_ADMINISTER]),
        ):
            request = admin_pb2.CreateIngestKeyRequest(parent="merchants/demo", key=wanted)
            with pytest.raises(grpc.RpcError) as raised:
                closed_mesh.admin().CreateIngestKey(request, metadata=authorized(key), timeout=20)
            assert raised.value.code() is DENIED


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", OF_OPERATORS)
def test_an_rpc_of_operators_does_not_exist_at_the_public_door(closed_mesh: Mesh, path: str) -> None:
    mesh, method = closed_mesh, method_at(path)
    _, request = a_request(method, RIVAL_SITE)
    public, operators = mesh.channel(), mesh.channel(for_operators=True)
    unknown: Any = public.unary_unary("/hitmesh.api.nowhere.v1.NoService/NoMethod")
    with pytest.raises(grpc.RpcError) as raised:
        unknown(b"", timeout=20)
    for key in (mesh.operator_key, mesh.key, None):
        assert outcome(public, method, request, key) == (UNIMPLEMENTED, raised.value.details())
    # The exchange of a bootstrap token needs no key: the token, which this request lacks, is the credential.
    lacks_token = grpc.StatusCode.INVALID_ARGUMENT if RULES[path].role is None else None
    assert outcome(operators, method, request, mesh.key)[0] is (lacks_token or DENIED)
    assert outcome(operators, method, request, None)[0] is (lacks_token or UNAUTHENTICATED)
    if RULES[path].is_open_read:
        assert outcome(operators, method, request, mesh.operator_key)[0] not in (DENIED, UNAUTHENTICATED, UNIMPLEMENTED)


@pytest.mark.timeout(60)
def test_a_rest_route_of_operators_does_not_exist_at_the_public_door(closed_mesh: Mesh) -> None:
    headers = authorized_header(closed_mesh.operator_key)
    public, operators = Rest(closed_mesh, headers), Rest(closed_mesh, headers, for_operators=True)
    for path in OF_OPERATORS:
        for verb, route in rest_calls(method_at(path), ""):
            body = b"{}" if verb == "POST" else None
            unknown = answer(public, verb, "/v1/no-such-path", body)
            for written in (route, route.replace("/v1/", "/v1//"), route.replace("s", "%73", 1)):
                assert answer(public, verb, written, body) == unknown, (verb, written)
            assert answer(public, "POST", path, b"{}") == answer(public, "POST", "/hitmesh.Nothing/Here", b"{}")
            if RULES[path].is_open_read:
                assert b"nothing at this path" not in operators.request(verb, route, body)[2], (verb, route)


def answer(rest: Rest, verb: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    """Send a request, and return the status and the body without the path."""
    status, _, content = rest.request(verb, path, body)
    return status, re.sub(rb"(Could not resolve )\S+", rb"\1PATH", content)


@pytest.mark.timeout(60)
def test_the_operators_door_serves_merchants_too(closed_mesh: Mesh, site: str) -> None:
    for path in OF_MERCHANTS:
        _, request = a_request(method_at(path), site)
        code, _ = outcome(closed_mesh.channel(for_operators=True), method_at(path), request, closed_mesh.key)
        assert code not in (DENIED, UNAUTHENTICATED, UNIMPLEMENTED), path


def test_the_collector_needs_the_role_send() -> None:
    paths = [path for path, rule in RULES.items() if rule == Rule(Role.SEND)]
    assert {path.rpartition("/")[2] for path in paths} == {"SendHits", "StreamHits", "SendJsonHits"}
