"""Test that every door of a mesh applies the end of a key: collector, running stream, REST, reports, traces, admin."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import admin_pb2, operations_pb2, operations_pb2_grpc, trace_pb2, trace_pb2_grpc
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.rpc_values import timestamp
from tests.e2e.asking import NOON_MS
from tests.e2e.conftest import NewSite, site_maker
from tests.support.mesh import Mesh
from tests.support.messages import page_view
from tests.support.patience import patient
from tests.support.rest import Rest, reason_of
from tests.support.streams import StreamClient
from tests.support.tenants import authorized
from tests.support.waiting import eventually

REVOKED_WITHIN_S = 10.0
EXPIRED_WITHIN_S = 2.0
ROLES = (admin_pb2.KEY_ROLE_SEND, admin_pb2.KEY_ROLE_READ, admin_pb2.KEY_ROLE_ADMINISTER)


@pytest.fixture(scope="module")
def mesh(closed_mesh: Mesh) -> Mesh:
    return closed_mesh


@pytest.fixture(scope="module")
def new_site(mesh: Mesh) -> NewSite:
    return site_maker(mesh)


def created(mesh: Mesh) -> admin_pb2.CreateIngestKeyResponse:
    key = admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER, roles=ROLES, display_name="end to end")
    request = admin_pb2.CreateIngestKeyRequest(parent="merchants/demo", key=key)
    return mesh.admin().CreateIngestKey(request, metadata=authorized(mesh.key), timeout=10)


def a_batch(key: str = "") -> hit_pb2.HitBatch:
    return hit_pb2.HitBatch(ingest_key=key, hits=[page_view(uuid.uuid4().hex, NOON_MS, visitor="v")])


def reason_with(call: Callable[[], object]) -> str:
    """Return the reason with which a call is refused, or "" if the call succeeds or finds nothing."""
    try:
        call()
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return ""
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the error of a call is that call
        info = error_details_pb2.ErrorInfo()
        assert status is not None
        assert status.details[0].Unpack(info)
        return str(info.reason)
    return ""


@dataclass
class OpenStream:
    """A running stream, and the reason of the last issue of its last batch."""

    stream: StreamClient

    def reason(self) -> str:
        before = len(self.stream.reported.issues)
        self.stream.wait_acked(self.stream.send(a_batch()))
        issues = self.stream.reported.issues[before:]
        return collector_pb2.Reason.Name(issues[-1].reason).removeprefix("REASON_") if issues else ""


Doors = Mapping[str, Callable[[], str]]


@contextmanager
def doors(mesh: Mesh, secret: str, site: str) -> Iterator[Doors]:
    """Yield a function per door; the function returns the reason with which the door refuses the key, or ""."""
    bearer, of_site = authorized(secret), (("hitmesh-site", site),)
    channel, rest = mesh.channel(), Rest(mesh, {"authorization": f"Bearer {secret}", "hitmesh-site": site})
    question = reporter_pb2.RunReportRequest(
        site=site, metrics=["hits"], time_range=reporter_pb2.TimeRange(last_days=3)
    )
    view = {"type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "/"}}

    def unary(batch: hit_pb2.HitBatch, *metadata: tuple[str, str]) -> str:
        request = collector_pb2.SendHitsRequest(batch=batch)
        return reason_with(lambda: mesh.collector().SendHits(request, metadata=(*of_site, *metadata), timeout=10))

    def by_rest(method: Callable[[], tuple[int, object, object]]) -> str:
        status, _, answer = method()
        return "" if status == 200 else reason_of(answer)

    def opened() -> str:
        def open_and_send() -> None:
            with StreamClient(channel, secret, site, timeout_s=patient(20)) as stream:
                stream.send(a_batch())
                stream.finish()

        return reason_with(open_and_send)

    with StreamClient(channel, secret, site) as stream:
        yield {
            "SendHits": lambda: unary(a_batch(secret)),
            "SendHits, key in metadata": lambda: unary(a_batch(), *bearer),
            "JSON, key in metadata": lambda: by_rest(lambda: rest.post("/v1/hits:send", {"hits": [view]})),
            "JSON": lambda: by_rest(lambda: rest.post("/v1/hits:send", {"ingestKey": secret, "hits": [view]})),
            "running stream": OpenStream(stream).reason,
            "new stream": opened,
            "report": lambda: reason_with(lambda: mesh.reporter().RunReport(question, metadata=bearer, timeout=10)),
            "report by REST": lambda: by_rest(lambda: rest.get(f"/v1/{site}/freshness")),
            "ledger": lambda: reason_with(
                lambda: operations_pb2_grpc.OperationsServiceStub(channel).GetLedger(
                    operations_pb2.GetLedgerRequest(site=site), metadata=bearer, timeout=10
                )
            ),
            "trace": lambda: reason_with(
                lambda: trace_pb2_grpc.TraceServiceStub(channel).TraceHit(
                    trace_pb2.TraceHitRequest(site=site, hit_id="none"), metadata=bearer, timeout=20
                )
            ),
            "admin": lambda: reason_with(
                lambda: mesh.admin().ListIngestKeys(
                    admin_pb2.ListIngestKeysRequest(parent="merchants/demo"), metadata=bearer, timeout=10
                )
            ),
        }


def reasons(doors: Doors) -> dict[str, str]:
    return {name: reason() for name, reason in doors.items()}


@pytest.mark.timeout(90)
def test_a_revoked_key_is_refused_at_every_door_within_seconds(mesh: Mesh, new_site: NewSite) -> None:
    made = created(mesh)
    with doors(mesh, made.secret, new_site("revoked-everywhere")) as every:
        assert reasons(every) == dict.fromkeys(every, "")
        revoke = admin_pb2.RevokeIngestKeyRequest(name=made.key.name)
        mesh.admin().RevokeIngestKey(revoke, metadata=authorized(mesh.key), timeout=10)
        refused = dict.fromkeys(every, "KEY_REVOKED")
        eventually(lambda: reasons(every) == refused, "every door refuses the key", timeout_s=REVOKED_WITHIN_S)
        delete = admin_pb2.DeleteIngestKeyRequest(name=made.key.name)
        mesh.admin().DeleteIngestKey(delete, metadata=authorized(mesh.key), timeout=10)
        refused = dict.fromkeys(every, "UNKNOWN_KEY")
        eventually(lambda: reasons(every) == refused, "the deleted key is unknown", timeout_s=REVOKED_WITHIN_S)


@pytest.mark.timeout(90)
def test_a_replaced_key_is_refused_at_every_door_from_its_expiry_on_and_the_new_key_is_not(
    mesh: Mesh, new_site: NewSite
) -> None:
    made, site, clock = created(mesh), new_site("expired-everywhere"), SystemClock()
    with doors(mesh, made.secret, site) as every:
        assert reasons(every) == dict.fromkeys(every, "")
        rotate = admin_pb2.RotateIngestKeyRequest(name=made.key.name, overlap=Duration(seconds=3))
        rotated = mesh.admin().RotateIngestKey(rotate, metadata=authorized(mesh.key), timeout=10)
        expires_at = rotated.replaced_key.expire_time.ToMilliseconds()
        eventually(lambda: clock.now() >= expires_at, "the overlap is over", timeout_s=10)
        refused = dict.fromkeys(every, "KEY_EXPIRED")
        eventually(lambda: reasons(every) == refused, "every door refuses the key", timeout_s=EXPIRED_WITHIN_S)
        with doors(mesh, rotated.secret, site) as of_new:
            assert reasons(of_new) == dict.fromkeys(of_new, "")
        later = admin_pb2.IngestKey(name=made.key.name, expire_time=timestamp(clock.now() + 3_600_000))
        mesh.admin().UpdateIngestKey(
            admin_pb2.UpdateIngestKeyRequest(key=later), metadata=authorized(mesh.key), timeout=10
        )
        eventually(lambda: reasons(every) == dict.fromkeys(every, ""), "the extended key is valid", timeout_s=10)


@pytest.mark.timeout(60)
def test_keys_are_managed_by_rest(mesh: Mesh, new_site: NewSite) -> None:
    rest, site = Rest(mesh, {"authorization": f"Bearer {mesh.key}"}), new_site("keys-by-rest")
    status, _, made = rest.post(
        "/v1/merchants/demo/ingestKeys", {"kind": "KEY_KIND_BROWSER", "site": site, "displayName": "a page"}
    )
    assert status == 200, made
    name, etag = made["key"]["name"], made["key"]["etag"]
    assert made["secret"].startswith(made["key"]["prefix"])
    assert len(made["key"]["prefix"]) == 6
    change = b'{"displayName": "b", "etag": "%s"}' % etag.encode()
    status, _, body = rest.request("PATCH", f"/v1/{name}?updateMask=displayName", change)
    assert status == 200, body
    status, _, body = rest.request("PATCH", f"/v1/{name}?updateMask=displayName", change)
    assert status == 409, body
    assert b"ETAG_MISMATCH" in body
    status, _, listed = rest.get("/v1/merchants/demo/ingestKeys?showRevoked=true&pageSize=1000")
    assert status == 200, listed
    assert [key["displayName"] for key in listed["keys"] if key["name"] == name] == ["b"]
    request_id = str(uuid.uuid4())
    for _ in range(2):
        status, _, rotated = rest.post(f"/v1/{name}:rotate", {"overlap": "60s", "requestId": request_id})
        assert status == 200, rotated
    assert (rotated["key"]["rotatedFrom"], rotated["secret"]) == (name, "")
    assert rest.request("DELETE", f"/v1/{name}")[0] == 400
    assert rest.post(f"/v1/{name}:revoke", {})[0] == 200
    assert rest.request("DELETE", f"/v1/{name}")[0] == 200
    assert rest.get(f"/v1/{name}")[0] == 404
    assert rest.get(f"/v1/{rotated['key']['name']}")[0] == 200


@pytest.mark.timeout(60)
def test_hits_with_a_browser_key_come_from_allowed_origins_only(mesh: Mesh, new_site: NewSite) -> None:
    site, owner = new_site("origins"), authorized(mesh.key)
    key = admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_BROWSER, site=site)
    made = mesh.admin().CreateIngestKey(
        admin_pb2.CreateIngestKeyRequest(parent="merchants/demo", key=key), metadata=owner, timeout=10
    )
    batch = {"ingestKey": made.secret, "hits": [{"type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v"}]}
    batch["hits"][0]["pageView"] = {"url": "/"}  # type: ignore[index]  # a list of hits

    def sent(*origins: str) -> tuple[int, str]:
        status, _, answer = Rest(mesh, {"origin": origin} if (origin := ", ".join(origins)) else {}).post(
            "/v1/hits:send", batch
        )
        return status, "" if status == 200 else reason_of(answer)

    refused = (403, "ORIGIN_NOT_ALLOWED")
    assert sent("https://rival.example") == sent() == (200, "")
    with StreamClient(mesh.channel(), "", "", timeout_s=patient(30)) as stream:
        update = admin_pb2.UpdateSiteRequest(
            site=admin_pb2.Site(name=site, allowed_origins=["https://shop.example", "https://*.shop.example"])
        )
        mesh.admin().UpdateSite(update, metadata=owner, timeout=10)
        eventually(lambda: sent("https://rival.example") == refused, "the list applies", timeout_s=2)
        for origin in ("https://shop.example", "https://shop.example:443", "https://a.b.shop.example"):
            assert sent(origin) == (200, "")
        for origins in ((), ("null",), ("http://shop.example",), ("https://shop.example", "https://shop.example")):
            assert sent(*origins) == refused
        stream.send(a_batch(made.secret))
        (issue,) = stream.finish().issues
        assert (issue.HasField("index"), issue.reason) == (False, collector_pb2.REASON_ORIGIN_NOT_ALLOWED)
    from_shop = (("origin", "https://shop.example"),)
    with StreamClient(mesh.channel(), made.secret, "", timeout_s=patient(30), metadata=from_shop) as stream:
        stream.send(a_batch())
        assert stream.finish().accepted == 1
    server = Rest(mesh, {"authorization": f"Bearer {mesh.key}", "hitmesh-site": site})
    assert server.post("/v1/hits:send", {"hits": batch["hits"]})[0] == 200
