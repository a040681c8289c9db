"""All streams feed one micro-batcher: batches in, records out, each batch told when it is durable (decision A2).

One thread decodes and admits at once everything that arrived while a record may linger, splits the hits by partition
and appends records: a record may wait anyway, and among thousands a hit costs a fraction of what it costs among a
hundred. A batch's outcome is told only when every record with its hits, and the record with its refusals, is durable.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import polars as pl

from collector.admission import Admitted, Frame, Issue, admit, decode, read_frames
from collector.admission.batches import Answer, refused_senders
from collector.admission.envelopes import Envelope, spans_by_hits
from collector.classify import Classifier
from collector.grants import resolve
from collector.metering import CollectorMeter
from collector.outcome import RETRY_DELAY_S, BatchOutcome, retry_later
from collector.records import RecordCutter, Slice, cut_by_bytes, hits_record, partition_bounds, rejected_record
from collector.refusal_sample import RefusalSample
from collector.settings import CollectorSettings
from hitmesh.model.errors import HitmeshError, RetryError
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.records import Record
from hitmesh.ports import Clock, EventLog, SiteDirectory
from hitmesh.runtime.logs import Seldom, logger, traceback_of
from hitmesh.runtime.telemetry import Metrics, unmeasured

MICRO_BATCH_BYTES = 8 << 20
# Worth admitting without waiting for more: half the credit of a stream, so that one stream alone keeps both sides busy.
ENOUGH_BYTES = 1 << 20
IDLE_WAIT_S = 0.5

Told = Callable[[BatchOutcome], None]
Grants = Mapping[tuple[str, str], Answer]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch that waits for its outcome; `tell` is called exactly once, from any thread.

    `let_pass` is called right before admission, and raises RetryError where too much of the sender's was refused since.
    `is_over` says whether the caller has left: then the batch is not admitted.
    """

    frame: Frame
    tell: Told
    let_pass: Callable[[], None] = field(default=lambda: None)
    is_over: Callable[[], bool] = field(default=lambda: False)
    arrived_s: float = field(default_factory=time.perf_counter)

    @property
    def arrived_ms(self) -> int:
        """When it came, on the clock by which records are cut."""
        return int(self.arrived_s * 1000)


class MicroBatch:
    """Batches admitted together, and the records that still have to become durable."""

    def __init__(self, waiting: Sequence[Waiting], admitted: Admitted, records: int, meter: CollectorMeter) -> None:
        self._waiting = waiting
        self._meter = meter
        self._admitted = admitted
        self._records = records
        self._positions: list[list[LoggedPosition]] = [[] for _ in waiting]
        self._failures: dict[int, RetryError] = {}
        self._lock = threading.Lock()

    def expect(self, records: int) -> None:
        """Wait for so many more records: rows of one slice went into several."""
        with self._lock:
            self._records += records

    def durable(self, frames: Sequence[int], position: LoggedPosition | None) -> None:
        """Notes that a record with hits of these batches is durable; None for a record of refusals."""
        with self._lock:
            if position is not None:
                for frame in frames:
                    self._positions[frame].append(position)
            done = self._counted_down()
        if done:
            self._tell()

    def failed(self, frames: Sequence[int], error: RetryError) -> None:
        """Notes that a record did not become durable: nothing is promised for the batches that have rows in it."""
        with self._lock:
            self._failures.update(dict.fromkeys(frames, error))
            done = self._counted_down()
        if done:
            self._tell()

    def _counted_down(self) -> bool:
        self._records -= 1
        return self._records == 0

    def _tell(self) -> None:
        issues: list[list[Issue]] = [[] for _ in self._waiting]
        for issue in self._admitted.issues:
            issues[issue.frame].append(issue)
        rejected = _rejected_per_frame(self._admitted, len(self._waiting))
        accepted = self._admitted.accepted.tolist()
        outcomes = []
        for index in range(len(self._waiting)):
            failure = self._failures.get(index)
            if failure is not None:
                outcomes.append(retry_later("LOG_FULL", failure.message, failure.retry_after_s))
                continue
            said, positions = tuple(issues[index]), tuple(self._positions[index])
            retry_s = RETRY_DELAY_S if said and said[0].outcome == "RETRY" else None
            outcomes.append(BatchOutcome(said, positions, accepted[index], rejected[index], retry_s))
        retry_hits = sum(accepted[index] + rejected[index] for index in self._failures)
        _tell_all(self._waiting, outcomes, self._meter, retry_hits)


