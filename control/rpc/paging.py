"""Pages of a list: sizes, and opaque tokens that are valid for the same list only."""

from __future__ import annotations

import base64
import binascii

from hitmesh.model.errors import RefusedError
from hitmesh.model.keys import hash64
from hitmesh.model.reasons import ErrorReason


def checked_size(field: str, size: int, default: int, limit: int) -> int:
    """Return the page size, at most `limit`. If `size` is 0, return `default`.

    Raises:
        RefusedError: the size is negative; the error names `field`.
    """
    if size < 0:
        raise RefusedError(
            f"{field} {size} is negative: send 1 to {limit:,}, or leave {field} out for the default of {default}",
            field=field,
            value=size,
            limit=limit,
            default=default,
        )
    return min(size or default, limit)


def token_of(last: str, of_list: str) -> str:
    """Return the token for the page after the entry `last`.

    Args:
        last: the key of the page's last entry.
        of_list: text that identifies the list; a call for another list refuses the token.
    """
    return base64.urlsafe_b64encode(f"{hash64(of_list):016x}{last}".encode()).decode().rstrip("=")


def last_in(token: str, of_list: str) -> str:
    """Return the key of the previous page's last entry, or an empty text for an empty token.

    Raises:
        RefusedError: the token belongs to another list (PAGE_TOKEN_MISMATCH).
    """
    if not token:
        return ""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise page_token_mismatch() from error
    if text[:16] != f"{hash64(of_list):016x}":
        raise page_token_mismatch()
    return text[16:]


def page_token_mismatch() -> RefusedError:
    """Return the error for a token that belongs to another list."""
    return RefusedError(
        "page_token does not belong to this list: use next_page_token of the previous answer, with the same request",
        field="page_token",
        reason=ErrorReason.PAGE_TOKEN_MISMATCH,
    )
