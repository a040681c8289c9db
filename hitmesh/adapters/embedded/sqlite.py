"""One SQLite file: connections, transactions, schema versions, and what the driver's errors mean.

Decides how durable a commit is (WAL with synchronous=FULL: on disk when the call returns) and how long one waits for
another process. Refuses to know what is stored. A process has one writing connection per file, behind a lock, and as
many reading ones as it has reads at the same time; readers never wait for a writer.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from hitmesh.adapters.embedded.schema import Migration
from hitmesh.model.errors import CommitInDoubt, DiskFull, HitmeshError, StoreCorrupt, Unavailable

T = TypeVar("T")
Value = str | int | float | bytes | None
BUSY_TIMEOUT_S: Final = 10.0
_OPEN_RETRY_S: Final = 0.01
_CACHE_KIB: Final = 16 * 1024
_WAL_LIMIT_BYTES: Final = 64 << 20


class Transaction:
    """Statements of one transaction. Valid inside the `with` that made it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Runs one statement; returns how many rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Runs one statement per row of values."""
        self._connection.executemany(sql, rows)

    def rows(self, make: Callable[..., T], sql: str, values: Sequence[Value] = ()) -> list[T]:
        """Returns one `make(*columns)` per row."""
        return [make(*row) for row in self._connection.execute(sql, values)]

    def first(self, make: Callable[..., T], sql: str, values: Sequence[Value] = ()) -> T | None:
        """Returns `make(*columns)` of the first row, or None."""
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None else make(*row)


class Database:
    """A file with its schema, opened when it is first used, or by `open`. Thread-safe.

    Args:
        path: the file; it and its directory are made when they are not there.
        schema: all migrations, oldest first.
        secure_delete: overwrite deleted rows with zeros.
    """

    def __init__(self, path: Path, schema: tuple[Migration, ...], *, secure_delete: bool = False) -> None:
        self._path = path
        self._schema = schema
        self._secure_delete = secure_delete
        self._write_lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._opened: list[sqlite3.Connection] = []
        self._current = False
        self._closed = False

    def open(self) -> None:
        """Opens the file now, makes it where it is not there, and brings its schema to the newest version.

        Raises:
            Unavailable: the file cannot be opened, or another process keeps it.
            StoreCorrupt: the file is damaged, or a newer program wrote it.
        """
        with self.reading() as transaction:
            transaction.first(int, "SELECT count(*) FROM sqlite_master")

    @contextmanager
    def writing(self, *, tell_doubt: bool = False) -> Iterator[Transaction]:
        """Opens a transaction that writes: durable when the `with` ends, undone when it raises.

        Args:
            tell_doubt: say so when the commit itself fails, for callers that must not write the same again.

        Raises:
            Unavailable: another process kept the file for longer than the time-out, or the disk fails or is full.
            CommitInDoubt: the commit failed, and whether it is on disk is not known.
            StoreCorrupt: the file is not what it must be.
        """
        with self._write_lock, translated(self._path):
            if self._writer is None:
                self._writer = self.connect()
            connection = self._writer
            self._refuse_when_closed()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection)
                self._commit(connection, tell_doubt=tell_doubt)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Opens a transaction in which all reads see one state of the file."""
        with translated(self._path):
            with self._state_lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self.connect()
            self._refuse_when_closed()
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            finally:
                if connection.in_transaction:  # some errors, as of a full disk, have ended it
                    connection.execute("ROLLBACK")
                with self._state_lock:
                    self._idle.append(connection)

    def connect(self) -> sqlite3.Connection:
        """Returns a new connection, migrated; `close` closes it too."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with translated(self._path):
            connection = sqlite3.connect(
                self._path,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            with self._state_lock:
                if self._closed:
                    connection.close()
                self._refuse_when_closed()
                self._opened.append(connection)
            try:
                self._prepare(connection)
            except BaseException:
                with self._state_lock:
                    self._opened = [one for one in self._opened if one is not connection]
                connection.close()  # it is asked for again and again, as long as a disk is full
                raise
            return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        if self._secure_delete:
            connection.execute("PRAGMA secure_delete = ON")
        if not self._current:
            _migrate(connection, self._schema, self._path)
            self._current = True

    def checkpoint(self) -> None:
        """Moves what was committed out of the write-ahead log and empties it, unless someone is reading."""
        with self._write_lock, translated(self._path):
            if self._writer is not None:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def watch(self) -> Watch:
        """Returns a watch on changes of the file by anyone."""
        return Watch(self.connect(), self._path)

    def close(self) -> None:
        """Closes all connections. A second call changes nothing; nothing may be in use."""
        with self._write_lock, self._state_lock:
            self._closed = True
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._idle.clear()
            self._writer = None

    def _commit(self, connection: sqlite3.Connection, *, tell_doubt: bool) -> None:
        """Commits. A commit whose sync fails may be found whole after a crash: its pages can be on disk."""
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if not tell_doubt:
                raise
            raise CommitInDoubt(f"{self._path.name}: the commit failed: {error}; read what was committed") from error

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable(f"{self._path.name} is closed")


class Watch:
    """Tells whether a file changed since it was last asked. Confined to one thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._seen = -1

    def changed(self) -> bool:
        """Returns whether anyone committed since the last call; the first call says yes."""
        with translated(self._path):
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        changed, self._seen = version != self._seen, version
        return changed

    def close(self) -> None:
        """Lets go. A second call changes nothing."""
        self._connection.close()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns errors of the driver inside the `with` into hitmesh's; misuse of the driver stays what it is."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
        meaning = _meaning(error, path)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(error: sqlite3.Error, path: Path) -> HitmeshError | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(f"{path.name} is damaged: {error}; restore it from a copy")
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"no room to write {path.name}: {error}; free disk space")
    if isinstance(error, sqlite3.OperationalError):
        return Unavailable(f"{path.name} does not answer: {error}")
    return None


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Sets WAL mode. The switch ignores the busy time-out when two processes make the file at once: try again."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_OPEN_RETRY_S)


def _migrate(connection: sqlite3.Connection, schema: tuple[Migration, ...], path: Path) -> None:
    """Brings the file to the newest version, all or nothing."""
    if _version(connection) == len(schema):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > len(schema):
            raise StoreCorrupt(
                f"{path.name} has schema version {version}, this program knows {len(schema)}: use a newer one"
            )
        for migration in schema[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        connection.execute("DELETE FROM schema_version")
        connection.execute("INSERT INTO schema_version VALUES (?)", (len(schema),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone()
    if exists is None:
        return 0
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    return 0 if row is None else int(row[0])
