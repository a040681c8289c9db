"""Calls that misuse the ports and their values."""

from __future__ import annotations

from collections.abc import Mapping

from hitmesh.adapters.factory import Stores
from hitmesh.model.generations import DirtyMark, GenerationEntry
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.records import Record, RecordKind
from hitmesh.model.reprocessings import GenerationVersion, Rebuilt, Reprocessing
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.ports import (
    Clock,
    EventLog,
    Generations,
    LogReader,
    MetricStore,
    RawStore,
    Reprocessings,
    SiteDirectory,
)
from tests.support.clock import ManualClock


def a_topic_is_no_string(log: EventLog, record: Record) -> None:
    log.append(Topic.HITS, 0, record)
    log.append("hits", 0, record)  # type: ignore[arg-type]


def only_a_record_is_appended(log: EventLog) -> None:
    log.append(Topic.HITS, 0, b"bytes")  # type: ignore[arg-type]


def an_append_is_not_yet_a_position(log: EventLog, record: Record) -> None:
    log.append(Topic.HITS, 0, record).result().log_time.bit_length()
    _ = log.append(Topic.HITS, 0, record).log_time  # type: ignore[attr-defined]


def a_partition_is_named_with_its_log(reader: LogReader, done: PartitionProgress) -> None:
    reader.commit({PartitionId("log-1", 3): done})
    reader.commit({"log-1": done})  # type: ignore[dict-item]
    reader.commit({3: done})  # type: ignore[dict-item]


def a_bare_tuple_is_no_position() -> Position:
    return ("log-1", 3, 41)  # type: ignore[return-value]


def progress_is_more_than_an_offset(reader: LogReader) -> None:
    reader.commit({PartitionId("log-1", 3): 41})  # type: ignore[dict-item]


def committed_positions_cannot_be_changed(reader: LogReader, done: PartitionProgress) -> None:
    reader.committed()[PartitionId("log-1", 3)] = done  # type: ignore[index]


def a_day_is_a_number_of_days(raw: RawStore) -> None:
    raw.scan("merchants/m/sites/s", 20_000, 20_001)
    raw.scan("merchants/m/sites/s", "2024-10-04", "2024-10-05")  # type: ignore[arg-type]


def a_missing_site_must_be_handled(directory: SiteDirectory) -> str:
    return directory.site("merchants/m/sites/s").time_zone  # type: ignore[union-attr]


def a_mark_names_a_site_day() -> DirtyMark:
    return DirtyMark("merchants/m/sites/s", Position("log-1", 3, 41), 0)  # type: ignore[arg-type]


def values_that_cross_a_port_are_frozen(entry: GenerationEntry, record: Record) -> None:
    entry.sequence = 2  # type: ignore[misc]
    record.kind = RecordKind.END  # type: ignore[misc]


def publishing_requires_the_state_that_was_read(generations: Generations, site_day: SiteDay) -> None:
    generations.publish(site_day, 1, logic_version=1, now=0)  # type: ignore[call-arg]


def a_generation_is_restored_from_its_version(
    generations: Generations, site_day: SiteDay, version: GenerationVersion
) -> None:
    generations.restore(site_day, version, seen_sequence=1, now=0, keep_until=1)
    generations.restore(site_day, 1, seen_sequence=1, now=0, keep_until=1)  # type: ignore[arg-type]
    generations.restore(site_day, version, seen_sequence=1, now=0)  # type: ignore[call-arg]


def recomputed_site_days_belong_to_a_reprocessing(
    reprocessings: Reprocessings, reprocessing: Reprocessing, rebuilt: Rebuilt
) -> None:
    reprocessings.put(reprocessing.id, [rebuilt])
    reprocessings.put(reprocessing, [rebuilt])  # type: ignore[arg-type]


def a_question_names_one_of_the_two_row_sources(metrics: MetricStore, read: Mapping[SiteDay, int]) -> None:
    metrics.query(MetricQuery(RowSource.VISITS, read, 0, 1, (0,)))
    metrics.query(MetricQuery("visits", read, 0, 1, (0,)))  # type: ignore[arg-type]


def a_clock_gives_milliseconds(stores: Stores) -> None:
    class Seconds:
        def now(self) -> float:
            return 1.5

    right: Clock = ManualClock(0)
    wrong: Clock = Seconds()  # type: ignore[assignment]
    del right, wrong, stores
