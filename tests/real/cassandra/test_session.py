"""Test the Cassandra session: results of requests, and the translation of errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError, Unavailable
from tests.real.cassandra.relay import Relay

DAY = "INSERT INTO raw_site_days (site, day) VALUES (?, ?)"
DAYS = "SELECT day FROM raw_site_days WHERE site = ?"
HOLD = """INSERT INTO order_holders (site, order_id, excluded, log, partition, offset, row_no)
    VALUES (?, ?, false, ?, ?, ?, ?) IF NOT EXISTS"""


@pytest.fixture
def relay(servers: Servers) -> Iterator[Relay]:
    host, _, port = servers.cassandra.split(",")[0].rpartition(":")
    made = Relay(host, int(port))
    yield made
    made.close()


def test_many_rows_are_written_and_read_in_the_order_of_the_queries(session: CassandraSession) -> None:
    session.run_many(DAY, [(f"many-{number}", number) for number in range(500)])
    answers = session.run_each(DAYS, [(f"many-{number}",) for number in range(500, -1, -1)])
    assert [[row.day for row in rows] for rows in answers] == [[], *([number] for number in range(499, -1, -1))]


def test_answers_longer_than_a_page_are_whole(session: CassandraSession) -> None:
    session.run_many(DAY, [("long", day) for day in range(5_000)])
    assert [row.day for row in session.run(DAYS, ("long",))] == list(range(5_000))
    assert len(session.run_each(DAYS, [("long",), ("long",)])[1]) == 5_000
    assert next(session.stream(DAYS, ("long",), page_rows=10)).day == 0


def test_conditional_write_returns_whether_it_was_applied_and_the_existing_row(session: CassandraSession) -> None:
    assert session.apply(HOLD, ("s", "one", "hits.1", 0, 7, 0))
    assert not session.apply(HOLD, ("s", "one", "hits.1", 0, 8, 0))
    answers = session.decide_each(HOLD, [("s", "one", "hits.1", 0, 9, 0), ("s", "two", "hits.1", 0, 9, 0)])
    assert [(answer[0], answer.offset if not answer[0] else None) for answer in answers] == [(False, 7), (True, None)]
    assert session.run("SELECT offset FROM order_holders WHERE site = 's' AND order_id = 'two' AND excluded = false")


def test_batch_with_a_condition_is_made_whole_or_not_at_all(session: CassandraSession) -> None:
    declare = "INSERT INTO logs (topic, number, log_id, partitions) VALUES (?, ?, ?, ?)"
    first = (f"{declare} IF NOT EXISTS", ("batched", 1, "a", 1))
    assert session.apply_batch([first, (declare, ("batched", 2, "b", 1))])
    assert not session.apply_batch([first, (declare, ("batched", 3, "c", 1))])
    rows = session.run("SELECT number FROM logs WHERE topic = 'batched'", serial=True)
    assert [row.number for row in rows] == [2, 1]


def test_statement_that_cassandra_refuses_is_a_fatal_error_and_is_named(session: CassandraSession) -> None:
    with pytest.raises(FatalError, match=r"SELECT \* FROM nowhere: .*run hitmesh init"):
        session.run("SELECT * FROM nowhere")
    with pytest.raises(FatalError, match="INSERT INTO raw_site_days"):
        session.run_many(DAY, [("fine", 1), ("wrong", "text")])
    assert [row.day for row in session.run(DAYS, ("fine",))] == [1]


def test_missing_keyspace_or_datacenter_is_reported(servers: Servers) -> None:
    with (
        closing(CassandraSession(replace(servers, keyspace="never_made"))) as wrong,
        pytest.raises(FatalError, match="run hitmesh init"),
    ):
        wrong.run(DAYS, ("s",))
    with (
        closing(CassandraSession(replace(servers, datacenter="elsewhere"))) as wrong,
        pytest.raises(FatalError, match="no datacenter 'elsewhere'"),
    ):
        wrong.run(DAYS, ("s",))


def test_server_that_is_not_there_is_unavailable(servers: Servers) -> None:
    with (
        closing(CassandraSession(replace(servers, cassandra="127.0.0.1:1"))) as lost,
        pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"),
    ):
        lost.run(DAYS, ("s",))


def test_closed_session_stays_closed(servers: Servers) -> None:
    session = CassandraSession(servers)
    session.run(DAYS, ("s",))
    session.close()
    session.close()
    with pytest.raises(FatalError, match="closed"):
        session.run(DAYS, ("s",))


def test_silence_is_unavailable_and_passes(servers: Servers, relay: Relay) -> None:
    quiet = replace(servers, cassandra=relay.address)
    with closing(CassandraSession(quiet, request_timeout_s=0.5)) as session:
        session.run(DAYS, ("s",))
        session.run_many(DAY, [("before", 1)])
        session.apply(HOLD, ("s", "before", "hits.1", 0, 1, 0))
        relay.fall_silent()
        with pytest.raises(Unavailable, match="raw_site_days"):
            session.run(DAYS, ("s",))
        with pytest.raises(Unavailable):
            session.run_many(DAY, [("silent", day) for day in range(300)])
        with pytest.raises(Unavailable):
            session.apply(HOLD, ("s", "doubtful", "hits.1", 0, 1, 0))
        relay.go_on()
        assert _until_answered(session) == 0


def _until_answered(session: CassandraSession) -> int:
    """Repeat a query until Cassandra answers, and return the number of rows. The queried site has no rows."""
    while True:
        try:
            return len(session.run(DAYS, ("none",)))
        except Unavailable:
            continue
