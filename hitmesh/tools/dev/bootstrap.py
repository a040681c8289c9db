"""Create the missing keys of a home directory: a server key of merchant `demo`, and a key of the mesh's operator.

This module runs in a separate process, so that the launcher uses little memory.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from hitmesh.adapters.directories import open_directory
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import IngestKey, KeyKind
from hitmesh.ports import SiteDirectory
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.dev.home import Home, new_secret, write_secret

DEMO_MERCHANT = "merchants/demo"


def main(root: str, store: str) -> int:
    """Create the keys that the home directory lacks."""
    home = Home(Path(root))
    directory = open_directory(store, SystemClock())
    if not home.server_key.exists():
        _create(directory.port, home.server_key, DEMO_MERCHANT, KeyKind.SERVER)
    if not home.operator_key.exists():
        _create(directory.port, home.operator_key, OPERATORS, KeyKind.OPERATOR)
    directory.close()
    return 0


def _create(directory: SiteDirectory, file: Path, merchant: str, kind: KeyKind) -> None:
    """Create a key.

    The site directory stores a key before the key is written to the home directory, so that the mesh knows every key in
    the home directory.
    """
    secret = new_secret()
    key = IngestKey(
        key_id=f"dev-{secrets.token_hex(4)}",
        merchant=merchant,
        kind=kind,
        unbounded_history=kind is KeyKind.SERVER,
        created_at=SystemClock().now(),
    )
    directory.create_key(key, secret)
    write_secret(file, secret)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
