"""Contract tests for the port Outbox, and for the way from the commit of rows to answers with these rows.

A store may take seconds until its answers contain committed rows. Tests that read rows therefore write them with
`commit`, which waits until answers contain the rows.
"""

from __future__ import annotations

import threading

import polars as pl
import pytest

from hitmesh.adapters.factory import PROCESSOR_GROUP, Stores
from hitmesh.model.errors import Fenced, PartitionsMoved
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import Record, RecordKind
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.stream_values import FoldedRows
from tests.support.opened import NOON, Opener
from tests.support.stored_rows import a_row
from tests.support.stream_builders import (
    a_partition,
    await_answers,
    commit,
    live,
    signed,
    some_rows,
    transact,
)


class TestOutbox:
    def test_every_declared_partition_starts_with_committed_progress_zero(self, stores: Stores) -> None:
        committed = stores.outbox.committed()
        assert set(committed) == {
            *(a_partition(stores, number) for number in range(4)),
            a_partition(stores, 0, Topic.REJECTED),
        }
        assert set(committed.values()) == {PartitionProgress(0, 0)}

    def test_rows_and_positions_are_seen_by_everyone(self, opener: Opener) -> None:
        stores = opener()
        positions = {
            a_partition(stores, 2): PartitionProgress(7, 70),
            a_partition(stores, 0, Topic.REJECTED): PartitionProgress(3, 30),
        }
        for _ in range(3):  # the committed offset must exist, because a reader resumes there
            stores.log.append(Topic.REJECTED, 0, Record(RecordKind.REJECTED, b"refused")).result(5)
        rows = some_rows(stores, a_row(hits=5), partition=2)
        stores.outbox.transaction(stores.outbox.take_over(), [rows], positions)
        await_answers(stores)
        other = opener()
        assert live(other)["hits"].to_list() == [5]
        assert {key: other.outbox.committed()[key] for key in positions} == positions
        assert other.progress.progress(Topic.HITS)[a_partition(stores, 2)] == PartitionProgress(7, 70)
        assert other.log_reader(Topic.REJECTED, PROCESSOR_GROUP).committed() == {
            a_partition(stores, 0, Topic.REJECTED): PartitionProgress(3, 30)
        }

    def test_positions_never_move_back(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        for next_offset, log_time in ((5, 50), (3, 30), (5, 60), (4, 99)):
            progress = PartitionProgress(next_offset, log_time)
            stores.outbox.transaction(writer, [], {a_partition(stores): progress})
        assert stores.outbox.committed()[a_partition(stores)] == PartitionProgress(5, 60)
        commit(stores, writer, a_row(hits=1), next_offset=6)
        for next_offset in (6, 5, 1):
            with pytest.raises(PartitionsMoved, match=f"committed at 6, but .* ends at {next_offset}"):
                transact(stores, writer, a_row(hits=10), next_offset=next_offset)
        assert stores.outbox.committed()[a_partition(stores)] == PartitionProgress(6, NOON)
        commit(stores, writer, a_row(hits=100), next_offset=7)
        assert live(stores)["hits"].to_list() == [101]

    def test_position_that_is_not_ahead_refuses_the_rows_of_all_partitions(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        rejected = a_partition(stores, 0, Topic.REJECTED)
        stores.outbox.transaction(writer, [], {rejected: PartitionProgress(3, NOON)})
        commit(stores, writer, a_row(hits=1))
        for behind in (a_partition(stores), rejected):
            before = stores.outbox.committed()
            positions = {a_partition(stores, number): PartitionProgress(9, NOON) for number in (1, 2)}
            rows = [some_rows(stores, a_row(hits=10), partition=number) for number in (1, 2)]
            with pytest.raises(PartitionsMoved):
                stores.outbox.transaction(writer, rows, {**positions, behind: before[behind]})
            assert stores.outbox.committed() == before
        commit(stores, writer, a_row(hits=100))
        assert live(stores)["hits"].to_list() == [101]

    def test_rows_without_the_position_of_their_partition_are_refused(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        for positions in ({}, {a_partition(stores, 1): PartitionProgress(1, NOON)}):
            with pytest.raises(ValueError, match="without a position"):
                stores.outbox.transaction(writer, [some_rows(stores, a_row(hits=1))], positions)
        assert set(stores.outbox.committed().values()) == {PartitionProgress(0, 0)}
        assert len(live(stores)) == 0

    def test_every_writer_has_a_greater_number_than_those_before(self, opener: Opener) -> None:
        numbers = [opener().outbox.take_over() for _ in range(4)]
        assert numbers == sorted(set(numbers))

    def test_fenced_writer_writes_nothing(self, opener: Opener) -> None:
        old, new = opener(), opener()
        zombie, writer = old.outbox.take_over(), new.outbox.take_over()
        with pytest.raises(Fenced):
            commit(old, zombie, a_row(hits=1), next_offset=9)
        assert len(live(new)) == 0
        assert set(new.outbox.committed().values()) == {PartitionProgress(0, 0)}
        commit(new, writer, a_row(hits=2), next_offset=4)
        with pytest.raises(Fenced):
            commit(old, zombie, a_row(hits=1), next_offset=9)
        assert live(old)["hits"].to_list() == [2]
        assert old.outbox.committed()[a_partition(old)].next_offset == 4

    def test_writer_that_never_took_over_is_fenced(self, stores: Stores) -> None:
        with pytest.raises(Fenced):
            commit(stores, stores.outbox.take_over() + 1)

    def test_committed_progress_is_known_after_pending_transactions_are_resolved(self, opener: Opener) -> None:
        stores = opener()
        writer = stores.outbox.take_over()
        stores.outbox.resolve(writer)
        transact(stores, writer, a_row(hits=1), next_offset=3)
        for _ in range(2):
            stores.outbox.resolve(writer)
            assert opener().outbox.committed()[a_partition(stores)] == PartitionProgress(3, NOON)
        transact(stores, writer, a_row(hits=1), next_offset=4)
        assert stores.outbox.committed()[a_partition(stores)].next_offset == 4

    def test_fenced_writer_cannot_resolve_pending_transactions(self, opener: Opener) -> None:
        old, new = opener(), opener()
        zombie, writer = old.outbox.take_over(), new.outbox.take_over()
        with pytest.raises(Fenced):
            old.outbox.resolve(zombie)
        with pytest.raises(Fenced):
            new.outbox.resolve(writer + 1)
        new.outbox.resolve(writer)

    def test_position_of_another_log_refuses_the_whole_transaction(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        positions = {a_partition(stores): PartitionProgress(1, 1), PartitionId("hits.gone", 0): PartitionProgress(1, 1)}
        with pytest.raises(ValueError, match=r"hits\.gone"):
            stores.outbox.transaction(writer, [some_rows(stores, a_row(hits=1))], positions)
        assert len(live(stores)) == 0
        assert stores.outbox.committed()[a_partition(stores)] == PartitionProgress(0, 0)

    def test_rows_of_a_settlement_are_refused(self, stores: Stores) -> None:
        settled = signed(RowSource.TRAFFIC, a_row(hits=1)).with_columns(generation=pl.lit(3, pl.Int64))
        rows = FoldedRows(a_partition(stores), settled, signed(RowSource.VISITS))
        with pytest.raises(ValueError, match="generation"):
            stores.outbox.transaction(
                stores.outbox.take_over(), [rows], {a_partition(stores): PartitionProgress(1, NOON)}
            )
        assert len(live(stores)) == 0


class TestIngestedThrough:
    def test_every_declared_partition_of_hits_starts_with_ingested_progress_zero(self, stores: Stores) -> None:
        through = stores.metrics.ingested_through()
        assert dict(through) == {a_partition(stores, number): PartitionProgress(0, 0) for number in range(4)}

    def test_committed_rows_and_positions_are_in_the_answers_of_every_reader(self, opener: Opener) -> None:
        stores, other = opener(), opener()
        positions = {a_partition(stores, number): PartitionProgress(7 + number, NOON + number) for number in (0, 3)}
        rows = [some_rows(stores, a_row(hits=10**number), partition=number) for number in (0, 3)]
        stores.outbox.transaction(stores.outbox.take_over(), rows, positions)
        for reader in (stores, other):
            await_answers(reader)
            nothing = {a_partition(stores, number): PartitionProgress(0, 0) for number in (1, 2)}
            assert dict(reader.metrics.ingested_through()) == positions | nothing
            assert live(reader)["hits"].to_list() == [1_001]

    def test_positions_without_rows_and_of_refusals_alone_get_through(self, stores: Stores) -> None:
        writer = stores.outbox.take_over()
        rejected = {a_partition(stores, 0, Topic.REJECTED): PartitionProgress(5, NOON)}
        stores.outbox.transaction(writer, [], rejected)
        stores.outbox.transaction(writer, [], {a_partition(stores, 1): PartitionProgress(2, NOON)} | rejected)
        await_answers(stores)
        through = stores.metrics.ingested_through()
        assert through[a_partition(stores, 1)] == PartitionProgress(2, NOON)
        assert through.keys() == {a_partition(stores, number) for number in range(4)}

    def test_rows_are_in_answers_no_later_than_their_position(self, opener: Opener) -> None:
        stores, reader = opener(), opener()
        writer, total = stores.outbox.take_over(), 40

        def write() -> None:
            for number in range(1, total + 1):
                transact(stores, writer, a_row(cell=number % 9, hits=1), next_offset=number)

        thread = threading.Thread(target=write)
        thread.start()
        seen = 0
        while seen < total:
            seen = reader.metrics.ingested_through()[a_partition(stores)].next_offset
            assert live(reader)["hits"].sum() >= seen
            assert reader.outbox.committed()[a_partition(stores)].next_offset >= seen
        thread.join()
