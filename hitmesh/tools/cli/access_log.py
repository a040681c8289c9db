"""Finds a request in the access log that Envoy writes into the home of `hitmesh dev`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

ACCESS_LOG: Final = "logs/access.jsonl"
_MAX_BYTES: Final = 256 << 20


def logged_requests(home: Path, request_id: str, *, max_bytes: int = _MAX_BYTES) -> list[dict[str, Any]]:
    """Return the entries with an x-request-id, in the order of the log; empty without a log.

    Args:
        home: the home directory.
        request_id: the id.
        max_bytes: number of bytes at the end of the log that are searched.
    """
    wanted = json.dumps(request_id).encode()
    try:
        with (home / ACCESS_LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - max_bytes))
            lines = [line for line in log if wanted in line]
    except OSError:
        return []
    entries = [entry for entry in map(_entry, lines) if entry.get("request_id") == request_id]
    return [{name: value for name, value in entry.items() if value is not None} for entry in entries]


def _entry(line: bytes) -> dict[str, Any]:
    """Return an entry; the first and the last line may be cut off."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
