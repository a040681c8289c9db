"""Provide the only access to Cassandra: a lazy connection, prepared statements and translated errors.

A session limits the number of requests in flight. If a request fails, the session waits for the other requests in
flight and then raises the error. The driver may resend any statement except a conditional write (`IF`), so every other
statement must be idempotent.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from cassandra.cluster import PreparedStatement, ResponseFuture, Session
from cassandra.query import BatchStatement, BatchType, SimpleStatement, Statement

from hitmesh.adapters.cassandra.connection import REQUEST_TIMEOUT_S, SCHEMA_TIMEOUT_S, connect, profile_of
from hitmesh.adapters.cassandra.errors import EXPECTED, translated
from hitmesh.adapters.cassandra.portions import portions
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError, Unavailable

# A row of a result: a named tuple with a field for each column of the statement.
Row: TypeAlias = Any
Values: TypeAlias = Sequence[object]

MAX_IN_FLIGHT: Final = 128
PAGE_ROWS: Final = 2_000


class CassandraSession:
    """A connection to the mesh's keyspace. Thread-safe. A session must not be used in a forked process.

    Every method raises Unavailable if Cassandra does not answer in time; a write may or may not have happened. Every
    method raises FatalError if Cassandra rejects the request.

    Args:
        servers: contact points, datacenter and keyspace.
        in_keyspace: whether statements use the mesh's keyspace; must be false if the keyspace may not exist yet.
        request_timeout_s: deadline of a single request.
    """

    def __init__(
        self, servers: Servers, *, in_keyspace: bool = True, request_timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._servers = servers
        self._keyspace = servers.keyspace_name if in_keyspace else None
        self._request_timeout_s = request_timeout_s
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._prepared: dict[str, PreparedStatement] = {}
        self._closed = False

    def run(self, cql: str, values: Values = (), *, serial: bool = False) -> list[Row]:
        """Return an idempotent statement's rows.

        Args:
            cql: the statement; a repeated text is prepared only once.
            values: the statement's parameters.
            serial: whether the read must see the outcome of all earlier conditional writes, including those in
                progress.
        """
        return list(self.stream(cql, values, serial=serial))

    def stream(
        self, cql: str, values: Values = (), *, page_rows: int = PAGE_ROWS, serial: bool = False
    ) -> Iterator[Row]:
        """Yield an idempotent statement's rows; the rows are fetched page by page."""
        try:
            bound = self._statement(cql).bind(values)
            bound.fetch_size = page_rows
            yield from self._connected().execute(bound, execution_profile=profile_of(serial=serial))
        except EXPECTED as error:
            raise translated(error, cql) from error

    def ask(self, cql: str, timeout_s: float) -> None:
        """Run an idempotent read without parameters, with a deadline that is shorter than a request's."""
        try:
            bound = self._statement(cql).bind(())
            self._connected().execute(bound, timeout=timeout_s, execution_profile=profile_of(serial=False))
        except EXPECTED as error:
            raise translated(error, cql) from error

    def run_many(self, cql: str, rows: Iterable[Values], *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        """Run an idempotent statement once per row of values, with many requests in flight.

        An error is raised only after all requests have ended. The caller may repeat the call, because the writes are
        idempotent.
        """
        for _ in self.each(cql, rows, max_in_flight=max_in_flight):
            pass

    def run_by_partition(self, cql: str, rows: Iterable[Values], key_columns: int) -> None:
        """Run an idempotent statement once per row of values; group each partition's rows into few requests.

        Grouping is cheaper: for both driver and server, a request costs more than a row. All rows in a request belong
        to the same Cassandra partition, so Cassandra applies the request as a single mutation.

        Args:
            cql: the statement.
            rows: distinct rows, in any order.
            key_columns: number of leading values that form the partition key.
        """
        for _ in self._answers(cql, self._batches(cql, rows, key_columns), MAX_IN_FLIGHT, profile_of(serial=False)):
            pass

    def run_each(self, cql: str, rows: Iterable[Values], *, serial: bool = False) -> list[list[Row]]:
        """Run an idempotent statement once per row of values; return the results in the same order."""
        return list(self.each(cql, rows, serial=serial))

    def each(
        self, cql: str, rows: Iterable[Values], *, max_in_flight: int = MAX_IN_FLIGHT, serial: bool = False
    ) -> Iterator[list[Row]]:
        """Run an idempotent statement once per row of values, many at a time; yield the results in order."""
        return self._each(cql, rows, max_in_flight, serial=serial)

    def apply(self, cql: str, values: Values) -> bool:
        """Run a conditional write; return whether it was applied.

        If the call raises Unavailable, the outcome is unknown.
        """
        (applied,) = self.apply_each(cql, [values])
        return applied

    def apply_each(self, cql: str, rows: Iterable[Values]) -> list[bool]:
        """Run a conditional write once per row of values; return, for each write, whether it was applied."""
        return [bool(answer[0]) for answer in self.decide_each(cql, rows)]

    def decide_each(self, cql: str, rows: Iterable[Values]) -> list[Row]:
        """Run a conditional write once per row of values; return the results.

        Column 0 of a result is True if the write was applied.

        If a write was not applied, the result's other columns have the existing row's values.
        """
        return [answer[0] for answer in self._each(cql, rows, MAX_IN_FLIGHT, conditional=True)]

    def apply_batch(self, statements: Sequence[tuple[str, Values]]) -> bool:
        """Run a logged conditional batch within a single partition; return whether the whole batch was applied."""
        batch = BatchStatement(BatchType.LOGGED)
        batch.is_idempotent = False
        answer = self._run_whole(batch, statements)
        return not answer or bool(answer[0][0])

    def run_batch(self, statements: Sequence[tuple[str, Values]]) -> None:
        """Run idempotent statements within a single partition as one mutation: all or none take effect."""
        batch = BatchStatement(BatchType.UNLOGGED)
        batch.is_idempotent = True
        self._run_whole(batch, statements, execution_profile=profile_of(serial=False))

    def _run_whole(self, batch: BatchStatement, statements: Sequence[tuple[str, Values]], **options: Any) -> list[Any]:
        cql = "; ".join(text for text, _ in statements)
        try:
            for text, values in statements:
                batch.add(self._statement(text), values)
            return list(self._connected().execute(batch, **options))
        except EXPECTED as error:
            raise translated(error, cql) from error

    def change_schema(self, cql: str) -> None:
        """Run a statement that creates or changes a table; return once all nodes agree on the schema."""
        statement = SimpleStatement(cql, keyspace=self._keyspace)
        try:
            session = self._connected()
            session.execute(statement, timeout=SCHEMA_TIMEOUT_S)
            # The driver waits for schema agreement only in a session that loads the schema. This session does not load
            # the schema, so the wait is requested here.
            agreed = session.cluster.control_connection.wait_for_schema_agreement(wait_time=SCHEMA_TIMEOUT_S)
        except EXPECTED as error:
            raise translated(error, cql) from error
        if not agreed:
            raise Unavailable(
                f"Cassandra's nodes did not agree on a schema within {SCHEMA_TIMEOUT_S:.0f} s; run the command again",
                timeout_s=SCHEMA_TIMEOUT_S,
            )

    def nodes(self) -> dict[str, bool]:
        """Return the address of each node of the cluster, and whether the driver sees the node as up."""
        hosts = self._connected().cluster.metadata.all_hosts()
        return {f"{host.address}:{host.endpoint.port}": host.is_up is not False for host in hosts}

    def close(self) -> None:
        """Close the connection. Idempotent."""
        with self._lock:
            self._closed = True
            session, self._session = self._session, None
        if session is not None:
            session.cluster.shutdown()

    def _each(
        self,
        cql: str,
        rows: Iterable[Values],
        max_in_flight: int,
        *,
        serial: bool = False,
        conditional: bool = False,
    ) -> Iterator[list[Row]]:
        """Yield the result for each row of values.

        If the caller closes the generator early, the generator still waits for the requests in flight.
        """
        return self._answers(
            cql, self._bound(cql, rows, conditional=conditional), max_in_flight, profile_of(serial=serial)
        )

    def _answers(
        self, cql: str, statements: Iterable[Statement], max_in_flight: int, profile: object
    ) -> Iterator[list[Row]]:
        under_way: deque[ResponseFuture] = deque()
        try:
            session = self._connected()
            for statement in statements:
                under_way.append(session.execute_async(statement, execution_profile=profile))
                if len(under_way) >= max_in_flight:
                    yield list(under_way.popleft().result())
            while under_way:
                yield list(under_way.popleft().result())
        except EXPECTED as error:
            raise translated(error, cql) from error
        finally:
            _await_all(under_way)

    def _bound(self, cql: str, rows: Iterable[Values], *, conditional: bool) -> Iterator[Statement]:
        statement = self._statement(cql)
        for values in rows:
            bound = statement.bind(values)
            bound.is_idempotent = not conditional
            yield bound

    def _batches(self, cql: str, rows: Iterable[Values], key_columns: int) -> Iterator[Statement]:
        statement = self._statement(cql)
        for values in portions(rows, key_columns):
            if len(values) == 1:
                yield statement.bind(values[0])
                continue
            batch = BatchStatement(BatchType.UNLOGGED)
            batch.is_idempotent = True
            for row in values:
                batch.add(statement, row)
            yield batch

    def _statement(self, cql: str) -> PreparedStatement:
        statement = self._prepared.get(cql)
        if statement is None:
            # The keyspace is sent with each statement, because a prepared statement is ambiguous after `USE`.
            statement = self._connected().prepare(cql, keyspace=self._keyspace)
            statement.is_idempotent = True
            self._prepared[cql] = statement
        return statement

    def _connected(self) -> Session:
        session = self._session
        if session is not None:
            return session
        with self._lock:
            if self._closed:
                raise FatalError("the connection to Cassandra is closed; open the stores again")
            if self._session is None:
                self._session = connect(self._servers, self._request_timeout_s, self._keyspace)
            return self._session


def _await_all(under_way: Iterable[ResponseFuture]) -> None:
    for future in under_way:
        try:
            future.result()
        except EXPECTED:
            # Errors are ignored here, because the caller already raises the first error.
            continue
