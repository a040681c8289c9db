"""Facts about the files of embedded stores: whether each can be read, and its schema version. Changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from hitmesh.adapters.embedded.leases import LEASES_SCHEMA
from hitmesh.adapters.embedded.raw_schema import RAW_SCHEMA
from hitmesh.adapters.embedded.schema import DIRECTORY_SCHEMA, LOG_SCHEMA, SETTLED_SCHEMA, STATE_SCHEMA, Migration
from hitmesh.model.server_facts import StoreFile

SCHEMAS: Final[Mapping[str, tuple[Migration, ...]]] = {
    "log.db": LOG_SCHEMA,
    "raw.db": RAW_SCHEMA,
    "settled.db": SETTLED_SCHEMA,
    "state.db": STATE_SCHEMA,
    "leases.db": LEASES_SCHEMA,
    "directory.db": DIRECTORY_SCHEMA,
}
"""The schema of each file in the directory of embedded stores."""
_TIMEOUT_S: Final = 3.0
_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def store_files(directory: Path, timeout_s: float = _TIMEOUT_S) -> list[StoreFile]:
    """Return the facts about all files of embedded stores in a directory.

    Args:
        directory: the directory.
        timeout_s: how long to wait for a file that another program has locked.
    """
    return [_file(directory / name, len(schema), timeout_s) for name, schema in SCHEMAS.items()]


def _file(path: Path, newest: int, timeout_s: float) -> StoreFile:
    if not path.exists():
        return StoreFile(path.name, 0, newest, f"{path} does not exist")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout_s)) as connection:
            (version,) = connection.execute("SELECT version FROM schema_version").fetchone()
            return StoreFile(path.name, int(version), newest)
    except (sqlite3.Error, TypeError, ValueError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return StoreFile(path.name, 0, newest, f"{path}: {error}", code in _LOCKED)
