"""Tests that send every kind of bad input through Envoy.

Only the bad hit is refused, with its reason. The hits beside the bad hit are accepted.

Other tests send valid but difficult values, which reports must return unchanged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.api.hit.v1 import hit_pb2
from tests.e2e.asking import DAY, NOON_MS, short
from tests.e2e.conftest import NewSite
from tests.support.comparison import Question, ask
from tests.support.mesh import Mesh
from tests.support.messages import page_view, timestamp
from tests.support.rest import Rest, reason_of
from tests.support.streams import StreamClient, bytes_of, length_delimited, sequenced
from tests.support.tenants import authorized

HOUR_MS = 3_600_000
HIT_FIELD, PAGE_FIELD, EVENT_FIELD = 6, 20, 22

Change = Callable[[hit_pb2.Hit], None]


def good(name: str) -> hit_pb2.Hit:
    return page_view(f"hit-{name}", NOON_MS, "/good", visitor=f"visitor-{name}")


def changed(change: Change) -> bytes:
    """Return a valid page view in which `change` makes one value invalid."""
    hit = good("bad")
    change(hit)
    return bytes_of(hit)


def typed(hit_type: int, change: Change) -> bytes:
    """Return a valid hit of another type in which one value is made invalid."""
    hit = hit_pb2.Hit(hit_id="hit-bad", type=hit_pb2.HitType.ValueType(hit_type), true_time=timestamp(NOON_MS))
    hit.visitor_id = "visitor-bad"
    change(hit)
    return bytes_of(hit)


def _order(currency: str, total: int = 1) -> Change:
    order = hit_pb2.Order(order_id="o", currency=currency, total_micros=total)
    return lambda hit: hit.order.CopyFrom(order)


def _ahead(ms: int) -> Change:
    def change(hit: hit_pb2.Hit) -> None:
        hit.true_time.CopyFrom(timestamp(time.time_ns() // 1_000_000 + ms))

    return change


def _with_title(size: int) -> Change:
    def change(hit: hit_pb2.Hit) -> None:
        for number in range(size // 500):
            hit.properties[f"p{number}"].string_value = "x" * 500

    return change


def _url(url: str) -> Change:
    def change(hit: hit_pb2.Hit) -> None:
        hit.page_view.url = url

    return change


def _denied(hit: hit_pb2.Hit) -> None:
    hit.context.consent.analytics = hit_pb2.CONSENT_STATE_DENIED


# (name, bytes of the bad hit, reason)
BAD_HITS: tuple[tuple[str, bytes, str], ...] = (
    ("garbage", b"\xff\xff\xff\xff\xff", "DECODE"),
    ("cut short", bytes_of(good("bad"))[:-3], "DECODE"),
    ("invalid UTF-8", length_delimited(1, b"\xff\xfe") + bytes_of(good("bad")), "DECODE"),
    ("invalid UTF-8 in the URL", bytes_of(good("bad")) + length_delimited(20, length_delimited(1, b"/\xff")), "DECODE"),
    (
        "two payloads",
        bytes_of(good("bad")) + length_delimited(EVENT_FIELD, bytes_of(hit_pb2.CustomEvent(name="click"))),
        "DECODE",
    ),
    ("no type", changed(lambda hit: hit.ClearField("type")), "UNSUPPORTED_TYPE"),
    ("unknown type", typed(99, lambda hit: None), "UNSUPPORTED_TYPE"),
    ("no payload", changed(lambda hit: hit.ClearField("page_view")), "MISSING_FIELD"),
    ("payload of another type", typed(hit_pb2.HIT_TYPE_ORDER, lambda hit: hit.page_view.SetInParent()), ""),
    ("a page without URL", changed(_url("")), "MISSING_FIELD"),
    ("a URL that is none", changed(_url("not a url")), "INVALID_FIELD"),
    ("NUL", changed(_url("https://shop.example/a\0b")), "INVALID_FIELD"),
    ("NUL in the id", changed(lambda hit: setattr(hit, "hit_id", "a\0b")), "INVALID_FIELD"),
    ("unknown currency", typed(hit_pb2.HIT_TYPE_ORDER, _order("ABC")), "UNKNOWN_CURRENCY"),
    ("currency of two letters", typed(hit_pb2.HIT_TYPE_ORDER, _order("us")), "UNKNOWN_CURRENCY"),
    ("too much money", typed(hit_pb2.HIT_TYPE_ORDER, _order("USD", 10**18 + 1)), "INVALID_FIELD"),
    ("an order without id", typed(hit_pb2.HIT_TYPE_ORDER, lambda hit: hit.order.SetInParent()), "MISSING_FIELD"),
    (
        "a bad event name",
        typed(hit_pb2.HIT_TYPE_EVENT, lambda hit: setattr(hit.event, "name", "bad\a")),
        "INVALID_FIELD",
    ),
    ("a cart without action", typed(hit_pb2.HIT_TYPE_CART_UPDATE, lambda hit: hit.cart.SetInParent()), "MISSING_FIELD"),
    ("25 hours ahead", changed(_ahead(25 * HOUR_MS)), "TIME_FUTURE"),
    ("larger than 32 KiB", changed(_with_title(40_000)), "HIT_TOO_LARGE"),
    ("no consent", changed(_denied), "CONSENT_DENIED"),
)


@dataclass(frozen=True)
class Sent:
    """The outcome of each batch that was sent on a stream."""

    site: str
    issues: dict[str, list[collector_pb2.HitIssue]]
    accepted: dict[str, int]


@pytest.fixture(scope="module")
def sent(mesh: Mesh, new_site: NewSite) -> Sent:
    """Send a batch per case, and wait until reports contain the good hits.

    A batch has a good hit, the bad hit and another good hit.
    """
    site = new_site("bad-input")
    numbers: dict[int, str] = {}
    with StreamClient(mesh.channel(), mesh.key, site) as stream:
        for name, bad, _ in BAD_HITS:
            before, after = bytes_of(good(f"{name} before")), bytes_of(good(f"{name} after"))
            batch = b"".join(length_delimited(HIT_FIELD, hit) for hit in (before, bad, after))
            numbers[stream.send(batch)] = name
        reported = stream.finish()
    mesh.wait_visible(site, reported.receipts)
    by_batch = {name: [issue for issue in reported.issues if issue.batch_seq == seq] for seq, name in numbers.items()}
    return Sent(site, by_batch, {"all": reported.accepted})


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, _, reason in BAD_HITS])
def test_a_bad_hit_is_refused_alone_with_its_reason(sent: Sent, name: str, reason: str) -> None:
    (issue,) = sent.issues[name]
    assert (issue.index, issue.outcome) == (1, collector_pb2.OUTCOME_REJECTED)
    if reason:
        assert collector_pb2.Reason.Name(issue.reason) == f"REASON_{reason}"
    assert issue.message


@pytest.mark.timeout(60)
def test_the_good_neighbours_of_bad_hits_are_all_in_the_report(mesh: Mesh, sent: Sent) -> None:
    assert sent.accepted["all"] == 2 * len(BAD_HITS)
    question = Question(sent.site, DAY, DAY, metrics=("hits", "visitors"), dimensions=("page_path",))
    answer = ask(mesh.reporter(), question)
    assert answer == {("", "/good"): {"hits": 2 * len(BAD_HITS), "visitors": 2 * len(BAD_HITS)}}


@pytest.mark.timeout(60)
def test_refused_hits_are_counted_at_the_time_of_their_refusal(mesh: Mesh, sent: Sent) -> None:
    out = mesh.cli("query", "--site", short(sent.site), "--metrics", "rejected_hits", "--last", "2d", "-o", "csv")
    assert out == f"rejected_hits\r\n{len(BAD_HITS)}\r\n"


# ------------------------------------------------------------------------------------------------- frames and batches


def _accepted(mesh: Mesh, site: str, bad: bytes) -> list[collector_pb2.HitIssue]:
    """Send a bad message between two good hits. Check that both good hits are accepted, and return the issues."""
    with StreamClient(mesh.channel(), mesh.key, site) as stream:
        stream.send(hit_pb2.HitBatch(hits=[good("first")]))
        stream.raw(bad)
        stream.next_seq += 1
        last = stream.send(hit_pb2.HitBatch(hits=[good("last")]))
        reported = stream.finish()
    assert reported.acked_through == last
    assert reported.accepted == 2
    return reported.issues


@pytest.mark.timeout(60)
def test_a_frame_of_garbage_among_good_ones_is_refused_alone(mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("garbage")
    for garbage in (b"\xff\xff\xff", b"neither open nor batch", sequenced(2, b"\xff\xff\xff\xff")):
        (issue,) = _accepted(mesh, site, garbage)
        assert (issue.batch_seq, issue.HasField("index")) == (2, False)
        assert (issue.outcome, issue.reason) == (collector_pb2.OUTCOME_REJECTED, collector_pb2.REASON_DECODE)


@pytest.mark.timeout(60)
def test_batches_that_are_too_large_or_empty_are_refused_alone(mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("too-large")
    many = hit_pb2.HitBatch(hits=[good(f"{number}") for number in range(2_001)])
    fat = hit_pb2.HitBatch(hits=[good("fat")])
    fat.hits[0].page_view.title = "x" * (1 << 20)
    for batch, reason in (
        (many, collector_pb2.REASON_BATCH_TOO_LARGE),
        (fat, collector_pb2.REASON_BATCH_TOO_LARGE),
        (hit_pb2.HitBatch(batch_id="empty"), collector_pb2.REASON_MISSING_FIELD),
    ):
        (issue,) = _accepted(mesh, site, sequenced(2, batch))
        assert (issue.HasField("index"), issue.outcome, issue.reason) == (
            False,
            collector_pb2.OUTCOME_REJECTED,
            reason,
        )


@pytest.mark.timeout(60)
def test_a_batch_under_an_unknown_or_revoked_key_is_refused_whole_and_the_stream_goes_on(
    mesh: Mesh, new_site: NewSite
) -> None:
    site = new_site("bad-keys")
    admin = mesh.admin()
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/demo", key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER)
    )
    made = admin.CreateIngestKey(request, metadata=authorized(mesh.key), timeout=60)
    admin.RevokeIngestKey(
        admin_pb2.RevokeIngestKeyRequest(name=made.key.name), metadata=authorized(mesh.key), timeout=60
    )
    for key, reason in (
        ("hms_unknown", collector_pb2.REASON_UNKNOWN_KEY),
        (made.secret, collector_pb2.REASON_KEY_REVOKED),
    ):
        batch = hit_pb2.HitBatch(ingest_key=key, hits=[good("one"), good("two")])
        (issue,) = _accepted(mesh, site, sequenced(2, batch))
        assert (issue.HasField("index"), issue.outcome, issue.reason) == (
            False,
            collector_pb2.OUTCOME_REJECTED,
            reason,
        )


@pytest.mark.timeout(60)
def test_a_clock_slightly_ahead_is_corrected_with_a_warning(mesh: Mesh, new_site: NewSite) -> None:
    hit = good("ahead")
    _ahead(HOUR_MS)(hit)
    with StreamClient(mesh.channel(), mesh.key, new_site("ahead")) as stream:
        stream.send(hit_pb2.HitBatch(hits=[hit]))
        reported = stream.finish()
    (issue,) = reported.issues
    assert (issue.outcome, issue.reason) == (collector_pb2.OUTCOME_WARNED, collector_pb2.REASON_CLOCK_SKEW)
    assert reported.accepted == 1


# ------------------------------------------------------------------------------------------------------ unary and REST


@pytest.mark.timeout(30)
def test_a_unary_call_with_broken_protobuf_is_invalid(mesh: Mesh) -> None:
    method = "/hitmesh.api.collector.v1.CollectorService/SendHits"
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = mesh.channel().unary_unary(method)
    with pytest.raises(grpc.RpcError) as error:
        call(b"\xff\xff\xff\xff", timeout=60, metadata=(("hitmesh-site", "demo/any"),))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.timeout(30)
def test_a_unary_call_that_is_too_large_is_refused_with_the_limit_and_the_remedy(mesh: Mesh) -> None:
    method = "/hitmesh.api.collector.v1.CollectorService/SendHits"
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = mesh.channel().unary_unary(method)
    with pytest.raises(grpc.RpcError) as error:
        call(length_delimited(1, b"x" * (3 << 20)), timeout=60, metadata=(("hitmesh-site", "demo/any"),))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error.value)  # type: ignore[arg-type]  # the error of a call is that call
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert info.reason == "REQUEST_TOO_LARGE"
    assert "2,097,152" in status.message
    assert "StreamHits" in status.message


@pytest.mark.timeout(30)
def test_a_unary_call_under_an_unknown_or_revoked_key_is_unauthenticated(mesh: Mesh, new_site: NewSite) -> None:
    rest = Rest(mesh, headers={"hitmesh-site": new_site("unary-keys")})
    batch = {"hits": [{"type": "HIT_TYPE_PAGE_VIEW", "pageView": {"url": "/"}}]}
    status, _, body = rest.post("/v1/hits:send", batch | {"ingestKey": "hms_nobody"})
    assert (status, reason_of(body)) == (401, "UNKNOWN_KEY")
    status, _, body = rest.post("/v1/hits:send", batch)
    assert (status, reason_of(body)) == (401, "UNKNOWN_KEY")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1, 2",
        b'{"hits": 7}',
        b'{"batchId": 7}',
        b'{"clientSendTime": "2026-13-45T00:00:00Z"}',
        b"\xff\xfe\x00",
    ],
    ids=["cut", "cut list", "number for list", "number for text", "no such date", "bytes"],
)
def test_json_that_is_no_batch_is_400_in_the_common_error_shape(mesh: Mesh, body: bytes) -> None:
    status, headers, answer = Rest(mesh).request("POST", "/v1/hits:send", body)
    assert status == 400
    assert headers["content-type"].startswith("application/json")
    error = json.loads(answer)
    assert error["code"] == 3
    assert error["message"]


@pytest.mark.timeout(30)
def test_json_hits_of_wrong_types_cost_their_neighbours_nothing(mesh: Mesh, new_site: NewSite) -> None:
    good = {"type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "/"}}
    bad: list[object] = [
        {**good, "type": "NO_SUCH_TYPE"},
        {**good, "sequence": "many"},
        {**good, "trueTime": "yesterday"},
        {**good, "visitorId": 7},
        {**good, "pageView": "a text"},
        {**good, "event": {"name": "two payloads"}},
        {**good, "type": "HIT_TYPE_ORDER", "pageView": None, "order": {"orderId": "o", "totalMicros": 1.5}},
        None,
        "a text",
    ]
    hits = [each_hit for number, wrong in enumerate(bad) for each_hit in ({**good, "hitId": f"good-{number}"}, wrong)]
    rest = Rest(mesh, headers={"hitmesh-site": new_site("json-hits")})
    status, _, answer = rest.post("/v1/hits:send", {"ingestKey": mesh.key, "hits": hits})
    assert status == 200
    assert (answer["acceptedCount"], answer["rejectedCount"]) == (str(len(bad)), str(len(bad)))
    assert [issue["index"] for issue in answer["issues"]] == list(range(1, 2 * len(bad), 2))
    assert {issue["outcome"] for issue in answer["issues"]} == {"OUTCOME_REJECTED"}
