"""Create the server key of merchant `demo` at a mesh's first start. A separate process keeps the launcher small."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from hitmesh.adapters.directories import open_directory
from hitmesh.model.sites import IngestKey, KeyKind
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.dev.home import Home, new_secret, write_secret

DEMO_MERCHANT = "merchants/demo"


def main(root: str, store: str) -> int:
    """Create the key. The directory stores the key before the home does: a key in a file is always a known key."""
    home = Home(Path(root))
    clock = SystemClock()
    directory = open_directory(store, clock)
    secret = new_secret()
    key = IngestKey(
        key_id=f"dev-{secrets.token_hex(4)}",
        merchant=DEMO_MERCHANT,
        kind=KeyKind.SERVER,
        unbounded_history=True,
        created_at=clock.now(),
    )
    directory.port.create_key(key, secret)
    write_secret(home.server_key, secret)
    directory.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
