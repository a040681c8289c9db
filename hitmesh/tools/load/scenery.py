"""The data for synthetic visitors: pages, products, user agents, referrers, campaigns, events.

This module defines the possible values and how often each page is viewed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

ORIGIN: Final = "https://load.example"
CURRENCY: Final = "USD"
MICROS_PER_CENT: Final = 10_000


class Product(NamedTuple):
    """A product for sale."""

    sku: str
    category: tuple[str, str]
    brand: str
    price_micros: int


class Campaign(NamedTuple):
    """A campaign as tags in a URL."""

    source: str
    medium: str
    campaign: str

    @property
    def query(self) -> str:
        """The URL query for a landing page of the campaign."""
        return f"utm_source={self.source}&utm_medium={self.medium}&utm_campaign={self.campaign}"


_CATEGORIES: Final = (
    ("home", "lamps"),
    ("home", "rugs"),
    ("kitchen", "pans"),
    ("kitchen", "mugs"),
    ("outdoor", "tents"),
)
_BRANDS: Final = ("Aquila", "Borealis", "Ferrum", "Acer", "Lumen", "Ovis", "Quercus")
PRODUCTS: Final = tuple(
    Product(
        f"sku-{number:03d}",
        _CATEGORIES[number % len(_CATEGORIES)],
        _BRANDS[number % len(_BRANDS)],
        (990 + number * 731 % 19_000) * MICROS_PER_CENT,
    )
    for number in range(60)
)

_FIXED_PAGES: Final = ("/", "/sale", "/new", "/search", "/cart", "/help/shipping", "/help/returns", "/about")
PAGES: Final = (
    *_FIXED_PAGES,
    *(f"/c/{'/'.join(category)}" for category in _CATEGORIES),
    *(f"/product/{product.sku}" for product in PRODUCTS),
)
# The first pages have high weights, so that a few pages get most views.
PAGE_WEIGHTS: Final = tuple(1 / (rank + 2) for rank in range(len(PAGES)))

_CHROME: Final = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 {}Safari/537.36"
_SAFARI: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{} {}Safari/{}"
AGENTS: Final = (
    *(
        f"Mozilla/5.0 ({system}) {_CHROME.format(version, '')}"
        for system in ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64")
        for version in (129, 130, 131)
    ),
    *(
        f"Mozilla/5.0 (Linux; Android {android}; {phone}) {_CHROME.format(131, 'Mobile ')}"
        for android in (13, 14, 15)
        for phone in ("Pixel 8", "SM-S921B")
    ),
    *(
        f"Mozilla/5.0 (iPhone; CPU iPhone OS {version.replace('.', '_')} like Mac OS X) "
        + _SAFARI.format(version, "Mobile/15E148 ", "604.1")
        for version in ("17.6", "18.0", "18.1")
    ),
    *(
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_SAFARI.format(version, '', '605.1.15')}"
        for version in ("17.6", "18.1")
    ),
    *(
        f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
        for system in ("Windows NT 10.0; Win64; x64", "X11; Linux x86_64")
        for version in (132, 133)
    ),
)
BOT_AGENTS: Final = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
    "Mozilla/5.0 (compatible; DuckDuckBot/1.1; +http://duckduckgo.com/duckduckbot.html)",
)
LANGUAGES: Final = ("en", "en-GB", "de", "fr", "es", "ja")

# "" means a visit without a referrer.
REFERRERS: Final = (
    "",
    "https://www.google.com/",
    "https://www.google.de/",
    "https://www.bing.com/",
    "https://duckduckgo.com/",
    "https://search.yahoo.com/",
    "https://www.ecosia.org/",
    "https://www.instagram.com/",
    "https://www.facebook.com/",
    "https://www.pinterest.com/pin/1/",
    "https://www.reddit.com/r/BuyItForLife/",
    "https://www.youtube.com/watch",
    "https://www.linkedin.com/feed/",
    "https://chatgpt.com/",
    "https://www.perplexity.ai/",
    *(f"https://blog-{number}.example.org/best-of" for number in range(10)),
)
CAMPAIGNS: Final = tuple(
    Campaign(source, medium, name)
    for source, medium in (
        ("newsletter", "email"),
        ("google", "cpc"),
        ("instagram", "paid_social"),
        ("partner", "affiliate"),
    )
    for name in ("autumn", "kitchen", "outdoor")
)
EVENTS: Final = ("video_play", "newsletter_signup", "size_guide_open", "filter_change", "wishlist_add", "chat_open")
