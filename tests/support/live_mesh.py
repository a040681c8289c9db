"""Collector, processor and settler on a single store, with a clock that follows the arrival of hits.

`LiveMesh` admits reference hits with the real micro-batcher, streams with the real runner, and settles with the real
settler. `LiveMesh` also remembers each hit's log position for the reference model. No work happens in the background.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Self

from collector.admission import Frame
from collector.admission.verdicts import Outcome
from collector.batcher import MicroBatcher
from collector.classify import Classifier
from collector.micro_batch import Waiting
from collector.outcome import BatchOutcome
from collector.records import heartbeat_record
from collector.settings import CollectorSettings
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.hit_types import HitType
from hitmesh.model.logic import CURRENT, Logic
from hitmesh.model.positions import Topic
from hitmesh.model.reasons import EXCLUDING_FLAGS
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.rows.columns import HITS_COLUMNS, pack_record, unpack_record
from hitmesh.model.sites import IngestKey, KeyKind, Site, SiteDay
from hitmesh.model.zones import DAY_MS
from processor.building import stream_stores
from processor.settle.pace import SettlePace
from processor.settle.settler import Settler
from processor.stream.live.limits import PRODUCTION, Limits
from processor.stream.pace import StreamPace
from processor.stream.runner import Runner
from processor.stream.stores import StreamStores
from tests.generate.arrivals import Arrival, in_slices
from tests.generate.scenarios import HOUR, MINUTE
from tests.reference.hits import RefHit, hash64
from tests.reference.visits import V1, RefPolicy
from tests.support.clock import ManualClock
from tests.support.live_rows import ALL_DAYS, Seen, seen
from tests.support.messages import message_of, timestamp
from tests.support.small_mesh import MAX_PASSES, PARTITIONS, hit_rows, placed, settler_stores, visit_policy

BATCH_HITS = 400
BEAT_MS = MINUTE
IDLE_BEAT_MS = 10 * MINUTE
RECORD_HITS = 1_500
"""Maximum number of hits, over all partitions, that wait until the records are written."""
RECORD_MS = 8 * MINUTE
"""Maximum time for which hits wait until the records are written.

The maximum is so low that a hit with a delay of 50 minutes is still on time.
"""
CLOSES_AFTER_MS = 51 * HOUR
"""Time from a hit until its day is certainly closed.

