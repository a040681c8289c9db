"""Restore a whole stack from a cold copy, and Cassandra alone from an older snapshot. Every hit counts once afterwards.

docs/operations.md describes both procedures for operators. The tests follow the page step by step.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from control.ledger import site_ledger
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import Position
from hitmesh.model.records import RecordKind
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.stack.commands import down, ensure_up
from hitmesh.tools.stack.layout import StackHome
from tests.breaking.outages.asking import check_counted_when_answered
from tests.breaking.outages.servers import Control
from tests.breaking.restore.nodetool import nodetool, put_snapshot_back
from tests.generate.hits import DAY
from tests.reference.hits import RefHit
from tests.support.counted import FOREVER_MS
from tests.support.kill_checks import check_acknowledged, read_log
from tests.support.kill_load import SITES, SLACK_MS, hits_of_now, messages_of
from tests.support.live_rows import ALL_DAYS, Seen, seen
from tests.support.senders import Senders
from tests.support.services import KEY, Cluster
from tests.support.waiting import eventually

VISITORS = 150
COUNTED_S = 180.0
TAG = "backup"


@pytest.mark.timeout(2 * SLACK_MS // 1_000)
def test_a_cold_copy_of_all_servers_brings_ledger_and_reports_back_and_new_hits_count(
    mesh_servers: Servers, stack_home: Path, tmp_path: Path
) -> None:
    now = SystemClock().now()
    hits = hits_of_now(1, now, VISITORS)
    early, later = hits[::2], hits[1::2]
    with Cluster(tmp_path, mesh_servers.url) as cluster:
        count(cluster, early, early, now, "early")
        cluster.stop()
        before = reports_and_ledger(cluster, now)
        data, copy = StackHome(stack_home).data, tmp_path / "copy"
        down(stack_home, print)
        shutil.copytree(data, copy, symlinks=True)
        shutil.rmtree(data)
        shutil.copytree(copy, data, symlinks=True)
        ensure_up(stack_home, print)
        wait_until_cassandra_answers(cluster)
        wait_for_reports_and_ledger(cluster, now, before)
        check_counted_when_answered(cluster, read_log(cluster.stores, early), COUNTED_S)
        count(cluster, later, hits, now, "later")
        cluster.stop()
    assert SystemClock().now() - now < SLACK_MS


@pytest.mark.timeout(2 * SLACK_MS // 1_000)
def test_an_older_cassandra_behind_a_newer_kafka_gets_back_what_it_lost_and_every_hit_counts_once(
    mesh_servers: Servers, stack_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = SystemClock().now()
    hits = hits_of_now(2, now, VISITORS)
    # The snapshot knows neither the hits of the closed day nor its settlement.
    early = [hit for hit in hits[::3] if now - hit.event_time < DAY]
    known = {id(hit) for hit in early}
    others = [hit for hit in hits if id(hit) not in known]
    between, later = others[::2], others[1::2]
    control, keyspace = Control(stack_home), mesh_servers.keyspace_name
    with Cluster(tmp_path, mesh_servers.url) as cluster:
        count(cluster, early, early, now, "early")
        begun_at = SystemClock().now()
        nodetool(stack_home, "snapshot", "-t", TAG, "--", keyspace)
        count(cluster, between, [*early, *between], now, "between")
        assert cluster.stores.generations.current(SITES[0], *ALL_DAYS), "the closed day is settled"
        stored = positions_in_raw(cluster)
        assert stored == positions_in_log(cluster)

        cluster.stop()
        nodetool(stack_home, "drain")
        control.kill("cassandra")
        tables = put_snapshot_back(stack_home, keyspace, TAG)
        control.start_all()
        wait_until_cassandra_answers(cluster)
        lost = positions_in_log(cluster) - positions_in_raw(cluster)
        assert lost, "the snapshot is older than the log"
        assert not cluster.stores.generations.current(SITES[0], *ALL_DAYS), "the settlement is lost"

        cluster.processor.start(ROLE="stream", STORE_AGAIN_SINCE=utc_text(begun_at))
        cluster.processor.wait_for_line("stored_again")
        cluster.processor.wait_for_line("recovered")
        assert positions_in_raw(cluster) == stored
        assert cluster.processor.stop() == 0, cluster.processor.log_tail()
        count(cluster, later, [*early, *between, *later], now, "later")
        assert positions_in_raw(cluster) == positions_in_log(cluster)
        cluster.stop()
    assert SystemClock().now() - now < SLACK_MS
    with capsys.disabled():
        print(f"\n{tables} tables restored; {len(lost)} of {len(stored)} raw records were lost and came back")  # noqa: T201


def count(cluster: Cluster, hits: Sequence[RefHit], all_hits: Sequence[RefHit], now: int, prefix: str) -> None:
    """Send hits, and check that all hits so far are counted once. The services are started if they do not run."""
    for service in (cluster.collector, cluster.processor):
        if not service.is_running:
            service.start()
    with Senders(cluster.address, KEY, SITES) as senders:
        senders.give(messages_of(hits, now, prefix))
        senders.wait_acknowledged(COUNTED_S)
        cluster.wait_counted(COUNTED_S)
        logged = read_log(cluster.stores, all_hits)
        check_acknowledged(all_hits, logged, senders.resent)
    check_counted_when_answered(cluster, logged, COUNTED_S)


def wait_until_cassandra_answers(cluster: Cluster) -> None:
    """Block until the driver of the test has connected to the restarted Cassandra."""

    def answers() -> bool:
        try:
            cluster.stores.generations.sequence(SITES[0])
        except Unavailable:
            return False
        return True

    eventually(answers, "Cassandra answers", COUNTED_S)


def reports_and_ledger(cluster: Cluster, now: int) -> list[tuple[Seen, object]]:
    """Return each site's rows as reports find them, and its ledger."""
    stores, days = cluster.stores, range(now // DAY - 7, now // DAY + 1)
    return [
        (
            seen(stores, site, days),
            site_ledger(
                stores.ledger.read(site),
                stores.generations.current(site, *ALL_DAYS),
                stores.generations.ledger(site, *ALL_DAYS),
                stores.dirty.marks(site),
            ),
        )
        for site in SITES
    ]


def wait_for_reports_and_ledger(cluster: Cluster, now: int, before: list[tuple[Seen, object]]) -> None:
    """Block until reports and ledger are as before. A historical of Druid needs seconds to load its segments again."""

    def are_as_before() -> bool:
        try:
            return reports_and_ledger(cluster, now) == before
        except Unavailable:
            return False

    eventually(are_as_before, "reports and ledger are as before", COUNTED_S)


def positions_in_log(cluster: Cluster) -> set[Position]:
    """Return the positions of the records with hits that the stream has committed."""
    stores = cluster.stores
    return {
        record.position
        for partition, reached in stores.outbox.committed().items()
        for record in stores.log_scan.read(partition, 0, FOREVER_MS)
        if record.record.kind == RecordKind.HITS and record.position.offset < reached.next_offset
    }


def positions_in_raw(cluster: Cluster) -> set[Position]:
    """Return the positions of the raw records with hits of the sites."""
    return {record.position for site in SITES for record in cluster.stores.raw.scan(site, *ALL_DAYS)}


def utc_text(at_ms: int) -> str:
    """Return a time as an operator writes it."""
    return dt.datetime.fromtimestamp(at_ms // 1_000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
