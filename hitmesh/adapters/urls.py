"""The forms of a store URL: `memory:`, `embedded:/absolute/directory` and `servers:?…` (hitmesh.adapters.servers)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hitmesh.adapters.servers import SCHEME, parse_servers
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason

MEMORY: Final = "memory:"
EMBEDDED: Final = "embedded:"


def embedded_directory(url: str) -> Path:
    """Return the directory that the URL of an embedded store names.

    Raises:
        RefusedError: the URL does not name an embedded store (INVALID_CONFIG).
    """
    directory = Path(url.removeprefix(EMBEDDED))
    if not url.startswith(EMBEDDED) or not directory.is_absolute():
        raise RefusedError(
            f"store {url!r}: write {MEMORY}, {EMBEDDED}/absolute/directory or {SCHEME}?kafka=…",
            field="store",
            reason=LocalReason.INVALID_CONFIG,
        )
    return directory


def check_store_url(url: str) -> None:
    """Raise unless the text is a store URL; opens no store.

    Raises:
        RefusedError: the text is no store URL, or a part of the URL is invalid (INVALID_CONFIG).
    """
    if url.startswith(SCHEME):
        parse_servers(url)
    elif url != MEMORY:
        embedded_directory(url)


def without_driver(url: str, error: ModuleNotFoundError) -> RefusedError:
    """Return the error for a `servers:` URL when the driver of one of the servers is not installed."""
    return RefusedError(
        f"store {url!r}: {error.name} is not installed; run pip install 'hitmesh[kafka,cassandra,druid]'",
        field="store",
        reason=LocalReason.INVALID_CONFIG,
    )
