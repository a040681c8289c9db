"""Contract tests for the ports Streams (the table of streams) and OneStream: two streams share no value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import Fenced
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.streams import Stream, StreamTable
from tests.support.opened import NOON, Opener
from tests.support.stored_rows import DAY, SHOP
from tests.support.stream_builders import CHUNKS, P0, a_manifest, a_partial, partials, save

STREAM = Stream(-1, first_day=DAY, starts={PartitionId("hits-1", 3): 7}, logic="v1", replaces="v0")


class TestStreams:
    def test_table_comes_back_as_stored(self, opener: Opener) -> None:
        assert opener().streams.read() == StreamTable()
        table = StreamTable().started(STREAM, NOON)
        assert opener().streams.replace(table)
        stopped = table.stopped({PartitionId("hits-1", 0): 9})
        assert opener().streams.replace(stopped)
        assert opener().streams.read() == stopped
        ended = stopped.ended(NOON + 1)
        assert opener().streams.replace(ended)
        assert opener().streams.read() == ended

    def test_only_the_following_version_replaces_a_table(self, stores: Stores) -> None:
        first = StreamTable().started(STREAM, NOON)
        other = StreamTable().started(replace(STREAM, logic="v0"), NOON)
        assert stores.streams.replace(first)
        assert not stores.streams.replace(other)
        assert stores.streams.replace(first), "a repeated call finds the table"
        assert stores.streams.replace(first.ended(NOON))
        assert not stores.streams.replace(first)
        assert stores.streams.read() == first.ended(NOON)


class TestOneStream:
    def test_flushed_positions_and_snapshots_are_separate(self, stores: Stores) -> None:
        first, shadow = (stores.stream(generation, is_shadow=generation < 0) for generation in (0, -1))
        first.series.note_flushed({P0: PartitionProgress(9, NOON)})
        shadow.series.note_flushed({P0: PartitionProgress(4, NOON - 1)})
        assert stores.series.flushed() == first.series.flushed() == {P0: PartitionProgress(9, NOON)}
        assert shadow.series.flushed() == {P0: PartitionProgress(4, NOON - 1)}
        manifest = replace(a_manifest(), partition=PartitionId(stores.log.log_id(Topic.HITS), 0))
        shadow.states.save_chunks(manifest.partition, manifest.writer, manifest.position.next_offset, CHUNKS)
        assert shadow.states.save_manifest(manifest)
        assert shadow.states.load(manifest.partition, manifest.logic_version) == (manifest, CHUNKS)
        assert first.states.load(manifest.partition, manifest.logic_version) is None
        save(stores, manifest)
        shadow.forget()
        assert shadow.series.flushed() == {}
        assert shadow.states.load(manifest.partition, manifest.logic_version) is None
        assert first.states.load(manifest.partition, manifest.logic_version) is not None

    def test_partials_have_the_generation_of_their_stream(self, stores: Stores) -> None:
        stores.series.put_partials(partials(a_partial(hits=5)))
        stores.stream(-1, is_shadow=True).series.put_partials(partials(a_partial(hits=3, generation=-1)))
        found = [stores.series.read(SHOP, DAY, DAY + 1, generation)["hits"].to_list() for generation in (0, -1)]
        assert found == [[5], [3]]

    def test_positions_of_a_shadow_are_those_of_its_group(self, stores: Stores) -> None:
        shadow = stores.stream(-1, is_shadow=True)
        (partition, *_) = stores.progress.progress(Topic.HITS)
        writer = shadow.outbox.take_over()
        shadow.outbox.transaction(writer, [], {partition: PartitionProgress(3, NOON)})
        assert shadow.progress.progress(Topic.HITS)[partition] == PartitionProgress(3, NOON)
        assert stores.progress.progress(Topic.HITS)[partition] == PartitionProgress(0, 0)
        shadow.forget_positions()
        assert shadow.progress.progress(Topic.HITS)[partition] == PartitionProgress(0, 0)

    def test_the_removal_of_a_stream_fences_no_writer_of_the_live_stream(self, stores: Stores) -> None:
        (partition, *_) = stores.progress.progress(Topic.HITS)
        live = stores.stream(-1, is_shadow=False).outbox
        writer = live.take_over()
        live.transaction(writer, [], {partition: PartitionProgress(3, NOON)})
        stores.stream(0, is_shadow=True).outbox.take_over()
        live.transaction(writer, [], {partition: PartitionProgress(4, NOON)})
        assert stores.progress.progress(Topic.HITS)[partition] == PartitionProgress(4, NOON)

    def test_a_stream_is_begun_by_a_single_writer(self, opener: Opener) -> None:
        first, second = (opener().stream(-1, is_shadow=True).beginning for _ in range(2))
        (partition, *_) = opener().progress.progress(Topic.HITS)
        late = first.take_over()
        second.transaction(second.take_over(), [], {partition: PartitionProgress(7, 0)})
        with pytest.raises(Fenced):
            first.transaction(late, [], {partition: PartitionProgress(8, 0)})
        first.transaction(first.take_over(), [], {partition: PartitionProgress(3, 0)})
        assert opener().stream(-1, is_shadow=True).progress.progress(Topic.HITS)[partition].next_offset == 7


@pytest.mark.parametrize("day", [DAY - 1, DAY])
def test_an_adopted_stream_has_the_days_from_its_first_on(day: int) -> None:
    assert StreamTable(adopted=(STREAM,)).generation(day) == (-1 if day >= DAY else 0)
