"""Page views: Tests of how admission handles URLs, campaigns in URLs, contexts, and classification."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collector.classify.click_ids import CLICK_IDS
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.reasons import EXCLUDING_FLAGS, HitFlag
from tests.support.admitting import (
    CHROME,
    FIREFOX,
    SERVER,
    SITE,
    a_batch,
    a_frame,
    a_hit,
    a_page,
    admitted,
    grants,
    stored,
    verdict,
)

BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


@pytest.mark.parametrize(
    ("url", "host", "path", "query"),
    [
        ("https://Shop.Example/a/b?c=d#e", "shop.example", "/a/b", "c=d"),
        ("https://shop.example", "shop.example", "/", None),
        ("https://shop.example?c=d", "shop.example", "/", "c=d"),
        ("https://shop.example#top", "shop.example", "/", None),
        ("http://user:secret@shop.example:8080/a", "shop.example", "/a", None),
        ("http://[2001:DB8::1]:8080/a", "[2001:db8::1]", "/a", None),
        ("/a", None, "/a", None),
        ("/a?next=https://x.example/b", None, "/a", "next=https://x.example/b"),
        ("//a//b", None, "//a//b", None),
        ("/?", None, "/", None),
        ("app+x://screen/one", "screen", "/one", None),
        ("file:///a", None, "/a", None),
        ("https://bücher.example/ä/日本 🛒", "bücher.example", "/ä/日本 🛒", None),
        ("/quote'\"back\\slash\nline", None, "/quote'%22back%5Cslash%0Aline", None),
        ("https://B%C3%9Ccher.example./%7eu/caf%c3%a9%2f%20x/../a%20b?c=%7e", "bücher.example", "/~u/a b", "c=%7e"),
        ("/a#one\ntwo", None, "/a", None),
        ("https://shop.example\\a", "shop.example", "/a", None),
        ("HTTP://shop.example\\", "shop.example", "/", None),
        ("https://shop.example/a\\b", "shop.example", "/a%5Cb", None),
        ("app://a\\b/c", "a\\b", "/c", None),
        ("https://0x7f.1/", "127.0.0.1", "/", None),
        ("https://u@010.0x1:80/", "8.0.0.1", "/", None),
        ("http://2130706433/", "127.0.0.1", "/", None),
        ("http://192.0.2.1/", "192.0.2.1", "/", None),
        ("http://256.0.0.1/", "256.0.0.1", "/", None),
        ("app://0x7f.1/", "0x7f.1", "/", None),
        (f"https://{'a' * 64}.example/", f"{'a' * 64}.example", "/", None),
    ],
)
def test_a_url_is_host_path_and_query(url: str, host: str | None, path: str, query: str | None) -> None:
    row = stored(a_page(url))
    assert (row["hostname"], row["page_path"], row["page_query"]) == (host, path, query)


@pytest.mark.parametrize(
    "url", ["a", "?a=b", "shop.example/a", "javascript:void(0)", "https://?a", "://x/a", f"http://{'x' * 254}/"]
)
def test_a_text_that_is_neither_url_nor_path_is_refused(url: str) -> None:
    assert verdict(a_page(url)) == ("REJECTED", "INVALID_FIELD", "page_view.url")


def test_a_page_view_needs_a_url() -> None:
    assert verdict(a_page("")) == ("REJECTED", "MISSING_FIELD", "page_view.url")


def test_status_title_and_referrer_are_kept() -> None:
    row = stored(a_page("/", title="Home", referrer="https://www.google.com/", http_status=200))
    assert (row["title"], row["referrer"], row["http_status"]) == ("Home", "https://www.google.com/", 200)
    assert (row["channel"], row["source"], row["medium"]) == ("search", "Google", "organic")
    assert stored(a_page("/"))["http_status"] is None
    assert verdict(a_page("/", http_status=99)) == ("REJECTED", "INVALID_FIELD", "page_view.http_status")


def campaign_of(hit: hit_pb2.Hit, default: hit_pb2.Context | None = None) -> tuple[str | None, ...]:
    found = admitted(a_batch(hit, default_context=default))
    columns = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "click_id")
    return found.hits.select(columns).row(0)


@pytest.mark.parametrize(
    ("query", "source", "click_id"),
    [
        ("utm_source=news", "news", None),
        ("utm_source=a&utm_source=b", "b", None),
        ("utm_source=a&utm_source=", None, None),
        ("utm_source=%20+%20", None, None),
        ("utm_source=Android+App", "Android App", None),
        ("utm_source=C%2B%2B", "C++", None),
        ("utm%5Fsource=a&utm_medium=b", "a", None),
        ("%67clid=a", None, "a"),
        ("a+b=1", None, None),
        ("x=" + "y" * 3_000 + "&utm_source=after&gclid=g", "after", "g"),
        ("&" * 999 + "utm_source=last", "last", None),
        ("&" * 1_000 + "utm_source=beyond", None, None),
        ("fbclid=f&ScCid=s", None, "s"),
        ("utm_source=%ff", "\ufffd", None),
        ("utm_source=%20%20", None, None),
        ("utm_source=%00", None, None),
        ("utm_source=%1B%5B2J%0D%0Anews%00", "[2J news", None),
        ("utm_source=a%00b&gclid=%7Fc%C2%9Bd%E2%80%A8", "a b", "c d"),
        ("utm_source=a%20%20b", "a  b", None),
        ("utm_source=caf%C3%A9%20x", "café x", None),
        ("x=1&gclid=abc", None, "abc"),
        ("my_utm_source=a", None, None),
        ("utm_source", None, None),
    ],
)
def test_a_campaign_is_read_from_the_query(query: str, source: str | None, click_id: str | None) -> None:
    found = campaign_of(a_page(f"/?{query}"))
    assert (found[0], found[5]) == (source, click_id)
    row = admitted(a_batch(a_page(f"/?{query}"))).hits.row(0, named=True)
    assert (row["campaign_hash"] != 0) == (source is not None or click_id is not None)


def test_the_context_s_campaign_wins_over_the_url_s_and_is_never_mixed() -> None:
    hit_context = hit_pb2.Context(campaign=hit_pb2.Campaign(source="own"))
    default = hit_pb2.Context(campaign=hit_pb2.Campaign(source="default", medium="mail"))
    page = hit_pb2.PageView(url="/?utm_source=url&utm_medium=cpc")
    assert campaign_of(a_hit(page_view=page, context=hit_context), default)[:2] == ("own", None)
    assert campaign_of(a_hit(page_view=page), default)[:2] == ("default", "mail")
    assert campaign_of(a_hit(page_view=page))[:2] == ("url", "cpc")


@pytest.mark.parametrize(("kind", "channel"), [("gclid", "paid"), ("fbclid", "social"), ("", "paid")])
def test_a_click_id_that_unpaid_links_carry_too_is_no_advertisement(kind: str, channel: str) -> None:
    campaign = hit_pb2.Campaign(click_id="abc", click_id_kind=kind)
    page = hit_pb2.PageView(url="/", referrer="https://www.facebook.com/")
    assert stored(a_hit(page_view=page, context=hit_pb2.Context(campaign=campaign)))["channel"] == channel


@pytest.mark.parametrize("kind", CLICK_IDS)
def test_click_ids_of_networks_are_read_from_the_query(kind: str) -> None:
    row = stored(a_page(f"https://shop.example/?a=b&{kind}=Cj0KCQ"))
    assert row["click_id"] == "Cj0KCQ"
    assert row["channel"] == {"ad": "paid"}.get(CLICK_IDS[kind].kind, CLICK_IDS[kind].kind)


def test_a_long_click_id_is_shortened_without_a_warning() -> None:
    first, other = ("x" * 150 + end for end in "ab")
    found = [stored(a_page(f"/?fbclid={each}"))["click_id"] for each in (first, other)]
    assert [len(each) for each in found] == [128, 128]
    assert found[0] != found[1]


def test_a_path_is_cut_in_its_normal_form() -> None:
    letter = "%D0%B6"
    assert stored(a_page("/" + letter * 900))["page_path"] == "/" + "ж" * 900
    (path,) = admitted(a_batch(a_page("/" + letter * 1_100))).hits["page_path"]
    assert path == "/" + "ж" * 999
    assert verdict(a_page("/" + letter * 1_100))[:2] == ("WARNED", "TRUNCATED")


@pytest.mark.parametrize("url", ["/a\x00", "https://shop.example/a?b=\x00"])
def test_an_address_with_nul_is_refused(url: str) -> None:
    assert verdict(a_page(url)) == ("REJECTED", "INVALID_FIELD", "page_view.url")


def test_hits_with_a_spammer_s_referrer_are_flagged_and_taken() -> None:
    row = stored(a_page("https://shop.example/", referrer="http://semalt.semalt.com/x"))
    assert row["flags"] == HitFlag.SPAM_REFERRER
    assert row["flags"] & EXCLUDING_FLAGS
    assert row["referrer_host"] == "semalt.semalt.com"


def test_own_fields_of_a_context_win_one_by_one() -> None:
    default = hit_pb2.Context(device=hit_pb2.Device(user_agent=FIREFOX), locale=hit_pb2.Locale(language="de"))
    hit_context = hit_pb2.Context(device=hit_pb2.Device(user_agent=CHROME))
    rows = admitted(
        a_batch(a_hit("1"), a_hit("2", context=hit_context), default_context=default), a_batch(a_hit("3"))
    ).hits
    assert rows.sort("hit_id").select("user_agent", "language", "browser").rows() == [
        (FIREFOX, "de", "Firefox"),
        (CHROME, "de", "Chrome"),
        (None, None, None),
    ]


def test_bots_are_flagged_and_taken() -> None:
    row = stored(a_hit(context=hit_pb2.Context(device=hit_pb2.Device(user_agent=BOT))))
    assert (row["flags"], row["device_type"]) == (HitFlag.BOT_UA, "bot")
    assert stored(a_hit())["flags"] == 0


def test_referrers_at_hosts_that_the_site_declares_are_internal_for_this_site_only() -> None:
    page = a_page("https://shop.example/", referrer="https://pay.checkout.example/x")
    other = replace(SITE, name="merchants/m/sites/other", own_hosts=("shop2.example", "checkout.example"))
    to = {(SERVER, "a"): grants()[SERVER, ""], (SERVER, "b"): grants(other)[SERVER, ""]}
    found = admitted(a_frame(a_batch(page), site_header="a"), a_frame(a_batch(page), site_header="b"), to=to).hits
    rows = found.sort("site").select("site", "referrer", "referrer_host", "channel").rows()
    assert rows == [
        (other.name, "https://pay.checkout.example/x", None, "direct"),
        (SITE.name, "https://pay.checkout.example/x", "pay.checkout.example", "referral"),
    ]
