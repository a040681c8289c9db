"""Test the declared logs, and the progress in each log, on Cassandra."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from hitmesh.adapters.cassandra.logs import DeclaredLogs
from hitmesh.adapters.cassandra.progress import CassandraProgress
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic

P0, P1 = PartitionId("hits.a", 0), PartitionId("hits.a", 1)


@pytest.fixture
def catalogue(session: CassandraSession) -> Iterator[DeclaredLogs]:
    yield DeclaredLogs(session)
    session.run("TRUNCATE logs")
    session.run("TRUNCATE progress")


def test_undeclared_topic_raises_an_error_that_names_the_remedy(catalogue: DeclaredLogs) -> None:
    with pytest.raises(FatalError, match="no log of topic hits is declared; run hitmesh init"):
        catalogue.log_id(Topic.HITS)


def test_log_that_was_declared_last_is_current_and_retired_ones_stay_known(
    catalogue: DeclaredLogs, session: CassandraSession
) -> None:
    for log_id in ("hits.a", "hits.a", "hits.b"):
        catalogue.declare(Topic.HITS, log_id, 2)
    catalogue.declare(Topic.REJECTED, "rejected.a", 1)
    again = DeclaredLogs(session)
    assert (again.log_id(Topic.HITS), again.partitions(Topic.HITS)) == ("hits.b", 2)
    assert again.partition_ids(Topic.HITS) == [("hits.b", 0), ("hits.b", 1)]
    assert [again.topic_of(log) for log in ("hits.a", "rejected.a")] == [Topic.HITS, Topic.REJECTED]
    assert len(session.run("SELECT * FROM logs WHERE topic = 'hits'")) == 2
    with pytest.raises(ValueError, match=r"'hits\.c' was never declared"):
        again.topic_of("hits.c")


def test_log_that_is_declared_meanwhile_is_found(catalogue: DeclaredLogs, session: CassandraSession) -> None:
    catalogue.declare(Topic.HITS, "hits.a", 2)
    DeclaredLogs(session).declare(Topic.HITS, "hits.b", 2)
    assert catalogue.topic_of("hits.b") is Topic.HITS


def test_two_concurrent_declarations_agree(catalogue: DeclaredLogs, servers: Servers) -> None:
    start = threading.Barrier(2)

    def declare(log_id: str) -> None:
        with closing(CassandraSession(servers)) as session:
            start.wait()
            DeclaredLogs(session).declare(Topic.HITS, log_id, 2)

    threads = [threading.Thread(target=declare, args=(log_id,)) for log_id in ("hits.a", "hits.b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {catalogue.topic_of(log_id) for log_id in ("hits.a", "hits.b")} == {Topic.HITS}
    assert catalogue.log_id(Topic.HITS) in {"hits.a", "hits.b"}


def test_position_never_moves_back_whatever_the_order_of_writes(
    catalogue: DeclaredLogs, session: CassandraSession
) -> None:
    catalogue.declare(Topic.HITS, "hits.a", 2)
    progress = CassandraProgress(session, catalogue)
    assert progress.progress(Topic.HITS) == {P0: PartitionProgress(0, 0), P1: PartitionProgress(0, 0)}
    progress.publish({P0: PartitionProgress(0, 0)})
    for next_offset, log_time in ((300, 50), (255, 50), (256, 50), (9, 40), (300, 70), (300, 60)):
        progress.publish({P0: PartitionProgress(next_offset, log_time)})
    assert progress.progress(Topic.HITS) == {P0: PartitionProgress(300, 70), P1: PartitionProgress(0, 0)}
    catalogue.declare(Topic.HITS, "hits.b", 1)
    assert progress.progress(Topic.HITS) == {PartitionId("hits.b", 0): PartitionProgress(0, 0)}
