"""Numbered migrations: the CQL files of this package, and which of them a keyspace has.

Decides order and that an applied file never changes; what the files make is their own affair. A migration that was cut
short is run again from its first statement, so each statement says IF NOT EXISTS.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.errors import FatalError

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.cql")
_TABLE: Final = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+)", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*$", re.MULTILINE)
_END: Final = re.compile(r";[ \t]*$", re.MULTILINE)
_REGISTER: Final = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number int PRIMARY KEY, name text, digest text, applied_at timestamp)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number and name, its statements, the tables it makes, and a digest of its bytes."""

    number: int
    name: str
    statements: tuple[str, ...]
    tables: tuple[str, ...]
    digest: str


@lru_cache(maxsize=1)
def migrations() -> tuple[Migration, ...]:
    """Returns all migrations of this program, by number.

    Raises:
        FatalError: two have the same number.
    """
    found = [
        _migration(int(match[1]), match[2], one.read_text("utf-8"))
        for one in files("hitmesh.adapters.cassandra.migrations").iterdir()
        if (match := _NAME.fullmatch(one.name))
    ]
    numbers = [migration.number for migration in found]
    for number in numbers:
        if numbers.count(number) > 1:
            raise FatalError(f"two migrations have the number {number}; give one of them another")
    return tuple(sorted(found, key=lambda migration: migration.number))


def check(applied: Mapping[int, str]) -> None:
    """Compares what a keyspace has with what this program knows.

    Args:
        applied: digest by number of migration.

    Raises:
        FatalError: a migration was changed after it was applied, or is one of a newer program.
    """
    known = {migration.number: migration for migration in migrations()}
    for number, digest in sorted(applied.items()):
        if number not in known:
            raise FatalError(f"the keyspace has migration {number}, which this hitmesh does not know; use a newer one")
        if known[number].digest != digest:
            raise FatalError(
                f"migration {number} ({known[number].name}) was changed after it was applied; "
                "bring its text back and write a new migration"
            )


def applied_to(session: CassandraSession) -> dict[int, str]:
    """Returns the digest of each migration that the session's keyspace has."""
    return {row.number: row.digest for row in session.run("SELECT number, digest FROM schema_migrations")}


def migrate(session: CassandraSession, migration: Migration) -> None:
    """Runs a migration and notes that it was; one that was run already stays as it is."""
    session.change_schema(_REGISTER)
    if migration.number in applied_to(session):
        return
    for statement in migration.statements:
        session.change_schema(statement)
    session.run(
        "INSERT INTO schema_migrations (number, name, digest, applied_at) VALUES (?, ?, ?, ?)",
        (migration.number, migration.name, migration.digest, int(time.time() * 1_000)),
    )


def _migration(number: int, name: str, text: str) -> Migration:
    statements = _statements(text)
    tables = tuple(table for statement in statements for table in _TABLE.findall(statement))
    return Migration(number, name, tuple(statements), tables, sha256(text.encode()).hexdigest())


def _statements(text: str) -> Sequence[str]:
    return [stripped for part in _END.split(_COMMENT.sub("", text)) if (stripped := part.strip())]
