"""Test JSON batches, which are parsed hit by hit.

A hit that does not parse is refused. All good hits of the batch are accepted.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from collector.admission import Frame
from collector.json_batches import DETAILED_HITS, MAX_JSON_BYTES, batch_of_json, plain_body
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.errors import RefusedError
from tests.support.admitting import SERVER, a_frame, admitted

GOOD = {"hitId": "good", "type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "/"}}
# The parser ignores unknown names and values, so these hits parse. Admission then refuses the hits.
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


def frame_of(fields: dict[str, Any], *, detailed: int = DETAILED_HITS) -> Frame:
    read = batch_of_json(json.dumps(fields).encode(), detailed=detailed)
    return replace(a_frame(read.batch), found=read.faults)


def test_a_batch_has_the_fields_of_its_json() -> None:
    document = {"batchId": "b", "ingestKey": "k", "clientSendTime": "2026-01-01T00:00:00Z", "hits": [GOOD, GOOD]}
    batch = hit_pb2.HitBatch.FromString(batch_of_json(json.dumps(document).encode()).batch)
    assert (batch.batch_id, batch.ingest_key, len(batch.hits)) == ("b", "k", 2)
    assert batch.hits[1].page_view.url == "/"
    assert batch.client_send_time.seconds == 1_767_225_600


@pytest.mark.parametrize("bad", BAD_HITS)
def test_a_hit_that_does_not_parse_stands_undecodable_at_its_place(bad: object) -> None:
    first, refused, last = hits_of(batch_of_json(json.dumps({"hits": [GOOD, bad, GOOD]}).encode()).batch)
    assert hit_pb2.Hit.FromString(first) == hit_pb2.Hit.FromString(last)
    assert json.loads(refused[1:]) == bad
    with pytest.raises(DecodeError):
        hit_pb2.Hit.FromString(refused)


@pytest.mark.parametrize("bad", BAD_HITS + EMPTIED_HITS)
def test_admission_takes_the_neighbours_of_such_a_hit(bad: object) -> None:
    fields = {"ingestKey": SERVER, "hits": [{**GOOD, "hitId": "1"}, bad, {**GOOD, "hitId": "3"}]}
    found = admitted(frame_of(fields))
    assert sorted(found.hits["hit_id"].to_list()) == ["1", "3"]
    (issue,) = found.issues
    assert (issue.index, issue.outcome) == (1, "REJECTED")
    if bad not in EMPTIED_HITS:
        assert issue.reason == "DECODE"
        assert json.loads(found.rejected["original"][0][1:]) == bad


A_TIME = 'write a time like "2026-01-31T12:00:00Z"'
ORDER = {"type": "HIT_TYPE_ORDER", "pageView": None}


@pytest.mark.parametrize(
    ("wrong", "field", "message"),
    [
        ({"trueTime": "gestern"}, "trueTime", f"trueTime is 'gestern': {A_TIME}"),
        ({"trueTime": 1764400000}, "trueTime", f"trueTime is 1764400000: {A_TIME}"),
        ({"true_time": {}}, "true_time", f"true_time is {{}}: {A_TIME}"),
        ({"visitorId": 7}, "visitorId", "visitorId is 7: write a string"),
        ({"visitorId": "\ud800"}, "visitorId", "visitorId is '\\ud800': write a string"),
        ({"visitorId": ["\x1b[2J"]}, "visitorId", 'visitorId is ["\\u001b[2J"]: write a string'),
        ({"trueTime": "\x1b" * 99}, "trueTime", "trueTime is '" + "\\x1b" * 14 + f"\\x1…: {A_TIME}"),
        ({"sequence": -1}, "sequence", "sequence is -1: write a whole number from 0 to 2^32-1"),
        (
            {**ORDER, "order": {"totalMicros": 12.5}},
            "order.totalMicros",
            "order.totalMicros is 12.5: write a whole number from -2^63 to 2^63-1",
        ),
        (
            {**ORDER, "order": {"items": [{"quantity": 1.5}, {"sku": False}]}},
            "order.items[1].sku",
            "order.items[1].sku is false: write a string",
        ),
        ({"pageView": 7}, "pageView", "pageView is 7: write an object"),
        ({"properties": []}, "properties", "properties is []: write an object"),
        ({**ORDER, "order": {"items": {}}}, "order.items", "order.items is {}: write a list"),
        ({"properties": {"a": {"string": "b"}, "\n": 7}}, "properties", "properties['\\n'] is 7: write an object"),
        ({"screenView": {}}, "payload", "the hit has the payloads pageView, screenView: send one hit for each"),
    ],
)
def test_a_hit_that_does_not_parse_learns_which_field_is_wrong_and_how_to_write_it(
    wrong: dict[str, Any], field: str, message: str
) -> None:
    found = admitted(frame_of({"ingestKey": SERVER, "hits": [GOOD, {**GOOD, "hitId": "bad", **wrong}]}))
    (issue,) = found.issues
    assert (issue.index, issue.hit_id, issue.reason, issue.field) == (1, "bad", "DECODE", field)
    assert issue.message == message
    assert found.hits["hit_id"].to_list() == ["good"]


@pytest.mark.parametrize(("hit", "shown"), [("a text", "'a text'"), (None, "null"), ([1], "[1]")])
def test_a_value_in_place_of_a_hit_is_named(hit: object, shown: str) -> None:
    (issue,) = admitted(frame_of({"ingestKey": SERVER, "hits": [hit]})).issues
    assert issue.message == f"the hit is {shown}: write an object"


def test_the_id_is_known_whatever_its_fields_name() -> None:
    hits = [{"hitId": 7, "visitorId": "v"}, {"hit_id": "snake", "visitorId": 7}, {"hitId": "x" * 9_999, "visitorId": 7}]
    issues = admitted(frame_of({"ingestKey": SERVER, "hits": hits})).issues
    assert [issue.hit_id for issue in issues] == ["", "snake", ""]


def test_only_the_first_hits_that_are_wrong_are_looked_at_again() -> None:
    hits = [{**GOOD, "hitId": str(number), "visitorId": number} for number in range(5)]
    issues = admitted(frame_of({"ingestKey": SERVER, "hits": hits}, detailed=2)).issues
    assert [issue.field for issue in issues] == ["visitorId", "visitorId", "", "", ""]
    assert [issue.hit_id for issue in issues] == ["0", "1", "2", "3", "4"]
    assert issues[2].message == "hits[2] is not the JSON of a Hit: send the hit in a smaller batch to learn why"


@pytest.mark.parametrize(
    ("sent", "cure"),
    [
        ("PAGE_VIEW", "use HIT_TYPE_PAGE_VIEW"),
        ("pageView", "use HIT_TYPE_PAGE_VIEW"),
        ("HIT_TYPE_PAGEVEIW", "use HIT_TYPE_PAGE_VIEW"),
        ("order", "use HIT_TYPE_ORDER"),
        ("zzz", "use one of HIT_TYPE_PAGE_VIEW, HIT_TYPE_SCREEN_VIEW, "),
    ],
)
def test_a_type_that_is_none_is_named_with_its_right_spelling(sent: str, cure: str) -> None:
    found = admitted(frame_of({"ingestKey": SERVER, "hits": [{**GOOD, "type": sent}, GOOD]}))
    (issue,) = found.issues
    assert (issue.index, issue.hit_id, issue.reason, issue.field) == (0, "good", "UNSUPPORTED_TYPE", "type")
    assert issue.message.startswith(f"type {sent!r} is not known: {cure}")
    assert len(found.hits) == 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"hits": 7}', b'{"batchId": 7}', b"\xff", b"[" * 100_000, b'{"hits": [}']
)
def test_a_body_that_is_no_batch_is_refused_whole_with_the_cause(body: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        batch_of_json(body)
    assert refused.value.reason == "DECODE"


@pytest.mark.parametrize("around", ["", " ", "\n\t"])
def test_every_hit_has_the_size_of_its_own_text(around: str) -> None:
    texts = ['{"hitId":"é"}', '{ "type" : {} , "x":[[],{}]}', "null", "-1.5e3", '"]}"', "{}"]
    listed = f",{around}".join(texts)
    hits = f'"hits"{around}:{around}[{around}{listed}{around}]'
    body = f'{around}{{{around}"a":{{"hits":[1]}},{around}{hits}{around}}}{around}'
    read = batch_of_json(body.encode())
    assert read.sizes == [len(text.encode()) for text in texts]
    assert hits_of(read.batch)[1] == b"\x07" + texts[1].encode(), "kept as it was sent"
    assert batch_of_json(body.encode("utf-16")).sizes == read.sizes


@pytest.mark.parametrize(
    "body", ["{}", " { } ", '{"hits":[]}', '{"batchId":"b","hits":[ ]}', '{"hits":[{}],"hits":[]}']
)
def test_a_batch_without_hits_is_read(body: str) -> None:
    read = batch_of_json(body.encode())
    assert (hits_of(read.batch), read.sizes) == ([], [])


@pytest.mark.parametrize(
    "body",
    [
        '{"hits":[{}]',
        '{"hits":[{},]}',
        '{"hits":[{}]}]',
        '{"hits":[{}] 1}',
        '{"a":1,}',
        "{,}",
        '{"a" 1}',
        "{1:2}",
        "{}1",
    ],
)
def test_a_body_that_the_json_parser_refuses_is_refused(body: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    with pytest.raises(RefusedError, match="the body is not JSON"):
        batch_of_json(body.encode())


def test_a_deep_hit_costs_its_neighbours_nothing_and_keeps_its_size() -> None:
    deep = '{"type":{},"d":' + "[" * 800 + "]" * 800 + "}"
    read = batch_of_json(f'{{"hits":[{json.dumps(GOOD)},{deep}]}}'.encode())
    assert read.sizes[1] == len(deep)
    assert hits_of(read.batch)[1] == b"\x07" + deep.encode()


def test_unknown_fields_are_ignored() -> None:
    batch = batch_of_json(json.dumps({"novelty": 1, "hits": [{**GOOD, "novelty": {}}]}).encode()).batch
    assert hit_pb2.Hit.FromString(hits_of(batch)[0]).hit_id == "good"


@pytest.mark.parametrize("sent", [1.5, "1.5", -0.25])
def test_a_quantity_with_decimals_is_exact(sent: float | str) -> None:
    item = {"sku": "ham", "quantity": sent}
    order = {"type": "HIT_TYPE_ORDER", "order": {"orderId": "o", "items": [item, {"quantity": "2"}, {"quantity": 3.0}]}}
    cart = {"type": "HIT_TYPE_CART_UPDATE", "cart": {"action": 1, "items": [item]}}
    view = {"type": "HIT_TYPE_PRODUCT_VIEW", "productView": {"item": item}}
    hits = hits_of(batch_of_json(json.dumps({"hits": [order, cart, view]}).encode()).batch)
    of_order, of_cart, of_view = map(hit_pb2.Hit.FromString, hits)
    items = [*of_order.order.items, *of_cart.cart.items, of_view.product_view.item]
    assert [(parsed.quantity, parsed.quantity_exact) for parsed in items] == [
        (0, float(sent)),
        (2, 0),
        (3, 0),
        (0, float(sent)),
        (0, float(sent)),
    ]


@pytest.mark.parametrize("quantity", ["many", "", True, [1.5], float("nan")])
def test_a_quantity_that_is_no_number_does_not_parse(quantity: object) -> None:
    order = {"type": "HIT_TYPE_ORDER", "order": {"orderId": "o", "items": [{"quantity": quantity}]}}
    (hit,) = hits_of(batch_of_json(json.dumps({"hits": [order]}).encode()).batch)
    with pytest.raises(DecodeError):
        hit_pb2.Hit.FromString(hit)


def test_gzip_is_unpacked_within_the_limit_of_a_body() -> None:
    assert plain_body(gzip.compress(b"{}"), "gzip") == plain_body(b"{}", "") == b"{}"
    assert len(plain_body(gzip.compress(b" " * 50_000_000), "gzip")) == MAX_JSON_BYTES + 1, "one more than is taken"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"{}", "br"), (b"{}", "gzip"), (gzip.compress(b"{}", mtime=0)[:-9], "gzip"), (b"", "gzip")],
)
def test_a_body_that_does_not_match_its_encoding_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(RefusedError):
        plain_body(body, encoding)
