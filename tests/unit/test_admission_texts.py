"""Test texts in admission: maximum lengths, the character U+0000, and ids."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest

from collector.admission.texts import Texts
from hitmesh.api.hit.v1 import hit_pb2
from tests.support.admitting import a_batch, a_hit, a_page, admitted, stored, verdict


def test_a_long_string_is_cut_at_a_character_with_a_warning() -> None:
    for title, kept in (("x" * 300, "x" * 256), ("ä" * 130, "ä" * 128), ("x" + "🛒" * 70, "x" + "🛒" * 63)):
        found = admitted(a_batch(a_page("/", title=title)))
        assert [(issue.outcome, issue.reason, issue.field) for issue in found.issues] == [
            ("WARNED", "TRUNCATED", "page_view.title")
        ]
        assert found.hits["title"].to_list() == [kept]
        assert found.accepted.tolist() == [1]
    assert stored(a_page("/", title="x" * 256))["title"] == "x" * 256


@pytest.mark.parametrize(
    ("hit", "field"),
    [
        (a_page("/" + "x" * 2_000), "page_view.url"),
        (a_page("/?" + "x" * 2_001), "page_view.url"),
        (a_page("/?utm_source=" + "x" * 129), "page_view.url"),
        (a_page("/", referrer="https://x.example/" + "x" * 2_000), "page_view.referrer"),
        (a_page("/", view_id="x" * 65), "page_view.view_id"),
        (a_hit(context=hit_pb2.Context(device=hit_pb2.Device(user_agent="x" * 1_025))), "context.device.user_agent"),
        (a_hit(context=hit_pb2.Context(locale=hit_pb2.Locale(language="x" * 36))), "context.locale.language"),
        (a_hit(context=hit_pb2.Context(campaign=hit_pb2.Campaign(source="x" * 129))), "context.campaign.source"),
        (a_hit(type=10, search=hit_pb2.SiteSearch(term="x" * 257)), "search.term"),
        (a_hit(properties={"k": hit_pb2.PropertyValue(string_value="x" * 501)}), "properties"),
        (a_hit("x" * 65), "hit_id"),
        (a_hit(visitor_id="x" * 129), "visitor_id"),
    ],
)
def test_the_field_of_a_truncated_text_is_named(hit: hit_pb2.Hit, field: str) -> None:
    assert verdict(hit) == ("WARNED", "TRUNCATED", field)


@pytest.mark.parametrize(
    ("hit", "field"),
    [
        (a_page("/a\0b"), "page_view.url"),
        (a_page("/", title="a\0b"), "page_view.title"),
        (a_page("/", referrer="\0"), "page_view.referrer"),
        (a_hit("a\0"), "hit_id"),
        (a_hit(visitor_id="\0"), "visitor_id"),
        (a_hit(context=hit_pb2.Context(device=hit_pb2.Device(user_agent="\0"))), "context.device.user_agent"),
        (a_hit(context=hit_pb2.Context(campaign=hit_pb2.Campaign(term="\0"))), "context.campaign.term"),
        (a_hit(type=2, screen_view=hit_pb2.ScreenView(screen_name="a\0")), "screen_view.screen_name"),
        (a_hit(type=11, exception=hit_pb2.ExceptionInfo(message="a\0")), "exception.message"),
        (a_hit(type=8, order=hit_pb2.Order(order_id="1", items=[hit_pb2.Item(sku="a\0")])), "order.items.sku"),
        (
            a_hit(type=8, order=hit_pb2.Order(order_id="1", items=[hit_pb2.Item(category=["a\0"])])),
            "order.items.category",
        ),
        (
            a_hit(type=13, product_view=hit_pb2.ProductView(item=hit_pb2.Item(sku="s", brand="\0"))),
            "product_view.item.brand",
        ),
        (a_hit(properties={"k\0": hit_pb2.PropertyValue(int_value=1)}), "properties"),
        (a_hit(properties={"k": hit_pb2.PropertyValue(string_value="\0")}), "properties"),
    ],
)
def test_nul_is_refused_and_its_field_named(hit: hit_pb2.Hit, field: str) -> None:
    assert verdict(hit) == ("REJECTED", "INVALID_FIELD", field)


def test_nul_is_replaced_in_the_ids_of_refused_hits() -> None:
    found = admitted(a_batch(a_hit("a\0b"), batch_id="c\0d"), a_batch(a_hit("a\0b")))
    assert found.rejected.select("batch_id", "hit_id").rows() == [("c\ufffdd", ""), ("b1", "a\ufffdb")]
    assert (found.issues[0].index, found.issues[0].field) == (-1, "batch_id")


def test_long_ids_stay_different() -> None:
    long = "x" * 70
    rows = admitted(a_batch(a_hit(long + "1"), a_hit(long + "2"))).hits.sort("batch_index")
    endings = [blake2b(f"{long}{end}".encode(), digest_size=16).hexdigest() for end in "12"]
    assert rows["hit_id"].to_list() == [f"{'x' * 31}~{ending}" for ending in endings]
    assert rows["hit_id"].str.len_bytes().to_list() == [64, 64]
    visitors = admitted(a_batch(a_hit(visitor_id="v" * 200 + "1"), a_hit("h2", visitor_id="v" * 200 + "2"))).hits
    assert visitors["visitor_lo"].n_unique() == 2


def test_a_refused_hit_carries_no_warnings() -> None:
    assert verdict(a_hit(page_view=hit_pb2.PageView(url="nowhere", title="x" * 300))) == (
        "REJECTED",
        "INVALID_FIELD",
        "page_view.url",
    )


def test_a_long_default_context_is_warned_of_once_per_batch() -> None:
    context = hit_pb2.Context(locale=hit_pb2.Locale(language="x" * 40))
    found = admitted(a_batch(a_hit("1"), a_hit("2"), default_context=context))
    assert [(issue.index, issue.field) for issue in found.issues] == [(-1, "default_context.locale.language")]
    assert found.hits["language"].to_list() == ["x" * 35] * 2


def test_properties_are_kept_as_sent_and_long_ones_cut() -> None:
    values = {"a": hit_pb2.PropertyValue(int_value=7), "b": hit_pb2.PropertyValue(string_value="x" * 501)}
    rows = admitted(a_batch(a_hit(properties=values), a_hit("h2"))).hits.sort("batch_index")
    assert rows["properties"][1] is None
    entries = [
        hit_pb2.Hit.FromString(b"\x52" + bytes([len(each)]) + each)
        for each in rows["properties"][0].to_list()
        if len(each) < 128
    ]
    assert dict(entries[0].properties) == {"a": values["a"]}
    assert sorted(map(len, rows["properties"][0].to_list()))[1] < 520


def test_properties_are_at_most_30_with_keys_of_1_to_64_bytes() -> None:
    value = hit_pb2.PropertyValue(bool_value=True)
    assert len(stored(a_hit(properties={f"k{number}": value for number in range(30)}))["properties"]) == 30
    for bad in ({f"k{number}": value for number in range(31)}, {"": value}, {"k" * 65: value}):
        assert verdict(a_hit(properties=bad)) == ("REJECTED", "INVALID_FIELD", "properties")


def test_texts_merge_by_row_and_find_values_of_slices() -> None:
    column = pa.array(["zz", "a", "", "a\0"])[1:]
    texts = Texts.of(column)
    assert texts is not None
    assert texts.is_set().tolist() == [True, False, True]
    merged = texts.or_else(Texts.constant(["d"], np.zeros(3, np.int32)))
    assert [merged.value(row) for row in range(3)] == ["a", "d", "a\0"]
    assert merged.column("x", np.arange(3)).to_list() == ["a", "d", "a\0"]
    assert texts.column("x", np.array([2, 1])).to_list() == ["a\0", None]
    assert Texts.of(pa.array(["", ""])) is None


def test_control_characters_of_a_campaign_that_a_context_names_become_blanks() -> None:
    campaign = hit_pb2.Campaign(source="\x1b[2Ja\r\n\tb\x85", medium="mail", term="\u2028", campaign=" kept  as is ")
    row = stored(a_hit(context=hit_pb2.Context(campaign=campaign)))
    named = ("utm_source", "utm_medium", "utm_campaign", "utm_term")
    assert [row[name] for name in named] == ["[2Ja b", "mail", " kept  as is ", None]
