"""Test rule D1: derived hit ids, and content hashes that distinguish a copy from an id collision."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from collector.admission.content import ContentHash
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.keys import hash64
from tests.support.admitting import EDGE, NOW, a_batch, a_hit, a_page, admitted, stored


def content_of(hit: hit_pb2.Hit) -> int:
    found: int = stored(hit)["content_hash"]
    return found


def test_a_hit_without_id_gets_one_of_key_batch_and_index() -> None:
    batch = a_batch(a_hit(""), a_hit("own"), a_hit(""), batch_id="b7")
    expected = [f"{hash64('id-of-server', 'b7', '0'):016x}", "own", f"{hash64('id-of-server', 'b7', '2'):016x}"]
    for _ in range(2):
        rows = admitted(batch).hits.sort("batch_index")
        assert rows["hit_id"].to_list() == expected
        assert rows["hit_hash"].to_list() == [hash64(each) for each in expected]


def test_without_a_batch_id_either_the_id_is_random() -> None:
    assert admitted(a_batch(a_hit(""), batch_id="")).hits["hit_id"].to_list() == ["made-up"]


def test_many_ids_of_different_length_have_the_same_hashes_as_single_ids() -> None:
    ids = ["i" * (1 + number % 64) + str(number) for number in range(700)]
    ids = [each[-64:] for each in ids]
    rows = admitted(a_batch(*(a_hit(each) for each in ids))).hits.sort("batch_index")
    assert rows["hit_hash"].to_list() == [hash64(each) for each in ids]


def test_the_same_hit_later_has_the_same_content() -> None:
    first = a_batch(a_hit(at=1_000), key=EDGE, sent=2_000, edge=hit_pb2.EdgeContext(country="DE"), batch_id="1")
    again = a_batch(a_hit(at=1_000), key=EDGE, sent=9_000, edge=hit_pb2.EdgeContext(country="FR"), batch_id="2")
    assert admitted(first, again).hits["content_hash"].n_unique() == 1


CHANGES: list[Callable[[hit_pb2.Hit], object]] = [
    lambda hit: setattr(hit.page_view, "url", "https://shop.example/b"),
    lambda hit: setattr(hit.page_view, "title", "/referrer"),
    lambda hit: setattr(hit.page_view, "referrer", "/referrer"),
    lambda hit: setattr(hit.page_view, "view_id", "/referrer"),
    lambda hit: setattr(hit.page_view, "http_status", 200),
    lambda hit: setattr(hit.context.device, "user_agent", "x"),
    lambda hit: setattr(hit.context.locale, "language", "x"),
    lambda hit: setattr(hit.context.campaign, "source", "x"),
    lambda hit: setattr(hit.context.campaign, "medium", "x"),
    lambda hit: setattr(hit, "offline", True),
    lambda hit: hit.properties["k"].__setattr__("int_value", 1),
    lambda hit: hit.properties["k"].__setattr__("int_value", 2),
]


def test_every_field_of_payload_and_context_changes_the_content() -> None:
    found = {content_of(a_hit())}
    for change in CHANGES:
        hit = a_hit()
        change(hit)
        found.add(content_of(hit))
    assert len(found) == len(CHANGES) + 1
    searches = {content_of(a_hit(type=10, search=hit_pb2.SiteSearch(term=term))) for term in "ab"}
    assert len(searches) == 2


def test_a_hit_among_many_has_the_same_content_hash_as_alone() -> None:
    urls = [f"/page/{number}" for number in range(800)]
    rows = admitted(a_batch(*(a_page(url, title=url) for url in urls))).hits.sort("batch_index")
    assert rows["content_hash"][700] == content_of(a_page(urls[700], title=urls[700]))


@pytest.mark.parametrize("copies", [1, 600])
def test_the_order_of_properties_means_nothing(copies: int) -> None:
    lists = pl.Series([[b"a", b"b"], [b"b", b"a"], None, [b"a"]] * copies, dtype=pl.List(pl.Binary()))
    content = ContentHash(4 * copies)
    content.add_entries("properties", lists)
    first, other, none, less = content.values[-4:].tolist()
    assert first == other
    assert none == 0
    assert len({first, none, less}) == 3


def test_the_collect_time_of_a_hit_is_that_of_its_frame() -> None:
    assert stored(a_hit())["collect_time"] == NOW
