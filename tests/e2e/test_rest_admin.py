"""Test changes of sites and merchants over REST, through Envoy."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import NewSite
from tests.support.mesh import Mesh
from tests.support.rest import Rest, reason_of
from tests.support.tenants import authorized


@pytest.fixture(scope="module")
def rest(mesh: Mesh) -> Rest:
    return Rest(mesh, headers=dict(authorized(mesh.key)))


@pytest.mark.timeout(30)
def test_sites_are_changed_deleted_and_restored(rest: Rest, new_site: NewSite) -> None:
    site = new_site("changed-by-rest")
    wanted = {"displayName": "Shop", "ownHosts": ["shop.example"], "consentByDefault": False}
    status, _, body = rest.request("PATCH", f"/v1/{site}", json.dumps(wanted).encode())
    changed = json.loads(body)["site"]
    assert (status, {name: changed[name] for name in wanted}) == (200, wanted), changed
    status, _, body = rest.request("DELETE", f"/v1/{site}?etag=another")
    assert (status, reason_of(json.loads(body))) == (409, "ETAG_MISMATCH")
    status, _, body = rest.request("DELETE", f"/v1/{site}?etag={changed['etag']}")
    assert (status, "deleteTime" in json.loads(body)["site"]) == (200, True), body
    assert rest.get(f"/v1/{site}")[0] == 404
    status, _, listed = rest.get("/v1/merchants/demo/sites?page_size=1000&show_deleted=true")
    assert site in [each["name"] for each in listed["sites"] if "deleteTime" in each]
    status, _, listed = rest.get("/v1/merchants/demo/sites?page_size=1000")
    assert site not in [each["name"] for each in listed["sites"]]
    status, _, restored = rest.post(f"/v1/{site}:undelete", {})
    assert (status, restored["site"]["displayName"]) == (200, "Shop"), restored


@pytest.mark.timeout(30)
def test_merchants_are_created_changed_and_deleted_at_the_operators_listener(rest: Rest, mesh: Mesh) -> None:
    operator = Rest(mesh, headers=dict(authorized(mesh.operator_key)), for_operators=True)
    status, _, made = operator.post("/v1/merchants?merchant_id=by-rest", {"displayName": "By REST"})
    assert (status, made["merchant"]["name"]) == (200, "merchants/by-rest"), made
    wanted = {"merchant": {"name": "merchants/by-rest", "displayName": "Changed"}, "updateMask": "displayName"}
    status, _, body = operator.request("PATCH", "/v1/merchants", json.dumps(wanted).encode())
    assert (status, json.loads(body)["merchant"]["displayName"]) == (200, "Changed"), body
    status, _, found = operator.get("/v1/merchants")
    assert status == 200
    assert {"merchants/by-rest", "merchants/demo"} <= {each["name"] for each in found["merchants"]}
    assert rest.get("/v1/merchants/demo")[0] == 200
    assert rest.request("GET", "/v1/merchants")[0] == 404, "the public listener does not serve this path"
    status, _, done = operator.post("/v1/merchants:delete", {"name": "merchants/by-rest"})
    assert (status, done) == (200, {"deletedSites": 0, "revokedKeys": 0})
    assert operator.get("/v1/merchants/by-rest")[0] == 404
