"""Create the merchant `demo`, and the missing keys of a home directory: a server key of `demo`, and an operator's key.

The server key has all roles of a merchant and unbounded history, because the mesh is for development
(docs/security.md).

This module runs in a separate process, so that the launcher uses little memory.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from hitmesh.access.roles import MERCHANT_ROLES, RIGHTS
from hitmesh.adapters.directories import open_directory
from hitmesh.adapters.shared.missing_merchants import create_missing
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import IngestKey, KeyKind
from hitmesh.ports import SiteDirectory
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.dev.home import Home, new_secret, write_secret

DEMO_MERCHANT = "merchants/demo"


def main(root: str, store: str) -> int:
    """Create the merchant and the keys that are missing, and give the server key of an older home its roles."""
    home = Home(Path(root))
    directory = open_directory(store, SystemClock())
    create_missing(directory.merchants, DEMO_MERCHANT, SystemClock().now())
    if not home.server_key.exists():
        _create(directory.port, home.server_key, DEMO_MERCHANT, KeyKind.SERVER)
    elif not home.roles_note.exists():
        _keep_roles(directory.port, home.server_key)
    if not home.operator_key.exists():
        _create(directory.port, home.operator_key, OPERATORS, KeyKind.OPERATOR)
    home.roles_note.touch(mode=0o600)
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
        roles=RIGHTS[kind].roles,
        created_at=SystemClock().now(),
    )
    directory.create_key(key, secret)
    write_secret(file, secret)


def _keep_roles(directory: SiteDirectory, file: Path) -> None:
    """Store all roles of a merchant for a server key of a version before roles were stored."""
    key = directory.key(file.read_text(encoding="utf-8").strip())
    if key is not None and not key.roles:
        directory.change_key_roles(key.merchant, key.key_id, MERCHANT_ROLES, SystemClock().now())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
