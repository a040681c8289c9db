"""Test how referring hosts, the site's own hosts and channels are classified, and how the table of hosts is built."""

from __future__ import annotations

import random
from pathlib import Path
from typing import get_args

import pytest

from collector.classify.channels import RULES, Channel, Facts, channel_of
from collector.classify.hosts import cut, is_declared_host, is_own_host, place_of
from collector.classify.referrers import ReferrerTable, load_table
from dev import make_referrers
from hitmesh.model.payment_hosts import PAYMENT_HOSTS

GOOGLE_APP = "com.google.android.googlequicksearchbox"
LISTS = Path(__file__).parents[3] / "shared" / "data" / "referrers"


@pytest.fixture(scope="module")
def table() -> ReferrerTable:
    return load_table()


@pytest.mark.parametrize(
    ("referrer", "host", "kind", "name"),
    [
        ("https://www.google.com/", "google.com", "search", "Google"),
        ("https://www.google.co.uk/search?q=a", "google.co.uk", "search", "Google"),
        ("http://google.com.hk", "google.com.hk", "search", "Google"),
        ("https://www.google.de/", "google.de", "search", "Google"),
        ("http://images.google.fr/", "images.google.fr", "search", "Google Images"),
        ("https://www.google.co.jp/imgres?x", "google.co.jp", "search", "Google Images"),
        ("https://yandex.kz/", "yandex.kz", "search", "Yandex"),
        ("https://cn.bing.com/", "cn.bing.com", "search", "Bing"),
        ("https://www.bing.com/images/search?q=a", "bing.com", "search", "Bing Images"),
        ("https://www.bing.com/images/searching", "bing.com", "search", "Bing"),
        ("https://fr.search.yahoo.com/", "fr.search.yahoo.com", "search", "Yahoo!"),
        ("https://us.yhs4.search.yahoo.com/", "us.yhs4.search.yahoo.com", "search", "Yahoo!"),
        ("https://images.de.ask.com/", "images.de.ask.com", "search", "Ask"),
        ("https://duckduckgo.com./", "duckduckgo.com", "search", "DuckDuckGo"),
        # other services of a search engine are ordinary sites, unless a list names them
        ("https://docs.google.com/document/d/1", "docs.google.com", "site", None),
        ("https://news.google.com/", "news.google.com", "search", "Google News"),
        ("https://mail.google.com/", "mail.google.com", "email", "Gmail"),
        ("https://gemini.google.com/app", "gemini.google.com", "ai", "Gemini"),
        ("https://google.com.evil.example/", "google.com.evil.example", "site", None),
        ("https://notgoogle.com/", "notgoogle.com", "site", None),
        ("https://edition.cnn.com/", "edition.cnn.com", "site", None),
        # an entry for a social network or an AI assistant also covers subdomains and paths
        ("https://old.reddit.com/r/x", "old.reddit.com", "social", "reddit"),
        ("https://t.co/abc", "t.co", "social", "Twitter"),
        ("https://x.com/someone", "x.com", "social", "Twitter"),
        ("https://x.com/i/grok", "x.com", "ai", "Grok"),
        ("https://netflix.com/", "netflix.com", "site", None),
        ("https://www.facebook.com/", "facebook.com", "social", "Facebook"),
        ("https://chatgpt.com/", "chatgpt.com", "ai", "ChatGPT"),
        ("https://www.perplexity.ai/search", "perplexity.ai", "ai", "Perplexity"),
        # apps send a package name as their referrer
        (f"android-app://{GOOGLE_APP}/", GOOGLE_APP, "search", "Google"),
        (f"android-app://{GOOGLE_APP}/https/www.google.com", GOOGLE_APP, "search", "Google"),
        ("android-app://com.google.android.gm/", "com.google.android.gm", "email", "Gmail"),
        ("android-app://org.telegram.messenger", "org.telegram.messenger", "social", "Telegram"),
        ("android-app://com.example.shop/", "com.example.shop", "site", None),
        ("android-app://com.linkedin.android/", "com.linkedin.android", "social", "LinkedIn"),
        ("android-app://com.openai.chatgpt", "com.openai.chatgpt", "ai", "ChatGPT"),
        ("https://wa.me/49123", "wa.me", "social", "WhatsApp"),
        ("https://web.whatsapp.com/", "web.whatsapp.com", "social", "WhatsApp"),
        ("https://html.duckduckgo.com/html", "html.duckduckgo.com", "search", "DuckDuckGo"),
        # referrers whose host has an unusual spelling
        ("HTTPS://User:Pass@WWW.Example.COM:8080/x", "example.com", "site", None),
        ("http://192.0.2.7:80/", "192.0.2.7", "site", None),
        ("http://[2001:db8::1]:8080/", "[2001:db8::1]", "site", None),
        ("http://localhost:3000/", "localhost", "site", None),
        ("http://bücher.example/", "bücher.example", "site", None),
        ("http://xn--bcher-kva.example", "bücher.example", "site", None),
        ("  https://example.com?x=/y  ", "example.com", "site", None),
        ("https://example.com#f", "example.com", "site", None),
    ],
)  # fmt: skip
def test_a_referrer_has_a_host_and_a_kind(
    table: ReferrerTable, referrer: str, host: str, kind: str, name: str | None
) -> None:
    found, origin = table.origin_of_referrer(cut(referrer))
    assert (found, origin.kind, origin.name) == (host, kind, name)


