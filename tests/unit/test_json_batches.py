"""JSON becomes a batch hit by hit: what does not parse is refused at its place, and nothing else is lost."""

from __future__ import annotations

import gzip
import json

import pytest
from google.protobuf.message import DecodeError

from collector.json_batches import MAX_JSON_BYTES, batch_of_json, plain_body
from hitmesh.errors import RefusedError
from hitmesh.hit.v1 import hit_pb2
from hitmesh.log.v1 import view_pb2
from tests.unit.admitting import SERVER, admitted

GOOD = {"hitId": "good", "type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "/"}}
# Parsed, since unknown names are ignored; admission refuses what is left of them.
EMPTIED_HITS = [{**GOOD, "type": "HIT_TYPE_FOO"}, {**GOOD, "pageView": "a text"}]
BAD_HITS = [
    {**GOOD, "screenView": {"screenName": "two payloads"}},
    {**GOOD, "trueTime": "yesterday"},
    {**GOOD, "visitorId": 7},
    {**GOOD, "sequence": 2**40},
    {**GOOD, "visitorId": "\ud800"},
    None,
    "a text",
    [],
    7,
]


def hits_of(batch: bytes) -> list[bytes]:
    return list(view_pb2.HitBatchEnvelope.FromString(batch).hits)


def test_a_batch_is_what_its_json_says() -> None:
    document = {"batchId": "b", "ingestKey": "k", "clientSendTime": "2026-01-01T00:00:00Z", "hits": [GOOD, GOOD]}
    batch = hit_pb2.HitBatch.FromString(batch_of_json(json.dumps(document).encode()))
    assert (batch.batch_id, batch.ingest_key, len(batch.hits)) == ("b", "k", 2)
    assert batch.hits[1].page_view.url == "/"
    assert batch.client_send_time.seconds == 1_767_225_600


@pytest.mark.parametrize("bad", BAD_HITS)
def test_a_hit_that_does_not_parse_stands_undecodable_at_its_place(bad: object) -> None:
    first, refused, last = hits_of(batch_of_json(json.dumps({"hits": [GOOD, bad, GOOD]}).encode()))
    assert hit_pb2.Hit.FromString(first) == hit_pb2.Hit.FromString(last)
    assert json.loads(refused[1:]) == bad
    with pytest.raises(DecodeError):
        hit_pb2.Hit.FromString(refused)


@pytest.mark.parametrize("bad", BAD_HITS + EMPTIED_HITS)
def test_admission_takes_the_neighbours_of_such_a_hit(bad: object) -> None:
    fields = {"ingestKey": SERVER, "hits": [{**GOOD, "hitId": "1"}, bad, {**GOOD, "hitId": "3"}]}
    found = admitted(batch_of_json(json.dumps(fields).encode()))
    assert sorted(found.hits["hit_id"].to_list()) == ["1", "3"]
    (issue,) = found.issues
    assert (issue.index, issue.outcome) == (1, "REJECTED")
    if bad not in EMPTIED_HITS:
        assert issue.reason == "DECODE"
        assert json.loads(found.rejected["original"][0][1:]) == bad


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"hits": 7}', b'{"batchId": 7}', b"\xff", b"[" * 100_000, b'{"hits": [}']
)
def test_what_is_no_batch_is_refused_whole_with_the_cause(body: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        batch_of_json(body)
    assert refused.value.reason == "DECODE"


def test_unknown_fields_are_ignored() -> None:
    batch = batch_of_json(json.dumps({"novelty": 1, "hits": [{**GOOD, "novelty": {}}]}).encode())
    assert hit_pb2.Hit.FromString(hits_of(batch)[0]).hit_id == "good"


@pytest.mark.parametrize("sent", [1.5, "1.5", -0.25])
def test_a_quantity_with_decimals_is_exact(sent: float | str) -> None:
    item = {"sku": "ham", "quantity": sent}
    order = {"type": "HIT_TYPE_ORDER", "order": {"orderId": "o", "items": [item, {"quantity": "2"}, {"quantity": 3.0}]}}
    cart = {"type": "HIT_TYPE_CART_UPDATE", "cart": {"action": 1, "items": [item]}}
    view = {"type": "HIT_TYPE_PRODUCT_VIEW", "productView": {"item": item}}
    hits = hits_of(batch_of_json(json.dumps({"hits": [order, cart, view]}).encode()))
    of_order, of_cart, of_view = map(hit_pb2.Hit.FromString, hits)
    items = [*of_order.order.items, *of_cart.cart.items, of_view.product_view.item]
    assert [(one.quantity, one.quantity_exact) for one in items] == [
        (0, float(sent)),
        (2, 0),
        (3, 0),
        (0, float(sent)),
        (0, float(sent)),
    ]


@pytest.mark.parametrize("quantity", ["many", "", True, [1.5], float("nan")])
def test_a_quantity_that_is_no_number_does_not_parse(quantity: object) -> None:
    order = {"type": "HIT_TYPE_ORDER", "order": {"orderId": "o", "items": [{"quantity": quantity}]}}
    (hit,) = hits_of(batch_of_json(json.dumps({"hits": [order]}).encode()))
    with pytest.raises(DecodeError):
        hit_pb2.Hit.FromString(hit)


def test_gzip_is_unpacked_within_the_limit_of_a_body() -> None:
    assert plain_body(gzip.compress(b"{}"), "gzip") == plain_body(b"{}", "") == b"{}"
    assert len(plain_body(gzip.compress(b" " * 50_000_000), "gzip")) == MAX_JSON_BYTES + 1, "one more than is taken"


@pytest.mark.parametrize(
    ("body", "encoding"), [(b"{}", "br"), (b"{}", "gzip"), (gzip.compress(b"{}")[:-9], "gzip"), (b"", "gzip")]
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(RefusedError):
        plain_body(body, encoding)
