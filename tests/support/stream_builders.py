"""Build the data that the stream stores: rows, partials, ledger entries and snapshots.

A store may take seconds until answers contain committed rows. `commit` blocks until answers contain the rows;
`transact` does not block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from hitmesh.adapters.factory import Stores
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import (
    LEDGER_COLUMNS,
    PARTIAL_COLUMNS,
    SERIES_COLUMNS,
    STREAM_COLUMNS,
    UNKEYED_DIGESTS,
)
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows, SnapshotManifest
from tests.support.opened import NOON
from tests.support.stored_rows import DAY, SHOP, START, VISIBLE_S, ask
from tests.support.waiting import eventually

TODAY = SiteDay(SHOP, DAY)
LIVE = {TODAY: STREAM_GENERATION}


def signed(source: RowSource, *rows: Mapping[str, object]) -> pl.DataFrame:
    schema = STREAM_COLUMNS[source]
    whole = [
        {name: row.get(name, 0 if dtype == pl.Int64 else None) for name, dtype in schema.items()}
        | {"generation": STREAM_GENERATION}
        for row in rows
    ]
    return pl.DataFrame(whole, schema=schema)


def a_partition(stores: Stores, number: int = 0, topic: Topic = Topic.HITS) -> PartitionId:
    return PartitionId(stores.log.log_id(topic), number)


def some_rows(
    stores: Stores, *rows: Mapping[str, object], visits: pl.DataFrame | None = None, partition: int = 0
) -> FoldedRows:
    no_visits = signed(RowSource.VISITS)
    traffic = signed(RowSource.TRAFFIC, *rows)
    return FoldedRows(a_partition(stores, partition), traffic, no_visits if visits is None else visits)


def commit(stores: Stores, writer: int, *rows: Mapping[str, object], next_offset: int | None = None) -> None:
    """Commit rows and a position of partition 0, and block until answers contain the rows."""
    transact(stores, writer, *rows, next_offset=next_offset)
    await_answers(stores)


def transact(stores: Stores, writer: int, *rows: Mapping[str, object], next_offset: int | None = None) -> None:
    """Commit rows and a position of partition 0. By default, the position is the offset after the committed offset."""
    partition = a_partition(stores)
    if next_offset is None:
        next_offset = stores.outbox.committed()[partition].next_offset + 1
    stores.outbox.transaction(writer, [some_rows(stores, *rows)], {partition: PartitionProgress(next_offset, NOON)})


def commit_rows(stores: Stores, writer: int, rows: Sequence[FoldedRows]) -> None:
    """Commit rows with the next position of each of their partitions, and block until answers contain the rows."""
    before = stores.outbox.committed()
    positions = {folded.partition: PartitionProgress(before[folded.partition].next_offset + 1, NOON) for folded in rows}
    stores.outbox.transaction(writer, rows, positions)
    await_answers(stores)


def await_answers(stores: Stores) -> None:
    """Block until answers contain all committed rows."""
    committed = stores.outbox.committed()

    def is_answered() -> bool:
        through = stores.metrics.ingested_through()
        return all(done.next_offset >= committed[partition].next_offset for partition, done in through.items())

    eventually(is_answered, f"everything before {committed} is in answers", VISIBLE_S)


def live(stores: Stores, *dimensions: str, **options: object) -> pl.DataFrame:
    return ask(stores, *dimensions, generations=LIVE, **options)  # type: ignore[arg-type]  # passes its arguments on


def a_partial(**values: object) -> dict[str, object]:
    key = {"site": SHOP, "day": DAY, "cell": START, "excluded": False, "currency": ""}
    key |= {"generation": STREAM_GENERATION}
    return key | {"log": "hits.1", "partition": 0, "epoch": NOON, "written": 1, UNKEYED_DIGESTS: 0} | values


def partials(*rows: Mapping[str, object]) -> pl.DataFrame:
    whole = [
        {name: row.get(name, None if dtype == pl.Binary else 0) for name, dtype in PARTIAL_COLUMNS.items()}
        for row in rows
    ]
    return pl.DataFrame(whole, schema=PARTIAL_COLUMNS)


def settled(*rows: Mapping[str, object]) -> pl.DataFrame:
    """Return the rows as a table with the columns of a settled series. Other columns are dropped."""
    return partials(*rows).select(list(SERIES_COLUMNS))


def an_entry(**values: object) -> dict[str, object]:
    key = {"site": SHOP, "kind": LedgerKind.DAY, "at": DAY, "class": LedgerClass.COUNTED}
    return key | {"log": "hits.1", "partition": 0, "epoch": NOON, "written": 1} | values


def entries(*rows: Mapping[str, object]) -> pl.DataFrame:
    whole = [{name: row.get(name, 0) for name in LEDGER_COLUMNS} for row in rows]
    return pl.DataFrame(whole, schema=LEDGER_COLUMNS)


P0 = PartitionId("hits.1", 0)
CHUNKS = [b"\x00one", b"", b"three" * 1_000]


def a_manifest(
    writer: int = 1, next_offset: int = 10, chunks: int = 3, partition: PartitionId = P0, logic: int = 1
) -> SnapshotManifest:
    return SnapshotManifest(partition, writer, PartitionProgress(next_offset, NOON), logic, next_offset - 5, chunks)


def save(stores: Stores, manifest: SnapshotManifest, chunks: list[bytes] | None = None) -> bool:
    position = manifest.position.next_offset
    stores.states.save_chunks(manifest.partition, manifest.writer, position, CHUNKS if chunks is None else chunks)
    return stores.states.save_manifest(manifest)
