"""Lists the click ids that networks append to links. Each click id has a URL parameter, a kind of link and a network.

CHANNELS_VERSION covers this list: a change here requires a new CHANNELS_VERSION.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Click(NamedTuple):
    """The kind of link and the network for which a click id stands.

    `kind` is "ad" if the network adds the id only to advertisements. If the network adds the id to unpaid links too,
    `kind` is the network's kind: search, social or email. `source` is the network's name as in `referrers`. For a tool
    that serves many networks, `source` is null.
    """

    kind: str
    source: str | None


# Maps the URL parameter of each click id, in the network's spelling, to the kind of link and the network. If a query
# has several click ids, the click id that comes first in CLICK_IDS counts.
CLICK_IDS: Final[dict[str, Click]] = {
    "gclid": Click("ad", "Google"),
    "gbraid": Click("ad", "Google"),
    "wbraid": Click("ad", "Google"),
    "dclid": Click("ad", "Google"),
    "msclkid": Click("ad", "Bing"),
    "ttclid": Click("ad", "TikTok"),
    "twclid": Click("ad", "Twitter"),
    "li_fat_id": Click("ad", "LinkedIn"),
    "yclid": Click("ad", "Yandex"),
    "ymclid": Click("ad", "Yandex"),
    "epik": Click("ad", "Pinterest"),
    "ScCid": Click("ad", "Snapchat"),
    "rdt_cid": Click("ad", "reddit"),
    "qclid": Click("ad", "Quora"),
    "rb_clickid": Click("ad", "Vkontakte"),
    "bd_vid": Click("ad", "Baidu"),
    "gdt_vid": Click("ad", "WeChat"),
    "qz_gdt": Click("ad", "WeChat"),
    "vmcid": Click("ad", "Yahoo!"),
    "tblci": Click("ad", "Taboola"),
    "dicbo": Click("ad", "Outbrain"),
    "ndclid": Click("ad", "Nextdoor"),
    "spclid": Click("ad", "Spotify"),
    "irclickid": Click("ad", None),  # impact.com
    "cjevent": Click("ad", None),  # CJ
    "awc": Click("ad", None),  # Awin
    "sscid": Click("ad", None),  # ShareASale
    "ranSiteID": Click("ad", None),  # Rakuten
    "ko_click_id": Click("ad", None),  # Kochava
    "s_kwcid": Click("ad", None),  # Adobe Advertising
    "ef_id": Click("ad", None),  # Adobe Advertising
    "fbclid": Click("social", "Facebook"),
    "igshid": Click("social", "Instagram"),
    "igsh": Click("social", "Instagram"),
    "mc_eid": Click("email", None),  # Mailchimp
    "mkt_tok": Click("email", None),  # Marketo
    "_hsenc": Click("email", None),  # HubSpot
    "_kx": Click("email", None),  # Klaviyo
    "vero_id": Click("email", None),
    "srsltid": Click("search", "Google"),
    "ysclid": Click("search", "Yandex"),
}
NO_CLICK: Final = Click("", None)
UNKNOWN_CLICK: Final = Click("ad", None)  # a click id whose kind is unknown or not given
_BY_LOWER_NAME: Final = {name.lower(): click for name, click in CLICK_IDS.items()}


def click_of(kind: str) -> Click:
    """Return the kind of link and the network for a click id.

    `kind` is the name of the URL parameter that contains the click id, in upper or lower case.
    """
    return _BY_LOWER_NAME.get(kind.lower(), UNKNOWN_CLICK)
