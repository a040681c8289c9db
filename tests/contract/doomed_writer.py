"""Write to an embedded store until the process is killed. The process prints each acknowledged write.

Run as `python -m tests.contract.doomed_writer DIRECTORY`. Each printed line names a write, and is printed after the
write has returned. The line of an append is printed after the append's future has resolved.
"""

from __future__ import annotations

import sys

import polars as pl

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.claims import OrderClaim
from hitmesh.model.generations import STREAM_GENERATION, DirtyMark, LedgerEntry
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import RawRecord, Record, RecordKind, RejectedHit
from hitmesh.model.rows.rollup_rows import TRAFFIC_COLUMNS, VISITS_COLUMNS
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from hitmesh.model.sites import IngestKey, KeyKind, Site, SiteDay
from hitmesh.model.stream_values import FoldedRows, SnapshotManifest
from tests.support.clock import ManualClock

NOON = 1_750_000_000_000
SHOP = "merchants/m/sites/shop"
GROUP = "killed"
LIVE = SiteDay("merchants/m/sites/live", 20_000)
SNAPSHOT = PartitionId("hits.1", 0)


def promised(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def value_of(number: int) -> bytes:
    return f"value {number} ".encode() * 500


def a_traffic_row(day: int, generation: int) -> pl.DataFrame:
    row = {name: 0 if dtype == pl.Int64 else None for name, dtype in TRAFFIC_COLUMNS.items()}
    key = {"site": SHOP, "day": day, "generation": generation, "cell": day * 86_400_000, "excluded": False}
    return pl.DataFrame([row | key | {"hits": day}], schema=TRAFFIC_COLUMNS)


def settle(stores: Stores, day: int) -> None:
    site_day = SiteDay(SHOP, day)
    generation = stores.generations.begin(site_day)
    stores.sink.write(a_traffic_row(day, generation), pl.DataFrame(schema=VISITS_COLUMNS))
    stores.generations.publish(
        site_day,
        generation,
        logic_version=1,
        read_through={},
        seen_sequence=0,
        ledger=LedgerEntry(day, day, 0, 0, 0, 0),
        carry=value_of(day),
        now=NOON,
    )


def stream(stores: Stores, writer: int, number: int) -> None:
    """Commit a hit and the next position, so that the hit count equals the position."""
    partition = PartitionId(stores.log.log_id(Topic.HITS), 1)
    row = a_traffic_row(LIVE.day, STREAM_GENERATION).with_columns(
        pl.lit(LIVE.site).alias("site"), pl.lit(1, pl.Int64).alias("hits"), pl.lit(0, pl.Int64).alias(MOVED_VISITORS)
    )
    rows = FoldedRows(partition, row, pl.DataFrame(schema=VISITS_COLUMNS))
    stores.outbox.transaction(writer, [rows], {partition: PartitionProgress(number, number)})
    promised(f"outbox {number}")
    chunks = chunks_of(number)
    stores.states.save_chunks(SNAPSHOT, writer, number, chunks)
    stores.states.save_manifest(
        SnapshotManifest(SNAPSHOT, writer, PartitionProgress(number, number), 1, number, len(chunks))
    )
    promised(f"snapshot {number}")


def chunks_of(number: int) -> list[bytes]:
    return [value_of(number)] * (1 + number % 5)


def write_round(stores: Stores, writer: int, number: int) -> None:
    """Write to every store; print a line after each write."""
    position = Position("hits.1", 0, number)
    record = Record(RecordKind.HITS, value_of(number), 1, 1, 2, NOON)
    futures = [stores.log.append(Topic.HITS, partition, record) for partition in range(4)]
    offsets = [str(future.result().position.offset) for future in futures]
    promised(f"log {number} {' '.join(offsets)}")
    stores.raw.put([RawRecord(position, number, 1, 1, 2, value_of(number), 1, frozenset({SiteDay(SHOP, number)}))])
    promised(f"raw {number}")
    stores.rejected.put([RejectedHit(position, 0, SHOP, number, "R", "f", "m", "h", 1, b"o")])
    promised(f"rejected {number}")
    stores.dirty.mark([DirtyMark(SiteDay(SHOP, number), position, number)])
    promised(f"dirty {number}")
    stores.claims.claim([OrderClaim(SHOP, str(number), number, position, 0, 1, 2, "h", number, False)])
    promised(f"claim {number}")
    progress = {PartitionId(stores.log.log_id(Topic.HITS), 0): PartitionProgress(number, number)}
    stores.log_reader(Topic.HITS, GROUP).commit(progress)
    promised(f"commit {number}")
    stream(stores, writer, number)
    settle(stores, number)
    promised(f"settled {number}")
    stores.directory.create_site(Site(f"{SHOP}{number}", "UTC", "USD", b"0123456789abcdef"))
    stores.directory.create_key(IngestKey(f"k{number}", "merchants/m", KeyKind.SERVER), f"secret{number}")
    promised(f"directory {number}")


def main(directory: str) -> None:
    stores = open_stores(f"embedded:{directory}", ManualClock(NOON))
    writer = stores.outbox.take_over()
    number = 1
    while True:
        write_round(stores, writer, number)
        number += 1


if __name__ == "__main__":
    main(sys.argv[1])
