"""Cassandra refuses every request for half a minute while hits keep arriving. No hit is lost, and memory stays flat."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import batches
from hitmesh.runtime.clock import SystemClock
from tests.support.counted import log_ends
from tests.support.kill_checks import partial_sums
from tests.support.kill_load import SITES
from tests.support.messages import page_view
from tests.support.processes import resident_bytes
from tests.support.senders import Senders
from tests.support.services import KEY, Cluster, Service
from tests.support.waiting import eventually
from tests.support.witness import Witness

REFUSED_S: Final = 20.0
HITS_PER_S: Final = 2_000
WINDOW_HITS: Final = 4_000
SETTLES_S: Final = REFUSED_S / 4
"""Time from the first refusal until memory must be flat.

At first, memory may grow, because the processor decodes its current window of records.
"""
GROWTH_BYTES: Final = 64 << 20
"""Maximum growth of a process's memory once `SETTLES_S` has passed.

If a process kept all later hits in memory, its memory would grow far more.
"""
ON_THEIR_WAY_RECORDS: Final = 8
"""Maximum number of records that are read before the refusals begin: a heartbeat and a record per partition."""
COUNTED_S: Final = 120.0
PATH: Final = "/a-page-whose-name-is-as-long-as-names-of-pages-in-real-shops-are" * 4
REPLICAS_THAT_ARE_NOT_THERE: Final = 3


@pytest.mark.timeout(300)
def test_memory_is_flat_and_nothing_is_lost_while_cassandra_refuses(
    store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    servers, site = parse_servers(store_url), SITES[0]
    with (
        Cluster(tmp_path, store_url) as cluster,
        Senders(cluster.address, KEY, [site]) as senders,
        ExitStack() as undo,
    ):
        services = (cluster.collector, cluster.processor)
        cluster.collector.start(RECORD_ROWS="2000")
        cluster.processor.start(MAX_HITS=str(WINDOW_HITS), FLUSH_MS="2000", SNAPSHOT_MS="60000")
        reporter = cluster.a_reporter()
        reporter.start()
        sent = 0
        for number in range(10):  # wait until both processes have their usual memory
            sent += give(senders, site, number)
            senders.wait_acknowledged()
        cluster.wait_counted(COUNTED_S)

        sizes: dict[str, list[int]] = {service.name: [] for service in services}
        settled: dict[str, list[int]] = {service.name: [] for service in services}
        with Witness(cluster.reporter_address, site) as witness:
            eventually(lambda: "STORE_DRUID" in witness.answers, "reports are answered", COUNTED_S)
            witness.next_phase()
            replicate(servers, REPLICAS_THAT_ARE_NOT_THERE)
            undo.callback(replicate, servers, 1)
            committed = cluster.committed()  # heartbeats advanced the offsets while the test waited
            began, number = time.monotonic(), 10
            while time.monotonic() < began + REFUSED_S:
                second = time.monotonic() + 1
                measured = settled if second < began + SETTLES_S else sizes
                sent += give(senders, site, number)
                senders.wait_acknowledged()
                number += 1
                for service in services:
                    measured[service.name].append(size_of(service))
                eventually(lambda at=second: time.monotonic() >= at, "a second goes by")  # type: ignore[misc]  # mypy infers no type for bound defaults
            meanwhile = witness.next_phase()
            moved = cluster.committed() - committed
            waiting = sum(log_ends(cluster.stores).values()) - cluster.committed()
            undo.close()
            back = time.monotonic()
            cluster.wait_counted(COUNTED_S)
            took_s = time.monotonic() - back
        growth = {name: max(found) - max(settled[name]) for name, found in sizes.items()}
        assert moved <= ON_THEIR_WAY_RECORDS, "what was read before is committed, and nothing more"
        assert waiting >= REFUSED_S / 2, "hits went on coming"
        assert all(found < GROWTH_BYTES for found in growth.values()), growth
        assert sum(row["hits"] for row in partial_sums(cluster.stores, site, set()).values()) == sent
        assert not meanwhile.fell_back
        cluster.stop()
    growths = ", ".join(f"{name} grew by {found >> 20} MiB" for name, found in growth.items())
    with capsys.disabled():
        print(  # noqa: T201  # what a refusal looks like
            f"\nCassandra refused for {REFUSED_S:.0f} s: {sent} hits acknowledged, {growths}; "
            f"counted {took_s:.1f} s after it took writes again; meanwhile {meanwhile.line()}"
        )


def give(senders: Senders, site: str, number: int) -> int:
    """Send the hits that are due in a second, and return their number."""
    now = SystemClock().now()
    hits = [a_hit(number, index, now) for index in range(HITS_PER_S)]
    senders.give({site: list(batches(hits, f"second-{number}"))})
    return len(hits)


def a_hit(number: int, index: int, now: int) -> hit_pb2.Hit:
    """Return a page view with a unique id."""
    return page_view(f"{number}-{index}", now - 1_000 + index // 2, f"{PATH}-{index}", f"v-{number}-{index % 97}")


def replicate(servers: Servers, copies: int) -> None:
    """Set the keyspace's replication factor.

    If the replication factor exceeds the number of nodes, Cassandra has no quorum and refuses every request.
    """
    session = CassandraSession(servers)
    session.change_schema(
        f"ALTER KEYSPACE {servers.keyspace_name} WITH replication = "
        f"{{'class': 'SimpleStrategy', 'replication_factor': {copies}}}"
    )
    session.close()


def size_of(service: Service) -> int:
    """Return a service's resident memory in bytes."""
    assert service.process is not None
    return resident_bytes(service.process.pid)
