"""Apply numbered migrations (the CQL files in hitmesh.adapters.cassandra.migrations) and record them in the keyspace.

Migrations are applied in ascending order, and an applied file must never change. An interrupted migration is repeated
from its first statement, so each statement must contain IF NOT EXISTS. A migration may also have a step that fills its
tables (`_DATA`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

from hitmesh.adapters.cassandra.merchants import adopt_merchants
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.errors import FatalError

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.cql")
_TABLE: Final = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+)", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*$", re.MULTILINE)
_END: Final = re.compile(r";[ \t]*$", re.MULTILINE)
# The step that fills the tables of a migration, given the session and the current time (UTC ms). An interrupted
# migration runs the step again, so each step must be idempotent.
_DATA: Final[Mapping[int, Callable[[CassandraSession, int], None]]] = {30: adopt_merchants}
_REGISTER: Final = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number int PRIMARY KEY, name text, digest text, applied_at timestamp)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration file: number, name, statements, created tables, and a digest of its bytes."""

    number: int
    name: str
    statements: tuple[str, ...]
    tables: tuple[str, ...]
    digest: str


@lru_cache(maxsize=1)
def migrations() -> tuple[Migration, ...]:
    """Return this program's migrations, ordered by number.

    Raises:
        FatalError: two migrations have the same number.
    """
    found = [
        _migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in files("hitmesh.adapters.cassandra.migrations").iterdir()
        if (match := _NAME.fullmatch(file.name))
    ]
    numbers = [migration.number for migration in found]
    for number in numbers:
        if numbers.count(number) > 1:
            raise FatalError(f"two migrations have the number {number}; renumber the newer migration", migration=number)
    return tuple(sorted(found, key=lambda migration: migration.number))


def check(applied: Mapping[int, str]) -> None:
    """Compare the migrations of a keyspace with the migrations of this program.

    Args:
        applied: digest by migration number.

    Raises:
        FatalError: an applied migration has changed, or only a newer version of hitmesh has this migration.
    """
    known = {migration.number: migration for migration in migrations()}
    for number, digest in sorted(applied.items()):
        if number not in known:
            raise FatalError(
                f"the keyspace has migration {number}, unknown to this hitmesh version; use a newer version",
                migration=number,
            )
        if known[number].digest != digest:
            raise FatalError(
                f"migration {number} ({known[number].name}) was changed after it was applied; "
                "restore the old text and write a new migration",
                migration=number,
                value=known[number].name,
            )


def applied_to(session: CassandraSession) -> dict[int, str]:
    """Return the digest of each migration applied to the session's keyspace."""
    return {row.number: row.digest for row in session.run("SELECT number, digest FROM schema_migrations")}


def migrate(session: CassandraSession, migration: Migration) -> None:
    """Run a migration and register it. Idempotent."""
    session.change_schema(_REGISTER)
    if migration.number in applied_to(session):
        return
    for statement in migration.statements:
        session.change_schema(statement)
    now = int(time.time() * 1_000)
    if migration.number in _DATA:
        _DATA[migration.number](session, now)
    session.run(
        "INSERT INTO schema_migrations (number, name, digest, applied_at) VALUES (?, ?, ?, ?)",
        (migration.number, migration.name, migration.digest, now),
    )


def _migration(number: int, name: str, text: str) -> Migration:
    statements = _statements(text)
    tables = tuple(table for statement in statements for table in _TABLE.findall(statement))
    return Migration(number, name, tuple(statements), tables, sha256(text.encode()).hexdigest())


def _statements(text: str) -> Sequence[str]:
    return [stripped for part in _END.split(_COMMENT.sub("", text)) if (stripped := part.strip())]