@pytest.mark.parametrize(
    "referrer",
    [
        "", "-", " ", "about:blank", "about://blank", "file:///c:/x", "data:text/html,x", "javascript:x()",
        "chrome-extension://abc/x", "google.com", "//google.com/", "http://", "https:///path", "http:// /",
        "http://a b/", "http://exa\x00mple.com/", "http://..", "http://.example.com", "http://%/",
        "http://[::g]/", "http://" + "a" * 300 + ".com/", "http://\\xe4\\xe5/", "ht!tp://example.com",
        "://example.com", "\n",
        "🤖",
    ],
)  # fmt: skip
def test_a_text_that_is_no_page_or_app_is_no_referrer(table: ReferrerTable, referrer: str) -> None:
    host, origin = table.origin_of_referrer(cut(referrer))
    assert host is None
    assert origin.kind == "none"


def test_no_referrer_raises(table: ReferrerTable) -> None:
    chance = random.Random(11)
    pieces = [
        "http",
        "https",
        "://",
        ":",
        "/",
        "?",
        "#",
        "@",
        "[",
        "]",
        ".",
        "www.",
        "google",
        "co",
        "uk",
        "{}",
        "\0",
        "é",
        "日",
        "\\",
        "%",
        " ",
    ]
    for _ in range(3_000):
        referrer = "".join(chance.choice(pieces) for _ in range(chance.randrange(14)))
        host, origin = table.origin_of_referrer(cut(referrer))
        assert (host is None) == (origin.kind == "none")


@pytest.mark.parametrize("host", PAYMENT_HOSTS)
def test_a_payment_provider_is_never_a_referrer(table: ReferrerTable, host: str) -> None:
    for referrer in (f"https://{host}/done", f"https://www.{host}", f"https://secure.{host}/"):
        assert table.origin_of_referrer(referrer)[0] is None


@pytest.mark.parametrize(
    ("referrer_host", "hostname", "is_own"),
    [
        ("shop.example", "shop.example", True),
        ("shop.example", "www.shop.example", True),
        ("shop.example", "WWW.Shop.Example:443", True),
        ("blog.shop.example", "shop.example", True),
        ("shop.example", "m.shop.example", True),
        ("blog.shop.example", "pay.shop.example", False),
        ("myshop.example", "shop.example", False),
        ("shop.example", "myshop.example", False),
        ("example", "shop.example", False),
        ("localhost", "localhost:8080", True),
        ("localhost", "shop.localhost", False),
        ("shop.example", "", False),
        ("shop.example", "not a host", False),
    ],
)
def test_a_site_is_no_referrer_of_its_own(referrer_host: str, hostname: str, is_own: bool) -> None:
    assert is_own_host(referrer_host, hostname) is is_own


def test_only_the_first_part_of_a_long_referrer_is_read() -> None:
    place = place_of("https://example.com/" + "a" * 5_000)
    assert place is not None
    assert place.host == "example.com"
    assert len(place.path) < 512


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("facebook", "social"),
        ("lm.facebook.com", "social"),
        ("https://www.facebook.com/groups/1", "social"),
        ("linkedin.com/feed", "social"),
        ("com.linkedin.android", "social"),
        ("android-app://com.reddit.frontpage/", "social"),
        ("www.google.com.au", "search"),
        ("docs.google.com", "none"),
        ("chat.openai.com", "ai"),
        ("mail.google.com", "email"),
        ("partner.example", "none"),
        ("paypal.com", "none"),
        ("a b.c", "none"),
        ("://.", "none"),
    ],
)
def test_hosts_urls_and_apps_in_a_campaign_source_are_looked_up_with_their_parents(
    table: ReferrerTable, source: str, kind: str
) -> None:
    assert table.kind_of_source(source) == kind


