"""Test what a call's metadata decide about hits: the key in `authorization`, and the origin of a browser key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from collector.classify import Classifier
from collector.hit_quotas import HitQuotas
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc, json_pb2_grpc
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.quotas import HitLimits, Quota
from hitmesh.model.sites import IngestKey, KeyKind, Site
from tests.support.clock import ManualClock
from tests.support.collectors import KEY, MERCHANT, NOW_MS, SITE, Backend, Running, new_backend, running
from tests.support.messages import page_view
from tests.support.patience import patient
from tests.support.streams import StreamClient

LISTED = "merchants/demo/sites/listed"
BROWSER, OPEN_BROWSER, SERVER, EDGE = "hms_browser", "hms_open-browser", "hms_server", "hms_edge"
SHOP, SUBDOMAINS = "https://shop.example", "https://*.shop.example"
Metadata = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    backend = new_backend(classifier)
    directory = backend.stores.directory
    directory.create_site(Site(LISTED, "UTC", "USD", b"a secret of sixteen", allowed_origins=(SHOP, SUBDOMAINS)))
    for secret, kind, site in (
        (BROWSER, KeyKind.BROWSER, LISTED),
        (OPEN_BROWSER, KeyKind.BROWSER, SITE),
        (SERVER, KeyKind.SERVER, LISTED),
        (EDGE, KeyKind.EDGE, LISTED),
    ):
        directory.create_key(IngestKey(secret.removeprefix("hms_"), MERCHANT, kind, site), secret)
    return backend


@pytest.fixture
def collector(backend: Backend) -> Iterator[Running]:
    with running(backend) as started:
        yield started


@dataclass(frozen=True)
class Outcome:
    """The sender's answer: the number of accepted hits, or the reason and message of the refusal."""

    accepted: int = 0
    code: grpc.StatusCode | None = None
    reason: str = ""
    message: str = ""


def _refusal_of(error: grpc.RpcError) -> Outcome:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # the error of a call is that call
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return Outcome(0, error.code(), info.reason, status.message)


def unary(collector: Running, key: str, metadata: Metadata) -> Outcome:
    request = collector_pb2.SendHitsRequest(batch=_batch(key))
    try:
        answer = collector_pb2_grpc.CollectorServiceStub(collector.channel).SendHits(
            request, metadata=metadata, timeout=patient(20)
        )
    except grpc.RpcError as error:
        return _refusal_of(error)
    return Outcome(answer.accepted_count)


def as_json(collector: Running, key: str, metadata: Metadata) -> Outcome:
    hit = {"type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "/"}}
    body = json.dumps({"hits": [hit]} | ({"ingestKey": key} if key else {})).encode()
    try:
        answer = json_pb2_grpc.JsonCollectorServiceStub(collector.channel).SendJsonHits(
            httpbody_pb2.HttpBody(data=body), metadata=metadata, timeout=patient(20)
        )
    except grpc.RpcError as error:
        return _refusal_of(error)
    return Outcome(answer.accepted_count)


def streamed(collector: Running, key: str, metadata: Metadata) -> Outcome:
    """Send a batch on a stream whose `open` names the key."""
    try:
        with StreamClient(collector.channel, key, "", metadata=metadata, timeout_s=patient(20)) as stream:
            stream.send(_batch(""))
            return _stream_outcome(stream)
    except grpc.RpcError as error:
        return _refusal_of(error)


def streamed_by_batch(collector: Running, key: str, metadata: Metadata) -> Outcome:
    """Send a batch with the key on a stream without a key."""
    others = tuple(pair for pair in metadata if pair[0] != "authorization")
    with StreamClient(collector.channel, "", "", metadata=others, timeout_s=patient(20)) as stream:
        stream.send(_batch(key))
        return _stream_outcome(stream)


def _stream_outcome(stream: StreamClient) -> Outcome:
    reported = stream.finish()
    if not reported.issues:
        return Outcome(reported.accepted)
    (issue,) = reported.issues
    assert not issue.HasField("index")
    reason = collector_pb2.Reason.Name(issue.reason).removeprefix("REASON_")
    return Outcome(reported.accepted, None, reason, issue.message)


def _batch(key: str) -> hit_pb2.HitBatch:
    hit = page_view("h", NOW_MS, visitor="v")
    hit.ClearField("true_time")  # only a server key may set this field
    return hit_pb2.HitBatch(ingest_key=key, hits=[hit])


Send = Callable[[Running, str, Metadata], Outcome]
DOORS = pytest.mark.parametrize("send", [unary, as_json, streamed])


def bearing(key: str) -> Metadata:
    return (("authorization", f"Bearer {key}"),)


# --------------------------------------------------------------------------------------------------- key in metadata


@DOORS
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_key_in_the_metadata_sends_hits(backend: Backend, collector: Running, send: Send, scheme: str) -> None:
    metadata = (("authorization", f"{scheme} {KEY}"), ("hitmesh-site", SITE))
    assert send(collector, "", metadata) == Outcome(1)
    assert backend.rows()["site"].to_list() == [SITE]


@DOORS
def test_the_key_of_the_batch_or_stream_wins_over_the_key_in_the_metadata(
    backend: Backend, collector: Running, send: Send
) -> None:
    assert send(collector, SERVER, bearing("hms_stranger")) == Outcome(1)
    assert backend.rows()["site"].to_list() == [LISTED]
    assert send(collector, "hms_stranger", bearing(SERVER)).reason == "UNKNOWN_KEY"


@DOORS
@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", f"Basic {SERVER}"),),
        (("authorization", SERVER),),
        (("authorization", "Bearer "),),
        (*bearing(SERVER), *bearing(SERVER)),
        bearing("aGVh.ZGVy.c2ln"),
    ],
)
def test_metadata_without_exactly_one_key_name_no_key(
    backend: Backend, collector: Running, send: Send, metadata: Metadata
) -> None:
    if send is streamed:
        send = streamed_by_batch
    found = send(collector, "", metadata)
    assert (found.accepted, found.reason) == (0, "UNKNOWN_KEY")
    assert backend.rows().is_empty()


