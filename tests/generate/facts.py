"""Values from which hits are generated: sites, user agents, referrers, campaigns, pages and products.

Each value that a client sends is listed with the result that admission must derive from it. Some values contain what
many programs handle wrongly: quotes, commas, final backslashes, line breaks, right-to-left text or emoji.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference.hits import NO_CAMPAIGN, Campaign, RefItem


@dataclass(frozen=True)
class Client:
    """A user agent, with its device type, browser and operating system."""

    user_agent: str
    device_type: str
    browser: str
    os: str
    is_bot: bool = False


@dataclass(frozen=True)
class Origin:
    """The referrer or campaign of a visit, with the resulting channel, source and medium."""

    referrer: str | None
    referrer_host: str | None
    channel: str
    source: str | None
    medium: str | None
    campaign: Campaign = NO_CAMPAIGN


@dataclass(frozen=True)
class Shop:
    """A site with its currency and page host."""

    site: str
    currency: str
    hostname: str


SHOPS = (
    Shop("merchants/demo/sites/alpha", "USD", "alpha.example"),
    Shop("merchants/demo/sites/beta", "EUR", "beta.example"),
    Shop("merchants/other/sites/gamma", "USD", "gamma.example"),
)

_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
PEOPLE = (
    Client(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 "
        "Safari/537.36",
        "desktop",
        "Chrome",
        "Windows",
    ),
    Client(
        "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0",
        "desktop",
        "Firefox",
        "Linux",
    ),
    Client(
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) {_WEBKIT} Version/18.3 Mobile/15E148 Safari/604.1",
        "mobile",
        "Mobile Safari",
        "iOS",
    ),
    Client(
        f"Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) {_WEBKIT} Version/17.7 Mobile/15E148 Safari/604.1",
        "tablet",
        "Mobile Safari",
        "iOS",
    ),
)
BOTS = (
    Client(
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "bot",
        "Googlebot",
        "Other",
        is_bot=True,
    ),
    Client(
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "bot",
        "bingbot",
        "Other",
        is_bot=True,
    ),
    Client(
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
        "bot",
        "AhrefsBot",
        "Other",
        is_bot=True,
    ),
)

DIRECT = Origin(None, None, "direct", None, None)
NEWSLETTER = Origin(None, None, "email", "newsletter", "email", ("newsletter", "email", 'spring "sale", 50%\\', ""))
ADVERT = Origin(
    "https://www.google.com/",
    "google.com",
    "paid",
    "google",
    "cpc",
    ("google", "cpc", "brand", "Cj0KCQjw"),
)
ORIGINS = (
    DIRECT,
    Origin("https://www.google.com/", "google.com", "search", "Google", "organic"),
    Origin("https://www.facebook.com/", "facebook.com", "social", "Facebook", "social"),
    Origin("https://blog.example.net/post", "blog.example.net", "referral", "blog.example.net", "referral"),
    NEWSLETTER,
    ADVERT,
)

PAGES = (
    "/",
    "/products",
    "/products/shoes",
    "/cart",
    "/about",
    "/a,b;c",
    "/say-%22hello%22",  # this path is in the normal form in which paths are stored
    "/ends-with-backslash%5C",
    "/עברית/דף",
    "/emoji-🛒",
    "/it's",
)
SCREENS = ("Home", "two\nlines", 'Quote "and" back\\', "مرحبا")
EVENT_NAMES = ("video.play", "menu_open", "wishlist_add")
SEARCH_TERMS = ("red shoes", "größe 42", '"exact"')
PRODUCTS = (
    RefItem("sku-1", "shoes/running", "Acme", 59_990_000),
    RefItem("sku-2", "shoes/running", 'Quo"te', 79_000_000),
    RefItem("sku-3", "electronics/phones/cases", "Trailing\\", 12_500_000),
    RefItem("sku-4", "home", "line\nbreak", 3),
    RefItem("sku-5", None, None, 1_010_000),
    RefItem("sku,6", "garden", "מותג", 33_330_000),
    RefItem("sku-🛒", "garden/tools", "Emoji 🛒", 100_000_000),
)
