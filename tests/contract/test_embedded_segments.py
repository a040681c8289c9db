"""Test the embedded store's segments: few files, bounded memory, and errors that name a damaged file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hitmesh.adapters.embedded import sink as sink_module
from hitmesh.adapters.embedded.metrics import EmbeddedMetricStore, SegmentColumns
from hitmesh.adapters.embedded.raw_schema import RAW_SCHEMA
from hitmesh.adapters.embedded.schema import SETTLED_SCHEMA
from hitmesh.adapters.embedded.segments import Segments
from hitmesh.adapters.embedded.sink import MAX_FILES, EmbeddedRollupSink
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.embedded.stream_rows import StreamRows
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.errors import StoreCorrupt, Unavailable
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from tests.contract.doomed_writer import NOON, SHOP
from tests.support.clock import ManualClock
from tests.support.stored_rows import DAY, START, a_row, ask, frame, write

REPOSITORY = Path(__file__).parents[2]


def opened(home: Path, clock: ManualClock | None = None) -> Stores:
    return open_stores(f"embedded:{home}", clock or ManualClock(NOON))


def files_of(home: Path) -> set[str]:
    return {path.name for path in (home / "segments").iterdir()}


class TestSegments:
    def test_small_files_are_merged(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        for n in range(100):
            write(stores, a_row(cell=96 * n, day=DAY + n, hits=1))
            assert len(files_of(tmp_path)) <= MAX_FILES
        generations = {SiteDay(SHOP, DAY + n): 1 for n in range(100)}
        assert ask(stores, generations=generations, end=START + 100 * 86_400_000)["hits"].to_list() == [100]
        stores.close()

    def test_memory_for_merging_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sink_module, "MAX_MERGED_ROWS", 10)
        stores = opened(tmp_path)
        for n in range(40):
            write(stores, *(a_row(cell=96 * n, day=DAY + n, page_path=f"/{page}", hits=1) for page in range(3)))
        assert len(files_of(tmp_path)) < 40 - 16
        generations = {SiteDay(SHOP, DAY + n): 1 for n in range(40)}
        assert ask(stores, generations=generations, end=START + 40 * 86_400_000)["hits"].to_list() == [120]
        database = Database(tmp_path / "settled.db", SETTLED_SCHEMA)
        sizes: dict[str, int] = {}
        for file_slice in Segments(tmp_path / "segments", database).of_site(SHOP, RowSource.TRAFFIC):
            sizes[file_slice.file] = sizes.get(file_slice.file, 0) + file_slice.rows
        assert max(sizes.values()) <= 10
        database.close()
        stores.close()

    def test_small_sites_share_a_file_until_their_rows_are_merged_or_dropped(self, tmp_path: Path) -> None:
        stores, others = opened(tmp_path), [f"merchants/m/sites/other-{number}" for number in range(50)]
        write(stores, *(a_row(site=site, hits=1) for site in (SHOP, *others)))
        assert len(files_of(tmp_path)) == 1
        for n in range(1, MAX_FILES + 1):
            write(stores, a_row(cell=96 * n, day=DAY + n, hits=1))
        stores.sink.drop([(SiteDay(others[0], DAY), 1)])
        database = Database(tmp_path / "settled.db", SETTLED_SCHEMA)
        segments = Segments(tmp_path / "segments", database)
        (shared,) = {file_slice.file for file_slice in segments.of_site(others[1], RowSource.TRAFFIC)}
        assert shared not in {file_slice.file for file_slice in segments.of_site(SHOP, RowSource.TRAFFIC)}
        assert segments.of_site(others[0], RowSource.TRAFFIC) == []
        days = {SiteDay(SHOP, DAY + n): 1 for n in range(MAX_FILES + 1)}
        assert ask(stores, generations=days, end=START + 100 * 86_400_000)["hits"].to_list() == [MAX_FILES + 1]
        assert ask(stores, generations={SiteDay(others[9], DAY): 1})["hits"].to_list() == [1]
        stores.sink.drop([(SiteDay(site, DAY), 1) for site in others])
        assert shared not in files_of(tmp_path)
        database.close()
        stores.close()

    def test_merging_leaves_dropped_rows_behind(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        for n in range(3 * MAX_FILES):
            write(stores, a_row(hits=1, generation=n + 1), a_row(hits=2, generation=1_000 + n))
            stores.sink.drop([(SiteDay(SHOP, DAY), n + 1)])
        generations = {SiteDay(SHOP, DAY): 1_002}
        assert ask(stores, generations=generations)["hits"].to_list() == [2]
        database = Database(tmp_path / "settled.db", SETTLED_SCHEMA)
        slices = Segments(tmp_path / "segments", database).of_site(SHOP, RowSource.TRAFFIC)
        assert len(slices) == 3 * MAX_FILES
        database.close()
        stores.close()

    def test_file_is_deleted_when_its_last_rows_are_dropped(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        write(stores, a_row(hits=1), a_row(hits=2, generation=2))
        stores.sink.drop([(SiteDay(SHOP, DAY), 1)])
        assert len(files_of(tmp_path)) == 1
        stores.sink.drop([(SiteDay(SHOP, DAY), 2)])
        assert files_of(tmp_path) == set()
        stores.close()

    def test_files_that_a_crash_left_are_swept_once_they_are_old(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        write(stores, a_row(hits=1))
        stores.close()
        kept = files_of(tmp_path)
        for name, age_s in (("old.parquet", 3_600), ("old.parquet.tmp", 3_600), ("new.parquet.tmp", 60)):
            path = tmp_path / "segments" / name
            path.write_bytes(b"half")
            os.utime(path, (NOON / 1_000 - age_s,) * 2)
        for name in kept:
            os.utime(tmp_path / "segments" / name, (NOON / 1_000 - 3_600,) * 2)
        stores = opened(tmp_path)
        write(stores, a_row(hits=2, generation=2))
        assert kept | {"new.parquet.tmp"} < files_of(tmp_path)
        assert not {"old.parquet", "old.parquet.tmp"} & files_of(tmp_path)
        stores.close()

    def test_reader_survives_a_merge_between_manifest_and_file(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "settled.db", SETTLED_SCHEMA)

        class MergedMeanwhile(Segments):
            """Segments for a test of concurrent merges.

            Right after each of the first two reads of the manifest, all files are merged.
            """

            merges = 2

            def named(self, *arguments: object) -> list:  # type: ignore[type-arg]  # passes its arguments on
                found = super().named(*arguments)  # type: ignore[arg-type]  # as above
                if self.merges:
                    self.merges -= 1
                    slices = self.of_site(SHOP, RowSource.TRAFFIC)
                    rows = self.read(slices[0].file, ["site", "cell", "excluded", "hits"])
                    file = self.save(rows, RowSource.TRAFFIC)
                    merged = [row_slice._replace(file=file, first_row=0) for row_slice in slices]
                    assert self.replace(slices, merged)
                return found

        segments = MergedMeanwhile(tmp_path / "segments", database)
        sink = EmbeddedRollupSink(segments, ManualClock(NOON))
        sink.write(frame(RowSource.TRAFFIC, a_row(hits=7)), frame(RowSource.VISITS))
        question = MetricQuery(
            RowSource.TRAFFIC, {SiteDay(SHOP, DAY): 1}, START, START + 1, (START,), measures=("hits",)
        )
        raw = Database(tmp_path / "raw.db", RAW_SCHEMA)
        stores = opened(tmp_path)
        store = EmbeddedMetricStore(segments, StreamRows(raw), stores.progress)
        assert store.query(question)["hits"].to_list() == [7]
        segments.merges = 99
        with pytest.raises(Unavailable):
            EmbeddedMetricStore(segments, StreamRows(raw), stores.progress).query(question)
        stores.close()
        database.close()
        raw.close()

    def test_kept_columns_are_bounded_by_bytes(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        write(stores, *[a_row(hits=n, page_path=f"/{n}" * 20) for n in range(1_000)])
        database = Database(tmp_path / "settled.db", SETTLED_SCHEMA)
        segments = Segments(tmp_path / "segments", database)
        (file,) = {row_slice.file for row_slice in segments.of_site(SHOP, RowSource.TRAFFIC)}
        columns = SegmentColumns(segments, max_bytes=20_000)
        for name in ("hits", "cell", "events", "page_path", "hits"):
            assert columns.of(file, [name]).height == 1_000
        (tmp_path / "segments" / file).unlink()
        assert columns.of(file, ["hits", "events"]).height == 1_000
        with pytest.raises(FileNotFoundError):
            columns.of(file, ["page_path"])
        database.close()
        stores.close()

    def test_damaged_segment_is_named(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        write(stores, a_row(hits=1))
        (file,) = files_of(tmp_path)
        (tmp_path / "segments" / file).write_bytes(b"not parquet at all")
        with pytest.raises(StoreCorrupt, match=file):
            ask(stores)
        stores.close()

    def test_damaged_segment_is_needed_no_more_when_its_day_is_settled_again(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        write(stores, a_row(hits=1))
        (file,) = files_of(tmp_path)
        (tmp_path / "segments" / file).write_bytes(b"not parquet at all")
        write(stores, a_row(hits=2, generation=2))
        answer = ask(stores, generations={SiteDay(SHOP, DAY): 2})
        assert answer["hits"].to_list() == [2]
        stores.close()
