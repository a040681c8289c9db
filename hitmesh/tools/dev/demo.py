"""Load the generated shop into demo/example of a running mesh. Like all hits, the shop's hits pass through Envoy.

This module runs in a separate process, so that the launcher uses little memory. The shop is loaded once per home
directory. The generated history ends when the home directory's mesh is started for the first time. The ids of the hits
are derived from this end time. The end time is written to a file before the first hit is sent. After a crash, this
module therefore sends the same hits with the same ids, and the mesh counts each hit once. On days that are not closed,
reports count hits, orders and revenue at once. A visit with hits that are more than an hour old is counted when the
visit's day is settled.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import grpc

from hitmesh.client.batches import batches
from hitmesh.client.home import parse_endpoint, server_key
from hitmesh.client.mesh import Mesh
from hitmesh.client.sender import HitSender
from hitmesh.client.sites import ensure_site
from hitmesh.client.visibility import Wait, wait_until_visible
from hitmesh.model.errors import HitmeshError
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.dev.demo_shop import demo_hits
from hitmesh.tools.dev.home import Home

DEMO_SITE = "merchants/demo/sites/example"
CURRENCY = "USD"
VISIBLE_TIMEOUT_S = 120.0


def main(root: str, endpoint: str) -> int:
    """Load the shop if it is not loaded yet.

    The exit code is 0 if the shop can be queried, and 1 if loading failed.
    """
    home = Home(Path(root))
    note = home.demo_note
    known = json.loads(note.read_bytes()) if note.exists() else {"now_ms": SystemClock().now(), "loaded": False}
    if known["loaded"]:
        return 0
    _write(note, known)
    try:
        load(parse_endpoint(endpoint), server_key(home.root, {}), int(known["now_ms"]))
    except (HitmeshError, grpc.RpcError) as error:
        sys.stderr.write(
            f"the demo shop was not loaded: {_text(error)}; start `hitmesh dev` again, or with --no-demo-data\n"
        )
        return 1
    _write(note, {**known, "loaded": True})
    return 0


def load(endpoint: str, key: str | None, now_ms: int) -> int:
    """Send the hits of the shop with end time `now_ms`; wait until reports show the hits.

    Return the number of accepted hits.

    Raises:
        HitmeshError: some hits were rejected, or reports do not show the hits in time.
        grpc.RpcError: the mesh refuses a call.
    """
    with Mesh.connect(endpoint, key) as mesh:
        ensure_site(mesh, DEMO_SITE, CURRENCY)
        with HitSender(mesh, DEMO_SITE) as sender:
            for batch in batches(demo_hits(now_ms, currency=CURRENCY), f"demo-{now_ms}"):
                sender.submit(batch)
            sender.drain()
            totals = sender.totals
        if totals.rejected:
            raise HitmeshError(f"{totals.rejected} of {totals.sent} hits were refused: {totals.examples[0].message}")
        wait_until_visible(mesh, DEMO_SITE, totals.offsets, Wait(VISIBLE_TIMEOUT_S))
    return totals.accepted


def _write(note: Path, known: dict[str, object]) -> None:
    """Replace the file with the demo's state atomically."""
    temporary = note.with_name(f".{note.name}.new")
    with temporary.open("w", encoding="utf-8") as target:
        json.dump(known, target)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(note)


def _text(error: HitmeshError | grpc.RpcError) -> str:
    return error.message if isinstance(error, HitmeshError) else f"{error.code().name}: {error.details()}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