@pytest.mark.parametrize("send", [unary, as_json])
def test_a_token_in_the_metadata_is_no_key(backend: Backend, collector: Running, send: Send) -> None:
    token = bearing("aGVh.ZGVy.c2ln")
    assert "a token cannot send hits" in send(collector, "", token).message
    assert send(collector, SERVER, token) == Outcome(1)


@pytest.mark.parametrize(("key", "accepted"), [(SERVER, 1), ("", 0)])
def test_a_stream_with_a_token_in_the_metadata_opens_without_a_key(
    backend: Backend, collector: Running, key: str, accepted: int
) -> None:
    token = bearing("aGVh.ZGVy.c2ln")
    with StreamClient(collector.channel, "", "", metadata=token, timeout_s=patient(20)) as stream:
        stream.send(_batch(key))
        found = _stream_outcome(stream)
    assert (found.accepted, "a token cannot send hits" in found.message) == (accepted, not accepted)


@DOORS
def test_several_keys_that_a_proxy_joined_are_refused_as_such(backend: Backend, collector: Running, send: Send) -> None:
    found = send(collector, "", bearing(f"{SERVER},Bearer {SERVER}"))
    assert (found.accepted, found.reason) == (0, "UNKNOWN_KEY")
    assert "several authorization headers" in found.message


@DOORS
def test_a_revoked_and_an_expired_key_in_the_metadata_are_refused(
    backend: Backend, collector: Running, send: Send
) -> None:
    directory = backend.stores.directory
    directory.create_key(IngestKey("gone", MERCHANT, KeyKind.SERVER, SITE, revoked_at=1), "hms_gone")
    directory.create_key(IngestKey("late", MERCHANT, KeyKind.SERVER, SITE, expires_at=NOW_MS + 1_000), "hms_late")
    assert send(collector, "", bearing("hms_gone")).reason == "KEY_REVOKED"
    assert send(collector, "", bearing("hms_late")) == Outcome(1)
    backend.clock.advance(1_000)
    for key, metadata in (("", bearing("hms_late")), ("hms_late", ())):
        found = send(collector, key, metadata)
        assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_EXPIRED")
        assert "key late expired at 2026-03-05T12:00:01Z" in found.message


def test_a_running_stream_refuses_batches_from_the_expiry_of_its_key_on(backend: Backend, collector: Running) -> None:
    key = IngestKey("late", MERCHANT, KeyKind.SERVER, SITE, expires_at=NOW_MS + 1_000)
    backend.stores.directory.create_key(key, "hms_late")
    with StreamClient(collector.channel, "hms_late", "", timeout_s=patient(20)) as stream:
        stream.send(_batch(""))
        stream.wait_acked(1)
        backend.clock.advance(1_000)
        stream.send(_batch(""))
        reported = stream.finish()
    assert reported.accepted == 1
    assert [(issue.batch_seq, issue.reason) for issue in reported.issues] == [(2, collector_pb2.REASON_KEY_EXPIRED)]


