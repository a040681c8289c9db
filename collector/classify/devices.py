"""Determines the device type from a user agent.

The type depends on words in the user agent, and on the operating system and device brand that ua-parser finds. Device
models are not used. An iPad that requests desktop pages identifies itself as a Mac and counts as a Mac. Only client
hints could distinguish the iPad from a Mac.
"""

from __future__ import annotations

import re
from typing import Literal

DeviceType = Literal["desktop", "mobile", "tablet", "tv", "console", "bot", "other"]

# All patterns are searched in the user agent, which is converted to lower case first.
_CONSOLE = re.compile(r"playstation|xbox|nintendo")
_TV = re.compile(
    r"smart-?tv|hbbtv|google ?tv|android ?tv|apple ?tv|\btv\b|web0s|netcast|bravia|viera|aquos|\broku|crkey|"
    r"; aft[a-z0-9]{1,6}[ ;)]|\bdtv|philipstv|\bstb\b"
)
# The user agents of old Windows desktops with pen support contain "tablet pc".
_TABLET = re.compile(
    r"ipad|tablet(?! pc)|kindle|playbook|hp-tablet|touchpad|silk-accelerated|\bkf[a-z]{2,5}\b|\bsm-[tx]\d{3}|"
    r"\bgt-p\d{4}|nexus (?:7|9|10)\b|\bxoom\b"
)
_MOBILE = re.compile(
    r"mobi|iphone|ipod|opera mini|windows phone|windows ce|blackberry|\bbb10\b|symbian|series ?[46]0|midp|"
    r"kaios|maui|\bj2me|ucweb|webos"
)
_MOBILE_OS = frozenset(
    {"Android", "iOS", "Windows Phone", "Windows Mobile", "Windows CE", "BlackBerry OS", "Symbian OS"}
    | {"KaiOS", "Firefox OS", "Bada", "Maemo", "MeeGo", "Brew MP", "Nokia Series 40", "webOS", "HarmonyOS"}
    | {"Tizen"}
)
_DESKTOP_OS = re.compile(
    r"Windows|Mac OS|Linux|Chrome OS|Ubuntu|Fedora|Debian|Red Hat|CentOS|SUSE|Gentoo|Arch Linux|Mandriva|"
    r"Kubuntu|Mint|Slackware|Puppy|PCLinuxOS|FreeBSD|OpenBSD|NetBSD|DragonFly|Solaris|BeOS|Haiku|AmigaOS"
)
_NO_PHONE_BRANDS = frozenset({"Spider", "Generic", "Apple"})


def device_type(user_agent: str, os_family: str | None, device_brand: str | None) -> DeviceType:
    """Return the device type. The result is never "bot", because the crawler list decides which user agents are bots.

    Args:
        user_agent: as sent, not empty.
        os_family: ua-parser's name of the operating system; None when unknown.
        device_brand: ua-parser's name of the brand; None when unknown.
    """
    text = user_agent.lower()
    if _CONSOLE.search(text):
        return "console"
    if _TV.search(text):
        return "tv"
    if _TABLET.search(text) or _is_android_tablet(text):
        return "tablet"
    if os_family in _MOBILE_OS or _MOBILE.search(text):
        return "mobile"
    if os_family is not None and _DESKTOP_OS.match(os_family):
        return "desktop"
    # If a user agent has a device brand but matches none of the patterns, the device is an old phone. "Spider" is
    # ua-parser's word for a robot. "Generic" is a guess that mistakes libraries such as "fetch libfetch/2.0" for
    # phones.
    if device_brand is not None and device_brand not in _NO_PHONE_BRANDS:
        return "mobile"
    return "other"


def _is_android_tablet(text: str) -> bool:
    """Return whether a browser runs on an Android tablet. By convention, only a phone's browser sends "Mobile".

    Apps do not follow the convention for "Mobile", so the result is false for every app.
    """
    return text.startswith("mozilla/") and "android" in text and "mobi" not in text and "opera mini" not in text
