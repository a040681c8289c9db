"""Tests with bytes that no conforming client sends: nested groups at every place, and damage inside messages.

A decoder with unbounded recursion ends the process, so a failure of these tests kills the whole test run.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.admission import Admitted
from collector.json_batches import batch_of_json
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.errors import RefusedError
from tests.support.admitting import SERVER, a_batch, a_frame, a_hit, admitted

START, END = 3, 4
# A nesting depth that exceeds the stack of any recursive decoder. Each level of nesting needs one byte, and a batch may
# have 1 MiB.
DEEPEST = 300_000
GOOD = a_hit("good").SerializeToString()
PLACES = ("batch", "hit", "context", "page", "payload", "item", "property", "property value", "unknown field")


def tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def varint(number: int) -> bytes:
    made = b""
    while number > 127:
        made, number = made + bytes([number & 127 | 128]), number >> 7
    return made + bytes([number])


def inside(field: int, content: bytes) -> bytes:
    return tag(field, 2) + varint(len(content)) + content


def groups(depth: int, field: int, between: bytes, closed: bool) -> bytes:
    """Return nested protobuf groups with other fields between them."""
    return (tag(field, START) + between) * depth + (tag(field, END) * depth if closed else b"")


def batch_with(place: str, content: bytes) -> bytes:
    """Return a batch of two good hits that contains `content` at the named place."""
    of_hit = {
        "hit": content,
        "context": inside(9, content),
        "page": inside(20, content),
        "payload": inside(27, content),
        "item": inside(27, inside(3, content)),
        "property": inside(10, content),
        "property value": inside(10, inside(1, b"k") + inside(2, content)),
        "unknown field": inside(999, content),
    }.get(place, b"")
    of_batch = content if place == "batch" else b""
    return a_batch(a_hit("first")) + inside(6, GOOD + of_hit) + of_batch


def refused_of(found: Admitted) -> int:
    return int(found.rejected["hits"].sum()) if found.rejected.height else 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_groups_nested_deeper_than_any_stack_are_refused_and_their_neighbours_are_taken(
    place: str, closed: bool
) -> None:
    depth = DEEPEST if place == "batch" else 15_000
    found = admitted(batch_with(place, groups(depth, 15, b"", closed)), a_batch(a_hit("other")))
    assert found.accepted[1] == 1, "another batch does not suffer"
    if place == "unknown field":  # the decoder skips the content of unknown fields
        assert found.accepted[0] == 2
        return
    assert refused_of(found) == 1, "one hit, or one batch whose hits cannot be counted"
    assert found.issues[0].reason == "DECODE"


@given(
    place=st.sampled_from(PLACES),
    depth=st.one_of(st.integers(1, 200), st.sampled_from([5_000, 10_000])),
    field=st.sampled_from([1, 6, 9, 10, 15, 27, 500]),
    between=st.sampled_from([b"", b"\x08\x01", inside(6, b""), inside(9, b"\x0a\x00")]),
    closed=st.booleans(),
)
def test_whatever_groups_hold_every_hit_is_accounted_for(
    place: str, depth: int, field: int, between: bytes, closed: bool
) -> None:
    batch = batch_with(place, groups(depth, field, between, closed))
    found = admitted(batch, a_batch(a_hit("other")))
    assert int(found.accepted.sum()) + refused_of(found) in (3, 2 if place == "batch" and found.accepted[0] == 0 else 3)
    assert found.accepted[1] == 1


@given(at=st.integers(0, 400), change=st.binary(max_size=6), cut=st.integers(0, 6))
def test_damage_anywhere_costs_at_most_its_own_batch(at: int, change: bytes, cut: int) -> None:
    order = hit_pb2.Order(order_id="o", currency="EUR", items=[hit_pb2.Item(sku="s", quantity=2)])
    hits = [a_hit("p"), a_hit("o", type=hit_pb2.HIT_TYPE_ORDER, order=order)]
    hits[0].properties["k"].string_value = "v"
    batch = a_batch(*hits, default_context=hit_pb2.Context(locale=hit_pb2.Locale(language="de")))
    damaged = batch[:at] + change + batch[at + cut :]
    found = admitted(a_frame(damaged, default_key=SERVER), a_batch(a_hit("other")))
    assert found.accepted[1] == 1


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"context":', "}")])
def test_json_nested_deeper_than_any_stack_is_refused(open_: str, close: str) -> None:
    body = '{"hits":[' + open_ * 200_000 + "1" + close * 200_000 + "]}"
    with pytest.raises(RefusedError):
        batch_of_json(body.encode())


def test_json_nested_too_deep_for_a_hit_is_refused_alone() -> None:
    deep = json.loads("[" * 400 + "]" * 400)
    good = {"type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "https://shop.example/"}}
    body = json.dumps({"ingestKey": SERVER, "hits": [good, deep, good]}).encode()
    found = admitted(batch_of_json(body).batch)
    assert found.accepted.tolist() == [2]
    assert refused_of(found) == 1
