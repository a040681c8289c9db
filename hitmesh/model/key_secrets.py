"""The part of a key's secret that may be shown to people, so that support can recognise a key."""

from __future__ import annotations

from typing import Final

SHOWN_CHARS: Final = 6
"""Random characters that are shown, 36 bits."""
MIN_HIDDEN_CHARS: Final = 22
"""Random characters that must stay hidden: 132 bits in base64url."""
_MARK: Final = "hms_"


def shown_prefix(secret: str) -> str:
    """Return the first characters of a secret, or "" if the hidden rest would have fewer than 128 bits.

    Args:
        secret: random characters of base64url, 6 bits each, which may follow the mark `hms_`.

    Example:
        >>> shown_prefix("hms_0123456789-0123456789-0123456789"), shown_prefix("0123456789-0123456789-0123456789")
        ('hms_012345', '012345')
        >>> shown_prefix("too-short-for-a-secret")
        ''
    """
    shown = SHOWN_CHARS + (len(_MARK) if secret.startswith(_MARK) else 0)
    return secret[:shown] if len(secret) - shown >= MIN_HIDDEN_CHARS else ""
