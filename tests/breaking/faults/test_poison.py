"""Undecodable records in the topic of hits are skipped and counted. Later records are still processed."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from hitmesh.adapters.kafka.records import header_of
from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.model.positions import Topic
from hitmesh.model.records import Record, RecordKind
from hitmesh.runtime.clock import SystemClock
from tests.support.kill_checks import check_acknowledged, check_counted, read_log, set_aside
from tests.support.kill_load import SITES, SLACK_MS, hits_of_now, messages_of
from tests.support.senders import Senders, portions
from tests.support.services import KEY, Cluster

VISITORS = 120
ANNOUNCED = 7
HEADLESS = b"neither a header nor anything that could be read"
TORN = b"ARROW1\0\0 and then nothing of it"
COUNTED_S = 120.0
SENT_S = 30.0
PARTITIONS = 4


@pytest.mark.timeout(SLACK_MS // 1_000)
def test_unreadable_records_are_set_aside_and_their_partitions_go_on(store_url: str, tmp_path: Path) -> None:
    now = SystemClock().now()
    hits = hits_of_now(5, now, VISITORS)
    with Cluster(tmp_path, store_url) as cluster, Senders(cluster.address, KEY, SITES) as senders:
        before, after = portions(messages_of(hits, now, "poison"), [1, 1])
        cluster.collector.start()
        cluster.processor.start()
        senders.give(before)
        senders.wait_acknowledged()
        poison(parse_servers(store_url), now)
        senders.give(after)
        senders.wait_acknowledged()
        cluster.wait_counted(COUNTED_S)
        kept = set_aside(cluster.stores)
        assert sorted((at.partition, rejected.hits, rejected.original) for at, rejected in kept.items()) == sorted(
            (partition, *what) for partition in range(PARTITIONS) for what in ((0, HEADLESS), (ANNOUNCED, TORN))
        )
        logged = read_log(cluster.stores, hits)
        behind = {at.partition: at.offset for at in kept}
        places = [hit.position for of_site in logged.values() for hit in of_site]
        has_hits, goes_on = {place[2] for place in places}, {place[2] for place in places if is_behind(place, behind)}
        assert goes_on == has_hits, "every partition with hits has some behind what was set aside"
        check_acknowledged(hits, logged, senders.resent)
        check_counted(cluster.stores, logged, SystemClock().now(), unreadable=PARTITIONS * ANNOUNCED)
        assert cluster.processor.starts == 1
        cluster.stop()


def poison(servers: Servers, now: int) -> None:
    """Append two broken messages to every partition: one without a header, and one with a truncated value."""
    record = Record(RecordKind.HITS, TORN, ANNOUNCED, now, now, now, hits=ANNOUNCED, sum64=11, xor64=13)
    producer = Producer({"bootstrap.servers": servers.kafka, "acks": "all"})
    for partition in range(PARTITIONS):
        producer.produce(servers.topic(Topic.HITS), HEADLESS, partition=partition)
        producer.produce(servers.topic(Topic.HITS), TORN, partition=partition, headers=header_of(record))
    assert producer.flush(SENT_S) == 0


def is_behind(position: tuple[int, str, int, int, int], offsets: dict[int, int]) -> bool:
    """Return whether a position's offset exceeds the offset that `offsets` has for the position's partition."""
    _, _, partition, offset, _ = position
    return offset > offsets[partition]
