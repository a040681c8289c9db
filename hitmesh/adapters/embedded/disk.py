"""Tells whether a directory takes writes, and whether its file system has room."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from hitmesh.model.errors import DiskFull, Unavailable, as_disk_full

# With less room, a commit of SQLite may fail at any time.
MIN_FREE_BYTES: Final = 16 << 20
_PROBE_BYTES: Final = 4_096
_RETRY_S: Final = 5.0


def probe_disk(directory: Path, min_free_bytes: int = MIN_FREE_BYTES) -> None:
    """Write and remove a small file without a name.

    Args:
        directory: an existing directory.
        min_free_bytes: less free space counts as a full disk.

    Raises:
        DiskFull: the file system has no room.
        Unavailable: the directory does not exist, or cannot be written.
    """
    try:
        space = os.statvfs(directory)
        free_bytes = space.f_bavail * space.f_frsize
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        cause = error.strerror
        raise as_disk_full(error) or Unavailable(
            f"the directory {directory} cannot be written ({cause}): mount it, or make it writable",
            retry_after_s=_RETRY_S,
            file=str(directory),
            cause=str(cause),
        ) from error
    if free_bytes < min_free_bytes:
        raise DiskFull("the disk is full: free some space", retry_after_s=_RETRY_S)