def _tell_all(
    waiting: Sequence[Waiting], outcomes: Sequence[BatchOutcome], meter: CollectorMeter, retry_hits: int = 0
) -> None:
    """Counts first: whoever was told finds itself counted."""
    meter.told([one.arrived_s for one in waiting], outcomes, retry_hits)
    for one, outcome in zip(waiting, outcomes, strict=True):
        one.tell(outcome)


def _rejected_per_frame(admitted: Admitted, frames: int) -> list[int]:
    counts = [0] * frames
    if admitted.rejected.height:
        for frame, hits in admitted.rejected.group_by("frame").agg(pl.col("hits").sum()).iter_rows():
            counts[frame] = hits
    return counts


class MicroBatcher:
    """Takes batches from all streams and calls; runs one thread between `start` and `stop`."""

    def __init__(
        self,
        log: EventLog,
        directory: SiteDirectory,
        classifier: Classifier,
        clock: Clock,
        settings: CollectorSettings,
        metrics: Metrics | None = None,
    ) -> None:
        self._meter = CollectorMeter(metrics or unmeasured())
        self._log = log
        self._directory = directory
        self._classifier = classifier
        self._clock = clock
        self._settings = settings
        self._seldom = Seldom(settings.complain_every_s)
        self._partitions = log.partitions(Topic.HITS)
        self._cutter: RecordCutter[MicroBatch] = RecordCutter(settings.record_rows, settings.linger_ms)
        self._sample = RefusalSample(settings.refusals_kept_a_day, settings.siteless_refusals_kept_a_day)
        self._queue: list[Waiting] = []
        self._queued_bytes = 0
        self._arrived = threading.Condition()
        self._stopping = False
        self._ended = False
        self._cause: str | None = None
        self._thread = threading.Thread(target=self._run, name="micro-batcher", daemon=True)
        self.hits_accepted = 0

    @property
    def directory(self) -> SiteDirectory:
        """Where keys and sites are looked up."""
        return self._directory

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Admits and appends what is queued, waits until it is durable, ends the thread."""
        with self._arrived:
            self._stopping = True
            self._arrived.notify()
        self._thread.join()
        self._log.flush(self._settings.drain_s)

    def failed(self) -> str | None:
        """Returns why the thread ended; None while it lives."""
        return self._cause

    def submit(self, waiting: Waiting) -> None:
        """Queues a batch; its outcome is told later."""
        with self._arrived:
            taken = not self._ended
            if taken:
                self._queue.append(waiting)
                self._queued_bytes += len(waiting.frame.batch)
                if len(self._queue) == 1 or self._queued_bytes >= ENOUGH_BYTES:
                    self._arrived.notify()
        if not taken:
            self._send_away([waiting])

    def _send_away(self, waiting: Sequence[Waiting]) -> None:
        stopping = retry_later("LOG_FULL", "the collector stops: send the batch again, to another one", 1.0)
        _tell_all(waiting, [stopping] * len(waiting), self._meter)

    def _run(self) -> None:
        try:
            self._work_until_stopped()
        except BaseException as error:  # the process must end, and until then take no batch that it cannot keep
            self._cause = f"the micro-batcher's thread ended: {type(error).__name__}"
            with self._arrived:
                self._ended = True
                left, self._queue, self._queued_bytes = self._queue, [], 0
            logger().error("micro_batcher_failed", traceback=traceback_of(error))
            self._send_away(left)

    def _work_until_stopped(self) -> None:
        while True:
            last_round = self._stopping  # read once: what this round leaves gathered, the next one must cut
            waiting = self._take()
            if waiting:
                self._admit(waiting)
            for partition, slices in self._cutter.due(_monotonic_ms(), everything=last_round):
                self._append_hits(partition, slices)
            with self._arrived:
                if last_round and not self._queue:
                    self._ended = True
                    return

    def _take(self) -> list[Waiting]:
        """Returns what is to be admitted now: once it is enough, or it or a record has lingered."""
        with self._arrived:
            while not self._stopping and (wait_s := self._wait_s()) > 0:
                self._arrived.wait(wait_s)
            ends = itertools.accumulate(len(one.frame.batch) for one in self._queue)
            fitting = sum(1 for end in ends if end <= MICRO_BATCH_BYTES) or min(1, len(self._queue))
            taken, self._queue = self._queue[:fitting], self._queue[fitting:]
            self._queued_bytes -= sum(len(one.frame.batch) for one in taken)
        return taken

    def _wait_s(self) -> float:
        if self._queued_bytes >= ENOUGH_BYTES:
            return 0.0
        now_ms = _monotonic_ms()
        waits_ms = [self._settings.linger_ms - (now_ms - one.arrived_ms) for one in self._queue[:1]]
        cutter_ms = self._cutter.wait_ms(now_ms)
        if cutter_ms is not None:
            waits_ms.append(cutter_ms)
        return min(waits_ms) / 1000 if waits_ms else IDLE_WAIT_S

    def _admit(self, queued: Sequence[Waiting]) -> None:
        waiting = [one for one in queued if self._is_awaited(one)]
        frames = [one.frame for one in waiting]
        try:
            envelopes, senders = read_frames(frames)
            grants = resolve(senders, self._directory)
        except BaseException as error:
            self._not_admitted(waiting, error)
            return
        for start, end in spans_by_hits(envelopes, self._settings.micro_batch_hits, refused_senders(grants)):
            passing = [number for number in range(start, end) if self._passes(waiting[number])]
            if passing:
                self._admit_part([(waiting[number], envelopes[number]) for number in passing], grants)

    def _is_awaited(self, one: Waiting) -> bool:
        if one.is_over():
            _tell_all(
                [one], [retry_later("LOG_FULL", "the caller left: send the batch again", RETRY_DELAY_S)], self._meter
            )
            return False
        return True

    def _passes(self, one: Waiting) -> bool:
        try:
            one.let_pass()
        except RetryError as error:
            _tell_all([one], [retry_later("QUOTA", error.message, error.retry_after_s)], self._meter)
            return False
        return self._is_awaited(one)

    def _admit_part(self, part: Sequence[tuple[Waiting, Envelope]], grants: Grants) -> None:
        waiting = [one for one, _ in part]
        frames = [one.frame for one in waiting]
        try:
            admitted = self._admitted(frames, [envelope for _, envelope in part], grants)
        except BaseException as error:
            self._not_admitted(waiting, error)
        else:
            self._meter.admitted(frames, admitted)
            self._split(waiting, admitted)

    def _not_admitted(self, waiting: Sequence[Waiting], error: BaseException) -> None:
        """Tell batches to come again; called where the error is caught."""
        if isinstance(error, RetryError):
            self._complain(error, len(waiting))
            again = retry_later("LOG_FULL", error.message, error.retry_after_s)
            _tell_all(waiting, [again] * len(waiting), self._meter)
        elif len(waiting) > 1:
            # A bug in admission, or a panic, must cost the batch that shows it, not its neighbours.
            for one in waiting:
                self._admit([one])
        else:
            logger().exception("batch_not_admitted", bytes=len(waiting[0].frame.batch))
            broken = retry_later("DECODE", "the batch could not be processed; the cause is in the server's log", 60)
            _tell_all(waiting, [broken], self._meter)

    def _admitted(self, frames: Sequence[Frame], envelopes: Sequence[Envelope], grants: Grants) -> Admitted:
        return admit(
            decode(frames, envelopes, grants),
            grants,
            self._classifier,
            now=self._clock.now(),
            partitions=self._partitions,
            salt_of=self._directory.salt,
            random_id=lambda: secrets.token_hex(8),
        )

    def _split(self, waiting: Sequence[Waiting], admitted: Admitted) -> None:
        now, since_ms = self._clock.now(), waiting[0].arrived_ms
        bounds = partition_bounds(admitted.hits)
        micro_batch = MicroBatch(waiting, admitted, len(bounds) + 1, self._meter)
        for partition, start, end in bounds:
            self._cutter.add(partition, Slice(admitted.hits.slice(start, end - start), micro_batch), since_ms)
        self.hits_accepted += admitted.hits.height
        if admitted.rejected.height:
            rows = self._sample.thinned(admitted.rejected, now)
            summed = () if rows is admitted.rejected else tuple(admitted.rejected["frame"].unique().to_list())
            refused = [Slice(rows, micro_batch, summed)]
            self._append(Topic.REJECTED, 0, refused, lambda rows: rejected_record(rows, self._settings.node, now))
        else:
            micro_batch.durable((), None)

    def _append_hits(self, partition: int, slices: Sequence[Slice[MicroBatch]]) -> None:
        node, classes = self._settings.node, self._classifier.version
        self._append(Topic.HITS, partition, slices, lambda rows: hits_record(rows, node, classes))

    def _append(
        self,
        topic: Topic,
        partition: int,
        slices: Sequence[Slice[MicroBatch]],
        record_of: Callable[[pl.DataFrame], Record],
    ) -> None:
        """Append slices as records of bounded size. An error costs the batches that have rows in it, no others."""
        try:
            records = list(cut_by_bytes(slices, self._settings.record_bytes, record_of))
        except BaseException as error:
            logger().exception("record_not_made", topic=topic.value, error=type(error).__name__)
            for part in slices:
                part.owner.failed(part.frames, RetryError("the record could not be made; the cause is in the log"))
            return
        expected = Counter(id(part.owner) for parts, _ in records for part in parts)
        for part in slices:
            part.owner.expect(expected[id(part.owner)] - 1)
        for parts, record in records:
            self._follow(topic, self._log_append(topic, partition, record), parts)

    def _log_append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        try:
            return self._log.append(topic, partition, record)
        except BaseException as error:  # whatever it is, other records must go on
            if not isinstance(error, RetryError) and self._seldom.due("record_not_appended"):
                logger().exception("record_not_appended", topic=topic.value, rows=record.rows, bytes=len(record.value))
            failed: Future[LoggedPosition] = Future()
            failed.set_exception(error)
            return failed

    def _follow(self, topic: Topic, appended: Future[LoggedPosition], parts: Sequence[Slice[MicroBatch]]) -> None:
        def resolved(future: Future[LoggedPosition]) -> None:
            error = future.exception()
            self._meter.appended(topic, error)
            if error is not None:
                self._complain(error, sum(len(part.frames) for part in parts))
            for part in parts:
                if error is None:
                    position = future.result() if topic is Topic.HITS else None
                    part.owner.durable(part.frames, position)
                else:
                    cause = error if isinstance(error, RetryError) else RetryError(f"the log failed: {error}")
                    part.owner.failed(part.frames, cause)

        appended.add_done_callback(resolved)

    def _complain(self, error: BaseException, batches: int) -> None:
        """Log why batches are not taken: one line in a while for each reason, which says how many it stands for."""
        known = isinstance(error, HitmeshError)
        reason = error.reason if isinstance(error, HitmeshError) else type(error).__name__
        count = self._seldom.due(reason, batches)
        if count:
            cause = str(error) if known else "an unexpected error; see record_not_appended"
            logger().error("batches_not_taken", reason=reason, cause=cause, batches=count)


def _monotonic_ms() -> int:
    """Returns a time by which records are cut, whatever happens to the clock of the machine."""
    return int(time.perf_counter() * 1000)
