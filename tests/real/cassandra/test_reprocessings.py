"""Test how Cassandra stores reprocessings in pieces, with interrupted writes, wrong clocks and unknown outcomes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import closing

import pytest

from hitmesh.adapters.cassandra.rebuilt_values import RebuiltValues
from hitmesh.adapters.cassandra.reprocessings import CassandraReprocessings
from hitmesh.adapters.cassandra.session import CassandraSession, Values
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import StoreCorrupt, Unavailable
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Reprocessing
from hitmesh.model.sites import SiteDay

LARGE = bytes(range(256)) * 5_000  # three pieces
DAYS = [SiteDay("s", day) for day in range(60)]
AHEAD_US = 300_000_000


class DoubtfulSession(CassandraSession):
    """A session that gets no answer to a conditional write, although Cassandra has applied the write."""

    def apply(self, cql: str, values: Values) -> bool:
        super().apply(cql, values)
        raise Unavailable("no answer")


def read(values: RebuiltValues, id_: str) -> Sequence[tuple[SiteDay, bytes]]:
    return list(values.read(id_, None, 1_000))


def test_value_that_lacks_a_piece_is_damaged(session: CassandraSession) -> None:
    values = RebuiltValues(session)
    values.put("cut", {DAYS[0]: LARGE})
    version = session.run("SELECT version FROM rebuilt_site_days WHERE reprocessing = 'cut'")[0].version
    session.run(
        """DELETE FROM rebuilt_values WHERE reprocessing = 'cut' AND site = 's' AND day = 0 AND version = ?
        AND piece = 1""",
        (version,),
    )
    with pytest.raises(StoreCorrupt, match="day 0 of s in reprocessing cut has 2 of 3 pieces"):
        read(values, "cut")


def test_damaged_values_are_named(session: CassandraSession) -> None:
    reprocessings = CassandraReprocessings(session)
    RebuiltValues(session).put("damaged", {DAYS[0]: LARGE})
    with pytest.raises(StoreCorrupt, match="day 0 of s in reprocessing damaged"):
        reprocessings.rebuilt("damaged")
    session.apply(
        "INSERT INTO reprocessings (zero, id, version, value) VALUES (0, ?, ?, ?) IF NOT EXISTS", ("bad", 1, b"bad")
    )
    with pytest.raises(StoreCorrupt, match="reprocessing bad of 3 bytes is damaged"):
        reprocessings.all()
    reprocessings.remove("bad")
    assert reprocessings.get("bad") is None


def test_interrupted_write_is_never_read_and_is_removed(session: CassandraSession) -> None:
    values = RebuiltValues(session)
    values.put("interrupted", {DAYS[1]: b"whole"})
    session.run("INSERT INTO rebuilt_site_days (reprocessing, site, day) VALUES ('interrupted', 's', 0)")
    session.run(
        """INSERT INTO rebuilt_values (reprocessing, site, day, version, piece, value)
        VALUES ('interrupted', 's', 0, ?, 0, ?)""",
        (uuid.uuid1(), b"half"),
    )
    assert list(values.read("interrupted", None, 1)) == [(DAYS[1], b"whole")]
    values.put("interrupted", {DAYS[0]: b"again"})
    assert read(values, "interrupted") == [(DAYS[0], b"again"), (DAYS[1], b"whole")]
    values.remove("interrupted")
    assert read(values, "interrupted") == []
    assert not session.run(
        "SELECT piece FROM rebuilt_values WHERE reprocessing = 'interrupted' AND site = 's' AND day = 0"
    )


def test_value_that_a_clock_ahead_wrote_is_replaced_and_removed(session: CassandraSession) -> None:
    values, version = RebuiltValues(session), uuid.uuid1()
    ahead_us = time.time_ns() // 1_000 + AHEAD_US
    session.run(
        """INSERT INTO rebuilt_values (reprocessing, site, day, version, piece, value)
        VALUES ('ahead', 's', 0, ?, 0, ?) USING TIMESTAMP ?""",
        (version, b"ahead", ahead_us),
    )
    session.run(
        """INSERT INTO rebuilt_site_days (reprocessing, site, day, version, pieces) VALUES ('ahead', 's', 0, ?, ?)
        USING TIMESTAMP ?""",
        (version, 1, ahead_us),
    )
    assert read(values, "ahead") == [(DAYS[0], b"ahead")]
    for value in (b"later", LARGE):
        values.put("ahead", {DAYS[0]: value})
        assert read(values, "ahead") == [(DAYS[0], value)]
    values.remove("ahead")
    assert read(values, "ahead") == []


def test_value_that_is_replaced_or_removed_during_a_read_is_read_again(session: CassandraSession) -> None:
    values = RebuiltValues(session)
    values.put("moving", dict.fromkeys(DAYS, b"old"))
    reader = values.read("moving", None, 1_000)
    found = [next(reader)]
    values.put("moving", {DAYS[-1]: LARGE})
    session.run("DELETE FROM rebuilt_site_days WHERE reprocessing = 'moving' AND site = 's' AND day = 50")
    session.run("DELETE FROM rebuilt_values WHERE reprocessing = 'moving' AND site = 's' AND day = 50")
    found += reader
    expected = [(day, b"old") for day in DAYS[:-1] if day.day != 50]
    assert found == [*expected, (DAYS[-1], LARGE)]


def test_conditional_write_whose_answer_is_lost_succeeds(servers: Servers) -> None:
    made = Reprocessing("doubt", Kind.REPAIR, "v1", ("s",), 1, 2, 5, 5)
    with closing(DoubtfulSession(servers)) as session:
        reprocessings = CassandraReprocessings(session)
        reprocessings.create(made)
        assert reprocessings.get("doubt") == made
        other = Reprocessing("doubt", Kind.REPAIR, "v1", ("s",), 1, 2, 5, 5, hits=9)
        with pytest.raises(Unavailable):
            reprocessings.create(other)
        with pytest.raises(Unavailable):
            reprocessings.replace(other)
        assert reprocessings.get("doubt") == made
