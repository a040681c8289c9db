"""Use a SQLite file: open connections, run transactions, migrate the schema, and translate driver errors.

A commit is on disk when the call returns (WAL with synchronous=FULL). A call waits, up to a time-out, while another
process holds a lock. For each file, a process has a single write connection, which a lock protects. Each concurrent
read has its own read connection. Readers never wait for a writer.
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
    """Runs statements in a transaction.

    The object must be used only inside the `with` block that created the transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run a statement; return the number of changed rows."""
        return self._connection.execute(sql, values).rowcount

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement once per row of values."""
        self._connection.executemany(sql, rows)

    def rows(self, make: Callable[..., T], sql: str, values: Sequence[Value] = ()) -> list[T]:
        """Return `make(*columns)` for each row."""
        return [make(*row) for row in self._connection.execute(sql, values)]

    def first(self, make: Callable[..., T], sql: str, values: Sequence[Value] = ()) -> T | None:
        """Return `make(*columns)` for the first row, or None if there is no row."""
        row = self._connection.execute(sql, values).fetchone()
        return None if row is None else make(*row)


class Database:
    """A SQLite file with its schema. The file is opened at first use or by `open`. Thread-safe.

    Args:
        path: the file; created with its directory when absent.
        schema: all migrations, oldest first.
        secure_delete: whether deleted rows are always overwritten with zeros.
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
        """Open the file now, create the file if absent, and migrate the schema to the newest version.

        Raises:
            Unavailable: the file cannot be opened, or another process holds a lock.
            StoreCorrupt: the file is damaged, or a newer program wrote the file.
        """
        with self.reading() as transaction:
            transaction.first(int, "SELECT count(*) FROM sqlite_master")

    @contextmanager
    def writing(self, *, raise_in_doubt: bool = False) -> Iterator[Transaction]:
        """Open a write transaction.

        The transaction is durable when the `with` block has ended, and rolled back after an exception.

        Args:
            raise_in_doubt: raise CommitInDoubt if the commit itself fails; needed by callers that must not repeat a
                write.

        Raises:
            Unavailable: another process held the lock beyond the time-out, the disk failed, or the disk is full.
            CommitInDoubt: the commit failed, and the outcome is unknown.
            StoreCorrupt: the file is damaged.
        """
        with self._write_lock, translated(self._path):
            if self._writer is None:
                self._writer = self.connect()
            connection = self._writer
            self._refuse_when_closed()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection)
                self._commit(connection, raise_in_doubt=raise_in_doubt)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def erasing(self) -> Iterator[Transaction]:
        """Open a write transaction that overwrites replaced and deleted values with zeros.

        The write-ahead log still contains the old values until the next `checkpoint`.
        """
        with self.writing() as transaction:
            transaction.run("PRAGMA secure_delete = ON")
            try:
                yield transaction
            finally:
                if not self._secure_delete:
                    transaction.run("PRAGMA secure_delete = OFF")

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Open a transaction in which all reads see the same state of the file."""
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
                if connection.in_transaction:  # after some errors, such as a full disk, SQLite has already rolled back
                    connection.execute("ROLLBACK")
                with self._state_lock:
                    self._idle.append(connection)

    def connect(self) -> sqlite3.Connection:
        """Return a new, migrated connection, which `close` will also close."""
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
                    self._opened = [other for other in self._opened if other is not connection]
                # The connection is closed because callers retry while a disk is full, and each retry opens another
                # connection.
                connection.close()
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
        """Move committed data out of the write-ahead log and empty the log, unless another connection is reading."""
        with self._write_lock, translated(self._path):
            if self._writer is not None:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def watch(self) -> Watch:
        """Return a watch, which detects changes that any other connection commits."""
        return Watch(self.connect(), self._path)

    def close(self) -> None:
        """Close all connections; the caller must make sure that none is in use. A second call changes nothing."""
        with self._write_lock, self._state_lock:
            self._closed = True
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._idle.clear()
            self._writer = None

    def _commit(self, connection: sqlite3.Connection, *, raise_in_doubt: bool) -> None:
        """Commit the transaction. If the sync to disk fails, the transaction may nevertheless be stored."""
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if not raise_in_doubt:
                raise
            raise CommitInDoubt(
                f"{self._path.name}: the commit failed ({error}), but its changes may be stored; read the stored state "
                "before you repeat the call",
                file=self._path.name,
                cause=str(error),
            ) from error

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable(
                f"{self._path.name} is closed, because the process is stopping: try again", file=self._path.name
            )


class Watch:
    """Detects whether a file has changed since the last call. For use by one thread only."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._seen = -1

    def changed(self) -> bool:
        """Return whether another connection has committed since the last call; the first call returns True."""
        with translated(self._path):
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        changed, self._seen = version != self._seen, version
        return changed

    def close(self) -> None:
        """Close the connection. A second call changes nothing."""
        self._connection.close()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate driver errors in the `with` block into hitmesh errors, except errors from wrong use of the driver."""
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
        return StoreCorrupt(
            f"{path.name} is damaged: {error}; restore the file from a backup", file=path.name, cause=str(error)
        )
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"no room to write {path.name}: {error}; free disk space", file=path.name, cause=str(error))
    if isinstance(error, sqlite3.OperationalError):
        return Unavailable(f"{path.name} is unavailable: {error}; try again", file=path.name, cause=str(error))
    return None


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Set WAL mode.

    The PRAGMA is retried: if two processes create the file at the same time, the PRAGMA ignores the busy time-out.
    """
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
    """Migrate the file to the newest schema version in a single transaction."""
    if _version(connection) == len(schema):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > len(schema):
            raise StoreCorrupt(
                f"{path.name} has schema version {version}, but this hitmesh version knows only versions 1 to "
                f"{len(schema)}: use a newer version of hitmesh",
                file=path.name,
                version=version,
                newest=len(schema),
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