The day ends within 24 h, and closes 26 h later. The last hour is a margin.
"""
CLOSING_BEAT_MS = 17 * HOUR  # with this pause, every heartbeat is a separate window
OUTCOME_S = 60.0
SMALLEST = Limits(
    tidy_from=1,
    tidy_ratio=0,
    spill_rows=3,
    file_rows=1,
    fan_in=2,
    filter_ids=4,
    index_bits=1,
    compared_copies=1,
    hash_bits=16,
    replay_hits=3,
    chunk_bytes=100,
)
"""Limits so small that a few hits already cause the maintenance work of large partitions."""
FOLDING = replace(SMALLEST, texts_per_hour=3)
"""The limits of SMALLEST, and a limit on texts that is so small that texts are folded (rule S10)."""
_PACE = StreamPace(flush_ms=HOUR, snapshot_ms=6 * HOUR)  # intervals are long, because the clock is simulated
_CLASSIFIED = ("channel", "source", "medium", "referrer_host", "device_type", "browser", "os")

SentKey = tuple[str, str, int, str, str | None]
"""A tuple (site, hit id, event time, type, page). Only copies with equal content have the same key."""


class LiveMesh:
    """A mesh in this process. The mesh is a context manager that releases runner and stores at exit.

    Args:
        url: store URL.
        home: directory for the runner's files.
        now: initial time of the clock in UTC ms, which must be before the first arrival.
        sites: sites to create, each with a server key that accepts hits of any age.
        policy: visit policy for all sites.
        partitions: number of partitions for hits.
        limits: limits for the runners. The sketch size also applies to the settler.
        logic: version of the logic for the runners and the settler.
    """

    def __init__(
        self,
        url: str,
        home: Path,
        now: int,
        sites: Iterable[str],
        policy: RefPolicy = V1,
        partitions: int = PARTITIONS,
        limits: Limits = PRODUCTION,
        logic: Logic = CURRENT,
    ) -> None:
        self.clock = ManualClock(now)
        self.stores: Stores = open_stores(url, self.clock, partitions={Topic.HITS: partitions, Topic.REJECTED: 1})
        self.logged: dict[str, list[RefHit]] = {site: [] for site in sites}
        for site in self.logged:
            self._make_site(site, policy)
        self._home = home
        self.limits = limits
        self.logic = logic
        self._reader = self.stores.log_reader(Topic.HITS, "test")
        self._batches = 0
        self.runner = self.a_runner()
        pace = SettlePace(resettle_after_ms=0, pass_ms=10**9, intent_ms=10)
        self.settler = Settler(settler_stores(self.stores), self.clock, pace, lg_k=limits.lg_k, logic=logic)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()
        self._reader.close()
        self.stores.close()

    def _make_site(self, site: str, policy: RefPolicy) -> None:
        directory = self.stores.directory
        merchant, _, _ = site.partition("/sites/")
        if directory.key(_key(site)) is None:
            key = IngestKey(f"key of {merchant}"[-32:], merchant, KeyKind.SERVER, unbounded_history=True)
            directory.create_key(key, _key(site))
        directory.create_site(Site(site, policy.midnight_zone, "USD", b"secret of a test", policy=visit_policy(policy)))

    def a_runner(self, stores: StreamStores | None = None) -> Runner:
        """Return a new runner that takes over the stream, on `stores` or on the mesh's own stores."""
        streamed = stores or stream_stores(self.stores)
        return Runner(streamed, self.clock, _PACE, home=self._home, limits=self.limits, logic=self.logic)

    def replay(self, sent: Iterable[Arrival]) -> None:
        """Send the hits in the order of arrival, and let the stream process each group of records."""
        for part in in_slices(sent, RECORD_HITS, RECORD_MS):
            self.advance_to(part[-1].at_ms, BEAT_MS)
            self.send(part)
            self.step()

    def send(self, part: Sequence[Arrival]) -> None:
        """Send hits at the current time of the clock, and remember their log positions."""
        frames = [self._frame(site, hits, sent_ms) for site, hits, sent_ms in _batches(part)]
        outcomes = self.admit(frames)
        refused = [issue for outcome in outcomes for issue in outcome.issues if issue.outcome != Outcome.WARNED]
        assert not refused, refused[:3]
        assert sum(outcome.accepted for outcome in outcomes) == len(part)
        self._note(arrival.hit for arrival in part)

    def admit(self, frames: Sequence[Frame]) -> list[BatchOutcome]:
        """Admit all batches in a single micro-batch. Each partition with hits gets one record."""
        settings = CollectorSettings(store="memory:", record_rows=1, linger_ms=0)
        batcher = MicroBatcher(self.stores.log, self.stores.directory, _classifier(), self.clock, settings)
        outcomes: list[Future[BatchOutcome]] = [Future() for _ in frames]
        for frame, outcome in zip(frames, outcomes, strict=True):
            batcher.submit(Waiting(frame, outcome.set_result))
        # Because the batcher starts after all batches were submitted, its thread admits all batches in a single
        # micro-batch.
        batcher.start()
        batcher.stop()
        return [outcome.result(OUTCOME_S) for outcome in outcomes]

    def append(self, hits: Sequence[RefHit], partition: int) -> None:
        """Append hits as one record without the collector.

        The rows of the record have the values of the reference's hits.
        """
        if hits:
            times = [hit.event_time for hit in hits]
            sums = checksums(hits)
            record = Record(
                RecordKind.HITS,
                pack_record(hit_rows(hits)),
                len(hits),
                min(times),
                max(times),
                self.clock.now(),
                hits=len(hits),
                sum64=sums[0],
                xor64=sums[1],
            )
            at = self.stores.log.append(Topic.HITS, partition, record).result(OUTCOME_S)
            for hit in placed(hits, at):
                self.logged[hit.site].append(hit)

    def _frame(self, site: str, hits: Sequence[RefHit], sent_ms: int) -> Frame:
        self._batches += 1
        batch = hit_pb2.HitBatch(
            batch_id=f"batch-{self._batches}",
            client_send_time=timestamp(sent_ms),
            hits=[message_of(hit) for hit in hits],
        )
        return Frame(batch.SerializeToString(), _key(site), site, self.clock.now())

    def _note(self, sent: Iterable[RefHit]) -> None:
        """Find every sent hit in the log, and remember its position and the results of admission."""
        waiting: dict[SentKey, list[RefHit]] = defaultdict(list)
        for hit in sent:
            waiting[hit.site, hit.hit_id, hit.event_time, hit.type, hit.page_path].append(hit)
        while logged := self._reader.poll(10**6, 0.0):
            for record in logged:
                for key, found in _rows_of(record):
                    hit = waiting[key].pop()
                    self.logged[hit.site].append(replace(hit, **found))  # type: ignore[arg-type]  # fields of RefHit
        lost = [hit for hits in waiting.values() for hit in hits]
        assert not lost, f"{len(lost)} acknowledged hits are not in the log, {lost[0]} among them"

    def beat(self) -> None:
        """Append a heartbeat to every partition."""
        beat = heartbeat_record("test", self.clock.now())
        log = self.stores.log
        for appended in [log.append(Topic.HITS, partition, beat) for partition in range(log.partitions(Topic.HITS))]:
            appended.result(OUTCOME_S)

    def advance_to(self, instant: int, beat_ms: int = IDLE_BEAT_MS) -> None:
        """Advance the clock to an instant.

        Until the clock reaches the instant, a heartbeat is appended every `beat_ms`.
        """
        while self.clock.now() + beat_ms < instant:
            self.clock.advance(beat_ms)
            self.beat()
        self.clock.advance(instant - self.clock.now())

    def idle(self, ms: int = 0, beat_ms: int = IDLE_BEAT_MS) -> None:
        """Advance the clock without hits, so that all partitions have the same log time. Process the log."""
        self.advance_to(self.clock.now() + ms, beat_ms)
        self.beat()
        self.step()

    def step(self) -> None:
        """Let the stream process the whole log."""
        while self.runner.step(0.0):
            pass

    def crash(self) -> Runner:
        """Replace the runner without stopping it, as after a crash, and return the old runner."""
        stopped, self.runner = self.runner, self.a_runner()
        return stopped

    def settle(self) -> None:
        """Advance the clock until every day is closed, and settle until no site-day is dirty."""
        self.idle(CLOSES_AFTER_MS, CLOSING_BEAT_MS)
        self.runner.flush()
        for _ in range(MAX_PASSES):
            self.clock.advance(1)
            if not self.stores.dirty.take(1, ALL_DAYS[1]):
                return
            self.settler.run_once()
        raise AssertionError(f"still dirty after {MAX_PASSES} passes: {self.stores.dirty.take(5, ALL_DAYS[1])}")

    def published(self) -> set[SiteDay]:
        """Return the settled site-days, which have a published entry."""
        return {SiteDay(site, day) for site in self.logged for day in self.stores.generations.current(site, *ALL_DAYS)}

    def seen(self, site: str, *days: int, stream: int | None = None) -> Seen:
        """Return all rows that reports can find for a site, on days with hits, on settled days and on `days`."""
        return seen(self.stores, site, {*days, *(hit.event_time // DAY_MS for hit in self.logged[site])}, stream)


def partition_of(hit: RefHit) -> int:
    """Return the partition for a visitor's hits, in tests without a collector (decision A4)."""
    return hash64(hit.site, hit.visitor) % PARTITIONS


def checksums(hits: Iterable[RefHit]) -> tuple[int, int]:
    """Return the sum mod 2⁶⁴ and the exclusive or of the hits' hashes (rule D5)."""
    sum64 = xor64 = 0
    for hit in hits:
        sum64, xor64 = (sum64 + hit.hit_hash) % 2**64, xor64 ^ hit.hit_hash
    return sum64, xor64


@cache
def _classifier() -> Classifier:
    return Classifier()


def _key(site: str) -> str:
    """Return the secret of the server key of the site's merchant."""
    return f"hms_key-of-{site.split('/')[1]:0>40}"


def _batches(part: Sequence[Arrival]) -> Iterator[tuple[str, list[RefHit], int]]:
    """Yield the batches in order, each as site, hits and send time.

    Hits that are sent again come last, in separate batches.
    """

    def batch(arrival: Arrival) -> tuple[int, str]:
        return arrival.attempt, arrival.hit.site

    for (_, site), group in groupby(sorted(part, key=batch), key=batch):
        sent = list(group)
        for start in range(0, len(sent), BATCH_HITS):
            hits = sent[start : start + BATCH_HITS]
            yield site, [arrival.hit for arrival in hits], hits[-1].at_ms


def _rows_of(logged: LoggedRecord) -> Iterator[tuple[SentKey, dict[str, object]]]:
    """Yield the key of each hit in a record, and the values that the log adds: position, lateness and classes."""
    if logged.record.kind != RecordKind.HITS:
        return
    log, partition, offset = logged.position
    columns = ("site", "hit_id", "event_time", "hit_type", "page_path", "flags", *_CLASSIFIED)
    rows = unpack_record(logged.record.value, {name: HITS_COLUMNS[name] for name in columns})
    for number, row in enumerate(rows.iter_rows(named=True)):
        found = {name: row[name] for name in _CLASSIFIED}
        found["position"] = (logged.log_time, log, partition, offset, number)
        found["is_late"] = logged.log_time - row["event_time"] > HOUR
        found["excluded"] = bool(row["flags"] & EXCLUDING_FLAGS)
        kind = HitType(row["hit_type"]).name
        yield (row["site"], row["hit_id"], row["event_time"], kind, row["page_path"]), found
