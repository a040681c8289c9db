"""Fill the empty log of a mesh on servers with hits of the last minutes, and commit the log's offsets.

The next processor rebuilds its state from the hits in the log, as after minutes of real load. Run `python -m
tests.bench.aged_log FROM TO MINUTES` with the store URLs of two meshes. The mesh FROM ran some minutes of load. The
program copies the hits of the mesh FROM, with new visitors and times, until the copies fill the given number of
minutes. `hitmesh init` created the mesh TO, which has never run. The mesh TO stores counts of the copied hits in its
series, but no raw records and no rows. `hitmesh load` on the mesh TO therefore compares only the hits of its own run.
`hitmesh load` can compare only sites that an earlier load on the mesh TO used.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import polars as pl
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported without declaration
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from collector.records import hits_record
from hitmesh.adapters.factory import PROCESSOR_GROUP, open_stores
from hitmesh.adapters.kafka.log_reader import group_id
from hitmesh.adapters.kafka.offsets import offset_of
from hitmesh.adapters.kafka.records import header_of
from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.adapters.stores import Stores
from hitmesh.model.keys import hash64
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import RecordKind
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from hitmesh.model.rows.hash_columns import hash64_column
from hitmesh.runtime.clock import SystemClock
from tests.bench.measured import progress

RECORD_ROWS: Final = 750
MINUTE_MS: Final = 60_000
OPEN_MS: Final = 55 * MINUTE_MS
_LEADER_S: Final = 60.0


def age(source_url: str, target_url: str, minutes: int) -> int:
    """Copy the hits and return the number of written hits.

    The log time of the last hit is close to the present time.
    """
    source, target = open_stores(source_url, SystemClock()), open_stores(target_url, SystemClock())
    with closing(source), closing(target):
        servers = parse_servers(target_url)
        originals = [_hits(source, number) for number in range(source.log.partitions(Topic.HITS))]
        _copy_sites(source, target, originals)
        _set_time_type(servers, "CreateTime")
        try:
            return _fill(servers, target, originals, minutes)
        finally:
            _set_time_type(servers, "LogAppendTime")


def _hits(stores: Stores, number: int) -> pl.DataFrame:
    """Return a partition's hits, sorted by collect time.

    Late hits are left out. Orders are left out, because a copied order would also need a claim in the store.
    """
    partition = PartitionId(stores.log.log_id(Topic.HITS), number)
    frames = [
        unpack_record(logged.record.value, HITS_COLUMNS)
        for logged in stores.log_scan.read(partition, 0, sys.maxsize)
        if logged.record.kind is RecordKind.HITS
    ]
    return (
        pl.concat(frames)
        .filter(pl.col("order_id").is_null(), pl.col("event_time") > pl.col("collect_time") - OPEN_MS)
        .sort("collect_time")
    )


def _copy_sites(source: Stores, target: Stores, originals: list[pl.DataFrame]) -> None:
    names = sorted({name for frame in originals for name in frame["site"].unique()})
    progress(f"{len(names):,} sites")
    for name in names:
        site = source.directory.site(name)
        if site is not None and target.directory.site(name) is None:
            target.directory.create_site(site)


def _set_time_type(servers: Servers, kind: str) -> None:
    entry = ConfigEntry("message.timestamp.type", kind, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, servers.topic(Topic.HITS), incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers.kafka})  # this client must outlive the futures that it returns
    for done in admin.incremental_alter_configs([resource]).values():
        done.result()


def _fill(servers: Servers, target: Stores, originals: list[pl.DataFrame], minutes: int) -> int:
    first = min(int(frame["collect_time"][0]) for frame in originals)
    period = max(int(frame["collect_time"][-1]) for frame in originals) - first + 1
    copies = -(-minutes * MINUTE_MS // period)
    producer = Producer({"bootstrap.servers": servers.kafka, "linger.ms": 50, "queue.buffering.max.kbytes": 128 << 10})
    written = 0
    # The last copy ends at the present time. Log times never decrease, so the log times of all copies are chosen before
    # the first write.
    begin = int(time.time() * 1_000) - copies * period
    last = [0] * len(originals)
    for copy in range(copies):
        for number, frame in enumerate(originals):
            for rows in _records(_copied(frame, copy, begin + copy * period - first)):
                record = hits_record(rows, "aged", "aged")
                last[number] = max(last[number], record.max_collect_time)
                _produce(producer, servers.topic(Topic.HITS), number, record.value, header_of(record), last[number])
                written += rows.height
        progress(f"copy {copy + 1} of {copies}: {written:,} hits")
    if producer.flush(120):
        raise SystemExit("Kafka did not take all records")
    _commit(servers, target, last)
    return written


def _copied(frame: pl.DataFrame, copy: int, shift_ms: int) -> pl.DataFrame:
    """Return a copy of the hits with other visitors, hit ids and times."""
    salt = pl.lit(hash64(str(copy)), pl.UInt64)
    times = [pl.col(name) + shift_ms for name in ("event_time", "collect_time", "edge_time")]
    named = frame.with_columns(
        pl.col("visitor_lo") ^ salt, pl.concat_str("hit_id", pl.lit(f"-{copy}")).alias("hit_id"), *times
    )
    return named.with_columns(hash64_column(named["hit_id"]).alias("hit_hash")).select(*HITS_COLUMNS)


def _records(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for start in range(0, frame.height, RECORD_ROWS):
        yield frame[start : start + RECORD_ROWS]


def _produce(
    producer: Producer, topic: str, number: int, value: bytes, header: list[tuple[str, str | bytes | None]], at_ms: int
) -> None:
    while True:
        try:
            producer.produce(topic, value, partition=number, headers=header, timestamp=at_ms)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _commit(servers: Servers, target: Stores, last: list[int]) -> None:
    """Commit the end offset of every partition in the processor's consumer group."""
    topic = servers.topic(Topic.HITS)
    consumer = Consumer(
        {"bootstrap.servers": servers.kafka, "group.id": group_id(servers, PROCESSOR_GROUP, Topic.HITS)}
    )
    log = target.log.log_id(Topic.HITS)
    positions = []
    for number, log_time in enumerate(last):
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
        positions.append(offset_of(topic, PartitionId(log, number), PartitionProgress(end, log_time)))
    deadline = time.monotonic() + _LEADER_S
    while True:
        try:
            consumer.commit(offsets=positions, asynchronous=False)
            break
        except KafkaException:
            if time.monotonic() > deadline:
                raise
    consumer.close()


if __name__ == "__main__":
    sys.stdout.write(f"{age(sys.argv[1], sys.argv[2], int(sys.argv[3])):,} hits\n")
