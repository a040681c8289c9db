"""Names of reprocessings."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from hitmesh.model.days import date_text
from hitmesh.model.errors import NotFound, RefusedError
from hitmesh.model.zones import DAY_MS

_NAME: Final = re.compile(r"reprocessings/([a-z0-9][a-z0-9-]{0,63})")
_ID_BYTES: Final = 5
_ID_CHARS: Final = 6


def id_of(name: str) -> str:
    """Return the id in a reprocessing's name.

    Raises:
        RefusedError: the text is not the name of a reprocessing.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise RefusedError(
            f"name {name[:80]!r} is not a reprocessing: write an id of `hitmesh reprocess list`, for example "
            "20261129-x7k2p4 (in a call, reprocessings/20261129-x7k2p4)",
            field="name",
            value=name,
        )
    return found[1]


def name_of(id_: str) -> str:
    """Return the name of the reprocessing with this id."""
    return f"reprocessings/{id_}"


def new_id(now: int, token: str) -> str:
    """Return an id such as `20261129-x7k2p4`.

    The id consists of the UTC day at `now` (UTC ms) and 30 bits from a hashed random token.
    """
    digest = hashlib.blake2b(token.encode(), digest_size=_ID_BYTES, person=b"reprocessing").digest()
    return f"{date_text(now // DAY_MS).replace('-', '')}-{base64.b32encode(digest).decode().lower()[:_ID_CHARS]}"


def not_found(name: str) -> NotFound:
    """Return the error for a reprocessing that does not exist."""
    return NotFound(
        f"{name[:80]!r} does not exist: list the reprocessings with `hitmesh reprocess list` (ListReprocessings)",
        field="name",
        value=name,
    )