CHANNEL_VECTORS: list[tuple[str, dict[str, str]]] = [
    ("direct", {}),
    ("direct", {"source": "(direct)", "medium": "(none)"}),
    ("referral", {"referrer_kind": "site"}),
    ("search", {"referrer_kind": "search"}),
    ("social", {"referrer_kind": "social"}),
    ("ai_assistant", {"referrer_kind": "ai"}),
    ("email", {"referrer_kind": "email"}),
    # paid takes precedence over all other channels
    ("paid", {"source": "google", "medium": "cpc", "referrer_kind": "search"}),
    ("paid", {"source": "facebook", "medium": "paid_social"}),
    ("paid", {"source": "newsletter", "medium": "paid"}),
    ("paid", {"medium": "ppc"}),
    ("paid", {"medium": "cpm"}),
    ("paid", {"source": "x", "medium": "display"}),
    ("paid", {"source": "x", "medium": "google_cpc"}),
    ("paid", {"click": "ad", "referrer_kind": "social"}),
    ("referral", {"source": "partner", "medium": "unpaid-xcpc-like"}),
    # e-mail
    ("email", {"source": "news", "medium": "email"}),
    ("email", {"medium": "e-mail"}),
    ("email", {"source": "x", "medium": "e mail"}),
    ("email", {"source": "newsletter"}),
    ("email", {"source": "spring-newsletter", "medium": "link"}),
    ("email", {"source": "mailchimp", "medium": "campaign"}),
    ("email", {"source": "shop", "medium": "newsletter", "referrer_kind": "search"}),
    ("email", {"click": "email"}),
    ("referral", {"source": "femail.example", "medium": "link"}),
    # social
    ("social", {"source": "facebook", "medium": "referral"}),
    ("social", {"source": "m.facebook.com"}),
    ("social", {"source": "x", "medium": "post"}),
    ("social", {"source": "influencer", "medium": "social"}),
    ("social", {"source": "influencer", "medium": "social-media"}),
    ("social", {"click": "social"}),
    # search
    ("search", {"source": "gmb", "medium": "organic"}),
    ("search", {"source": "bing"}),
    ("search", {"source": "google.co.uk", "medium": "referral"}),
    ("search", {"click": "search"}),
    # if the source is an AI assistant, the channel is `ai_assistant`, even with the medium `organic`
    ("ai_assistant", {"source": "chatgpt.com"}),
    ("ai_assistant", {"source": "chatgpt.com", "medium": "organic"}),
    ("ai_assistant", {"source": "perplexity", "referrer_kind": "site"}),
    ("ai_assistant", {"source": "x1", "medium": "llm"}),
    # an explicit source or medium overrides the referrer
    ("referral", {"source": "partner", "medium": "affiliate", "referrer_kind": "search"}),
    ("social", {"source": "partner", "referrer_kind": "social"}),
    ("search", {"source": "google", "referrer_kind": "social"}),
    ("referral", {"medium": "qr"}),
    ("referral", {"campaign": "spring"}),
    ("referral", {"source": "(direct)", "referrer_kind": "site"}),
]


@pytest.mark.parametrize(("channel", "given"), CHANNEL_VECTORS)
def test_a_hit_comes_through_the_channel_of_the_first_rule_that_holds(
    table: ReferrerTable, channel: str, given: dict[str, str]
) -> None:
    facts = Facts(
        source=given.get("source", ""),
        medium=given.get("medium", ""),
        campaign=given.get("campaign", ""),
        click=given.get("click", ""),
        source_kind=table.kind_of_source(given.get("source", "")),
        referrer_kind=given.get("referrer_kind", "none"),
    )
    assert channel_of(facts) == channel


def test_every_channel_has_one_rule_in_the_order_of_the_rules_page() -> None:
    assert tuple(rule.channel for rule in RULES) == get_args(Channel)
    assert get_args(Channel) == ("paid", "email", "social", "search", "ai_assistant", "referral", "direct")
    assert {channel for channel, _ in CHANNEL_VECTORS} == set(get_args(Channel))


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("www.Example.com", "example.com"),
        ("apollo.lv/portal/search/", "apollo.lv/portal/search"),
        ("google.{}/cse", "google.{}/cse"),
        (f"android-app//{GOOGLE_APP}/https/www.google.com", GOOGLE_APP),
    ],
)  # fmt: skip
def test_listed_urls_become_host_patterns(url: str, pattern: str) -> None:
    assert make_referrers.host_pattern(url) == pattern


def test_the_committed_table_is_what_the_script_makes_of_the_lists() -> None:
    if not LISTS.is_dir():
        pytest.skip("the published lists are not there")
    assert make_referrers.main([str(LISTS), "--check"]) == 0


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (make_referrers.TABLE, ("matomo-org/searchengine-and-social-list", "2026-07-15", "CC0-1.0")),
        (make_referrers.SPAMMERS, ("matomo-org/referrer-spam-list", "2026-08-20", "public domain")),
    ],
)
def test_a_table_names_its_source_state_and_licence(table: Path, words: tuple[str, ...]) -> None:
    text = table.read_text(encoding="utf-8")
    assert all(word in text for word in words)


def test_no_host_of_spammers_is_below_another(tmp_path: Path) -> None:
    (tmp_path / "spammers.txt").write_text("b.example\nA.b.example\nwww.c.example\n\nbücher.example\n")
    assert make_referrers.read_spammers(tmp_path) == ["b.example", "c.example", "xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("referrer_host", "own_hosts", "is_own"),
    [
        ("checkout.example", "", False),
        ("checkout.example", "shop.example checkout.example", True),
        ("pay.checkout.example", "checkout.example", True),
        ("checkout.example", "pay.checkout.example", False),
        ("notcheckout.example", "checkout.example", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("shop.example", "www.shop.example", True),
    ],
)
def test_declared_hosts_and_their_subdomains_belong_to_the_site(
    referrer_host: str, own_hosts: str, is_own: bool
) -> None:
    assert is_declared_host(referrer_host, own_hosts) is is_own
