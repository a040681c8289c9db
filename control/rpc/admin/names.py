"""Names and messages shared by the admin RPCs."""

from __future__ import annotations

import re
from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.names import MERCHANT_PATTERN

_KEY_NAME: Final = re.compile(r"(merchants/[a-z0-9][a-z0-9-]{0,63})/ingestKeys/([A-Za-z0-9_-]{1,64})")


def checked_merchant(parent: str) -> str:
    """Check a merchant name, and return the name.

    Raises:
        RefusedError: the text is not a merchant name.
    """
    if not MERCHANT_PATTERN.fullmatch(parent):
        raise RefusedError(
            f"parent {parent[:80]!r} is not a merchant: write merchants/ and 1 to 64 characters of a-z, 0-9 and '-'",
            field="parent",
            value=parent,
        )
    return parent


def checked_key_name(name: str, field: str = "name") -> tuple[str, str]:
    """Return (merchant, key id) from a key name.

    Raises:
        RefusedError: the text is not a key name.
    """
    found = _KEY_NAME.fullmatch(name)
    if not found:
        raise RefusedError(
            f"name {name[:160]!r} is not a key: write merchants/{{merchant}}/ingestKeys/{{id}}",
            field=field,
            value=name,
        )
    return found[1], found[2]
