"""Test the classifier as admission uses it.

Answers have the order of the given rows, and the memory of the cache is bounded.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from collector.classify import Classifier
from collector.classify.cache import BoundedCache
from collector.classify.click_ids import CLICK_IDS, Click

ACCESS_LOG = Path(__file__).parents[3] / "shared" / "data" / "access.log"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
ROW = ("referrer", "hostname", "source", "medium", "campaign", "click_id")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def rows(*values: tuple[str | None, ...]) -> pl.DataFrame:
    return pl.DataFrame(list(values), schema=dict.fromkeys(ROW, pl.String), orient="row")


def test_version_names_every_list(classifier: Classifier) -> None:
    kinds = [part.rstrip("0123456789") for part in classifier.version.split(".") if not part.isdigit()]
    assert kinds == ["ua", "bots", "ref", "spam", "ch"]
    assert ".ref20260715.spam20260820." in classifier.version


def test_user_agents_keep_their_order_and_missing_ones_are_no_bots(classifier: Classifier) -> None:
    answer = classifier.user_agents(pl.Series([GOOGLEBOT, None, CHROME, "", " \t"], dtype=pl.String))
    assert answer.schema == {
        "user_agent": pl.String,
        "device_type": pl.String,
        "browser": pl.String,
        "os": pl.String,
        "is_bot": pl.Boolean,
    }
    assert answer.rows() == [
        (GOOGLEBOT, "bot", "Googlebot", "Other", True),
        (None, None, None, None, False),
        (CHROME, "desktop", "Chrome", "Windows", False),
        ("", None, None, None, False),
        (" \t", None, None, None, False),
    ]


def test_no_rows_give_no_rows_with_the_same_columns(classifier: Classifier) -> None:
    assert classifier.user_agents(pl.Series([], dtype=pl.String)).shape == (0, 5)
    empty = classifier.referrers(rows())
    words = dict.fromkeys(("referrer_host", "channel", "source", "medium"), pl.String)
    assert empty.schema == words | {"is_spam": pl.Boolean}
    assert empty.height == 0


def test_columns_of_nulls_without_a_type_are_taken(classifier: Classifier) -> None:
    nothing = pl.DataFrame({name: [None, None] for name in ROW})
    assert classifier.referrers(nothing).rows() == [(None, "direct", None, None, False)] * 2
    assert classifier.user_agents(pl.Series([None])).rows() == [(None, None, None, None, False)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((None, "shop.example", None, None, None, None), (None, "direct", None, None)),
        (("", "", "", "", "", ""), (None, "direct", None, None)),
        (
            ("https://www.google.co.uk/", "shop.example", None, None, None, None),
            ("google.co.uk", "search", "Google", "organic"),
        ),
        (
            ("https://l.facebook.com/l.php?u=x", "shop.example", None, None, None, None),
            ("l.facebook.com", "social", "Facebook", "social"),
        ),
        (
            ("https://chatgpt.com/", "shop.example", None, None, None, None),
            ("chatgpt.com", "ai_assistant", "ChatGPT", "ai"),
        ),
        (
            ("https://mail.google.com/", "shop.example", None, None, None, None),
            ("mail.google.com", "email", "Gmail", "email"),
        ),
        (
            ("https://Blog.Partner.example:8443/a?b#c", "shop.example", None, None, None, None),
            ("blog.partner.example", "referral", "blog.partner.example", "referral"),
        ),
        # the site itself and payment providers are never a referrer
        (
            ("https://shop.example/cart", "www.shop.example", None, None, None, None),
            (None, "direct", None, None),
        ),
        (
            ("https://checkout.stripe.com/pay", "shop.example", None, None, None, None),
            (None, "direct", None, None),
        ),
        (
            ("https://www.paypal.com/", "shop.example", "news", "email", None, None),
            (None, "email", "news", "email"),
        ),
        # a campaign takes precedence over the referrer
        (
            ("https://www.google.com/", "shop.example", "google", "cpc", "spring", None),
            ("google.com", "paid", "google", "cpc"),
        ),
        (
            ("https://www.google.com/", "shop.example", None, None, None, "Cj0KCQ"),
            ("google.com", "paid", "Google", "cpc"),
        ),
        (
            (None, "shop.example", "partner.example", None, "x", None),
            (None, "referral", "partner.example", None),
        ),
        ((None, "shop.example", None, None, "x", None), (None, "referral", None, None)),
    ],
)
def test_a_row_has_host_channel_source_and_medium(
    classifier: Classifier, row: tuple[str | None, ...], expected: tuple[str | None, ...]
) -> None:
    assert classifier.referrers(rows(row)).rows() == [(*expected, False)]


@pytest.mark.parametrize(
    ("referrer", "hostname", "spam"),
    [
        ("http://semalt.semalt.com/crawler.php?u=x", "shop.example", True),
        ("https://SEMALT.com", "shop.example", True),
        ("https://www.semalt.com:443/", "", True),
        ("https://notsemalt.com/", "shop.example", False),
        ("https://semalt.com.shop.example/", "other.example", False),
        ("https://semalt.com/", "semalt.com", False),  # the site itself
        ("semalt.com", "shop.example", False),  # no URL
        ("https://www.google.com/", "shop.example", False),
    ],
)
def test_a_listed_host_and_hosts_below_it_are_referrer_spam(
    classifier: Classifier, referrer: str, hostname: str, spam: bool
) -> None:
    answer = classifier.referrers(rows((referrer, hostname, None, None, None, None)))
    assert answer["is_spam"].to_list() == [spam]


@pytest.mark.parametrize(("kind", "click"), CLICK_IDS.items())
def test_a_click_id_alone_gives_channel_source_and_medium(classifier: Classifier, kind: str, click: Click) -> None:
    row = rows((None, "shop.example", None, None, None, "abc"))
    channel, source, medium = classifier.referrers(row.with_columns(pl.lit(kind).alias("click_id_kind"))).row(0)[1:4]
    assert channel == ("paid" if click.kind == "ad" else click.kind)
    assert source == click.source
    assert medium == {"ad": "cpc", "search": "organic"}.get(click.kind, click.kind)


def test_the_referrer_names_the_source_of_a_click_before_its_network_does(classifier: Classifier) -> None:
    row = rows(("https://www.youtube.com/", "shop.example", None, None, None, "abc"))
    answer = classifier.referrers(row.with_columns(pl.lit("gclid").alias("click_id_kind")))
    assert answer.row(0) == ("youtube.com", "paid", "YouTube", "cpc", False)


def test_rows_keep_their_order_and_a_cached_answer_is_the_same(classifier: Classifier) -> None:
    google = ("https://www.google.de/", "a.example", None, None, None, None)
    same_host = ("https://a.example/x", "a.example", None, None, None, None)
    foreign = ("https://a.example/x", "b.example", None, None, None, None)
    batch = rows(google, same_host, foreign, google)
    first = classifier.referrers(batch)
    assert first["channel"].to_list() == ["search", "direct", "referral", "search"]
    assert first["referrer_host"].to_list() == ["google.de", None, "a.example", "google.de"]
    assert classifier.referrers(batch).equals(first)


def test_the_kind_of_a_click_id_separates_paid_from_marked_links(classifier: Classifier) -> None:
    bare = rows(*((None, "shop.example", None, None, None, "abc"),) * 4)
    marked = bare.with_columns(pl.Series("click_id_kind", ["gclid", "FBCLID", "mc_eid", None]))
    assert classifier.referrers(marked)["channel"].to_list() == ["paid", "social", "email", "paid"]
    assert classifier.referrers(bare)["channel"].to_list() == ["paid"] * 4


def test_a_cache_that_holds_one_string_changes_no_answer(classifier: Classifier) -> None:
    forgetful = Classifier(max_entries=1)
    agents = pl.Series([CHROME, GOOGLEBOT, "curl/8.0", CHROME, GOOGLEBOT])
    assert forgetful.user_agents(agents).equals(classifier.user_agents(agents))


def test_the_cache_forgets_the_least_recently_used_beyond_its_bounds() -> None:
    computed: list[str] = []

    def length(key: str) -> int:
        computed.append(key)
        return len(key)

    cache = BoundedCache(length, max_entries=2, max_chars=6)
    assert cache.values_of(["a", "bb", "a", "ccc"]) == [1, 2, 1, 3]  # "bb" was evicted
    assert len(cache) == 2
    # A text of 7 characters exceeds the limit and is not cached.
    assert cache.values_of(["a", "bb", "ddddddd"]) == [1, 2, 7]
    assert computed == ["a", "bb", "ccc", "bb", "ddddddd"]
    assert cache.values_of(["eeeee"]) == [5]
    assert len(cache) == 1


def length_of(key: str) -> int:
    return len(key)


def test_a_cache_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        BoundedCache(length_of, max_entries=0)


def test_a_flood_of_distinct_strings_stays_within_the_bound() -> None:
    cache = BoundedCache(length_of, max_entries=1_000)
    cache.values_of(f"agent {n}" for n in range(5_000))
    assert len(cache) == 1_000


def test_strings_of_the_real_log_are_classified(classifier: Classifier) -> None:
    if not ACCESS_LOG.exists():
        pytest.skip(f"{ACCESS_LOG.name} is not there")
    parts = [line.split('"') for line in ACCESS_LOG.read_text(errors="replace").splitlines()]
    referrers = {part[3] for part in parts if len(part) > 5}
    batch = rows(*((referrer, "www.semicomplete.com", None, None, None, None) for referrer in sorted(referrers)))
    answer = classifier.referrers(batch)
    assert answer["channel"].null_count() == 0
    assert {"search", "social", "referral", "direct"} == set(answer["channel"])
    from_same_host = answer.filter(batch["referrer"].str.contains(r"^https?://(?:www\.)?semicomplete\.com"))
    assert set(from_same_host.rows()) == {(None, "direct", None, None, False)}