# ------------------------------------------------------------------------------------------------------------ origins


ALL_DOORS = pytest.mark.parametrize("send", [unary, as_json, streamed, streamed_by_batch])


@ALL_DOORS
@pytest.mark.parametrize(
    "origin", [SHOP, "https://shop.example:443", "https://a.shop.example", "https://b.a.shop.example"]
)
def test_hits_with_a_browser_key_are_accepted_from_listed_origins(
    backend: Backend, collector: Running, send: Send, origin: str
) -> None:
    assert send(collector, BROWSER, (("origin", origin),)) == Outcome(1)
    assert backend.rows().height == 1


@ALL_DOORS
@pytest.mark.parametrize("origin", ["https://rival.example", "null", "https://shop.example.", f"{SHOP}, {SHOP}"])
def test_hits_with_a_browser_key_are_refused_from_other_origins(
    backend: Backend, collector: Running, send: Send, origin: str
) -> None:
    found = send(collector, BROWSER, (("origin", origin),))
    assert found.reason == "ORIGIN_NOT_ALLOWED"
    assert found.code in (None, grpc.StatusCode.PERMISSION_DENIED)
    assert found.message == (
        f"origin {origin!r} is not allowed for site {LISTED}: add the origin to the site's allowed_origins with "
        "UpdateSite, or send hits from an allowed origin"
    )
    assert backend.rows().is_empty()


@ALL_DOORS
def test_a_request_without_origin_and_with_two_origins_is_refused(
    backend: Backend, collector: Running, send: Send
) -> None:
    without = send(collector, BROWSER, ())
    assert without.reason == "ORIGIN_NOT_ALLOWED"
    assert without.message.startswith("the request has no header origin, and site ")
    assert send(collector, BROWSER, (("origin", SHOP), ("origin", SHOP))).reason == "ORIGIN_NOT_ALLOWED"
    assert backend.rows().is_empty()


@ALL_DOORS
def test_the_origin_matters_only_for_a_browser_key_and_a_site_with_a_list(
    backend: Backend, collector: Running, send: Send
) -> None:
    for key in (SERVER, EDGE, OPEN_BROWSER):
        for metadata in ((), (("origin", "https://rival.example"),), (("origin", "null"),)):
            assert send(collector, key, metadata) == Outcome(1)


@pytest.mark.parametrize("send", [unary, as_json, streamed_by_batch])
def test_a_sender_beyond_its_quota_gets_the_refusal_of_another_origin(backend: Backend, send: Send) -> None:
    backend.stores.directory.change_quota(LISTED, Quota(hits_s=1))
    clock = ManualClock(0)
    quotas = HitQuotas(HitLimits(10**6, 10**9), HitLimits(10**6, 10**9), now_ms=clock.now, clock=clock)
    with running(backend, quotas=quotas) as collector:
        found = [unary(collector, BROWSER, (("origin", SHOP),)) for _ in range(3)]
        assert [each.reason for each in found] == ["", "", "QUOTA"]
        assert send(collector, BROWSER, (("origin", SHOP),)).reason == "QUOTA"
        assert send(collector, BROWSER, (("origin", "https://rival.example"),)).reason == "ORIGIN_NOT_ALLOWED"


def test_a_batch_from_another_origin_is_counted_unread_under_its_site_and_key(
    backend: Backend, collector: Running
) -> None:
    batch = b"\x12\x0b" + BROWSER.encode() + b"\x32\x02\xff\xff" * 3
    request = b"\x0a" + bytes([len(batch)]) + batch
    call: Any = collector.channel.unary_unary("/hitmesh.api.collector.v1.CollectorService/SendHits")
    with pytest.raises(grpc.RpcError) as caught:
        call(request, metadata=(("origin", "https://rival.example"),), timeout=patient(20))
    assert _refusal_of(caught.value).reason == "ORIGIN_NOT_ALLOWED"
    (refused,) = backend.refusals().select("site", "reason", "hits").rows()
    assert refused == (LISTED, "ORIGIN_NOT_ALLOWED", 3)
