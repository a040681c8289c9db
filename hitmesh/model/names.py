"""Merchant and site names, in full and short form.

This module imports only the standard library and `hitmesh.model.errors`, so that commands start fast.
"""

from __future__ import annotations

import re
from typing import Final

from hitmesh.model.errors import RefusedError

_PART: Final = r"[a-z0-9][a-z0-9-]{0,63}"
# The value of `merchant` in operators' keys. MERCHANT_PATTERN does not match this name, so no merchant can have it.
OPERATORS: Final = "operators"
# The value of `merchant` in bootstrap tokens (hitmesh.access.bootstrap). No merchant can have this name.
BOOTSTRAP: Final = "bootstrap"
MERCHANT_PATTERN: Final = re.compile(rf"merchants/{_PART}")
SITE_PATTERN: Final = re.compile(rf"merchants/({_PART})/sites/({_PART})")
_SHORT: Final = re.compile(rf"({_PART})/({_PART})")


def site_name(text: str) -> str:
    """Return `merchants/m/sites/s` for a full name or for `m/s`.

    Raises:
        RefusedError: the text is neither a full name nor `m/s`.

    Example:
        >>> site_name("demo/shop")
        'merchants/demo/sites/shop'
    """
    found = SITE_PATTERN.fullmatch(text) or _SHORT.fullmatch(text)
    if found is None:
        raise RefusedError(
            f"{text[:160]!r} is not a site name: write MERCHANT/SITE, for example demo/example; each part is "
            "1 to 64 characters of a-z, 0-9 and -",
            field="site",
            value=text,
        )
    return f"merchants/{found[1]}/sites/{found[2]}"


def short_site_name(name: str) -> str:
    """Return `m/s` for a site's full name; return any other text unchanged.

    Example:
        >>> short_site_name("merchants/demo/sites/shop"), short_site_name("merchants/demo")
        ('demo/shop', 'merchants/demo')
    """
    found = SITE_PATTERN.fullmatch(name)
    return f"{found[1]}/{found[2]}" if found else name


def ingest_key_name(merchant: str, key_id: str) -> str:
    """Return the full name of a key.

    Example:
        >>> ingest_key_name("merchants/demo", "server-1")
        'merchants/demo/ingestKeys/server-1'
    """
    return f"{merchant}/ingestKeys/{key_id}"


def merchant_in(name: str) -> str:
    """Return `merchants/m` for the full name of a merchant, site or key.

    Example:
        >>> merchant_in("merchants/demo/ingestKeys/server-1"), merchant_in("merchants/demo")
        ('merchants/demo', 'merchants/demo')
    """
    return "/".join(name.split("/", 2)[:2])


def merchant_of(site: str) -> str:
    """Return `merchants/m` for a site's full name.

    Example:
        >>> merchant_of("merchants/demo/sites/shop")
        'merchants/demo'
    """
    return site.split("/sites/", 1)[0]
