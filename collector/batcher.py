"""Admits the batches of all streams and calls together, appends records, and reports outcomes (architecture A2).

A single thread decodes and admits all batches that arrived within the linger time. The thread then splits the hits by
partition and appends records. Waiting for more batches adds no delay, because each record waits for the linger time
anyway. In a micro-batch of thousands of hits, a hit costs much less CPU time than in a micro-batch of a hundred hits. A
batch's outcome is reported when all records that contain the batch's hits or refusals are durable.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import polars as pl
from opentelemetry.trace import Span

from collector.admission import Admitted, Frame, Grant, admit, decode
from collector.admission.batches import Answer, refused_senders
from collector.admission.envelopes import Envelope, spans_by_hits
from collector.broken_rules import BrokenRules
from collector.classify import Classifier
from collector.hit_quotas import HitQuotas
from collector.metering import CollectorMeter
from collector.micro_batch import MicroBatch, Waiting, countable_hits, monotonic_ms, report_all
from collector.origins import granted
from collector.outcome import RETRY_DELAY_S, BatchOutcome, as_retry, put_off, retry_later
from collector.quota_gate import Passing, QuotaGate, quotas_of
from collector.records import RecordCutter, Slice, cut_by_bytes, hits_record, partition_bounds, rejected_record
from collector.refusal_sample import RefusalSample
from collector.rule_budget import RuleBudget
from collector.settings import CollectorSettings
from collector.tracing import BatchSpans, end_append
from hitmesh.model.errors import HitmeshError, RetryError
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.reasons import HitReason
from hitmesh.model.records import Record
from hitmesh.ports import Clock, EventLog, SiteDirectory
from hitmesh.runtime.logs import Seldom, logger, traceback_of
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.vitals import Pulse

MICRO_BATCH_BYTES = 8 << 20
# Queued bytes that start admission at once: half of a stream's credit, so that a single stream keeps both sides busy.
ENOUGH_BYTES = 1 << 20
IDLE_WAIT_S = 0.5

Grants = Mapping[tuple[str, str], Answer]


class MicroBatcher:
    """The queue of batches from all streams and calls, and the thread that admits these batches."""

    def __init__(
        self,
        log: EventLog,
        directory: SiteDirectory,
        classifier: Classifier,
        clock: Clock,
        settings: CollectorSettings,
        metrics: Metrics | None = None,
        quotas: HitQuotas | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        metrics = metrics or unmeasured()
        self._pulse = pulse or Pulse("the micro-batcher")
        self._meter = CollectorMeter(metrics)
        self._unmetered = CollectorMeter(unmeasured())
        self.traces = metrics.traces
        self._spans = BatchSpans(metrics.traces)
        self._log = log
        self._directory = directory
        self._classifier = classifier
        self._clock = clock
        self._settings = settings
        self._seldom = Seldom(settings.complain_every_s)
        self._broken_rules = BrokenRules(self._seldom)
        self._rule_budget = RuleBudget(settings.rule_steps_s)
        self.quota_gate = QuotaGate(quotas_of(settings, clock) if quotas is None else quotas, metrics, directory, clock)
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
        """The directory of keys and sites."""
        return self._directory

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Admit and append the batches in the queue, end the thread, and flush the log for up to `drain_s` seconds."""
        with self._arrived:
            self._stopping = True
            self._arrived.notify()
        self._thread.join()
        self._log.flush(self._settings.drain_s)

    def failed(self) -> str | None:
        """Return why the thread failed, or None while the thread runs."""
        return self._cause

    def submit(self, waiting: Waiting) -> None:
        """Queue a batch.

        `waiting.on_outcome` gets the outcome later. If the thread has ended, `on_outcome` gets the outcome "retry"
        immediately.
        """
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
        stopping = retry_later(HitReason.LOG_FULL, "the collector is stopping: send the batch again", 1.0)
        report_all(waiting, [stopping] * len(waiting), self._meter)

    def _run(self) -> None:
        try:
            self._work_until_stopped()
        except BaseException as error:  # after any error, the process must end without accepting a further batch
            self._cause = f"the micro-batcher's thread ended: {type(error).__name__}"
            with self._arrived:
                self._ended = True
                left, self._queue, self._queued_bytes = self._queue, [], 0
            logger().error("micro_batcher_failed", traceback=traceback_of(error))
            self._send_away(left)

    def _work_until_stopped(self) -> None:
        while True:
            last_round = self._stopping  # if `stop` is called after this line, the next round is the last
            waiting = self._take()
            if waiting:
                self._admit(waiting)
            for partition, slices in self._cutter.due(monotonic_ms(), everything=last_round):
                self._append_hits(partition, slices)
            with self._arrived:
                if last_round and not self._queue:
                    self._ended = True
                    return

    def _take(self) -> list[Waiting]:
        """Wait until enough bytes are queued, or until a batch or record is `linger_ms` old.

        Return the batches to admit.
        """
        with self._arrived:
            self._pulse.work()
            while not self._stopping and (wait_s := self._wait_s()) > 0:
                self._arrived.wait(wait_s)
                self._pulse.work()
            ends = itertools.accumulate(len(batch.frame.batch) for batch in self._queue)
            fitting = sum(1 for end in ends if end <= MICRO_BATCH_BYTES) or min(1, len(self._queue))
            taken, self._queue = self._queue[:fitting], self._queue[fitting:]
            self._queued_bytes -= sum(len(batch.frame.batch) for batch in taken)
        return taken

    def _wait_s(self) -> float:
        if self._queued_bytes >= ENOUGH_BYTES:
            return 0.0
        now_ms = monotonic_ms()
        waits_ms = [self._settings.linger_ms - (now_ms - batch.arrived_ms) for batch in self._queue[:1]]
        cutter_ms = self._cutter.wait_ms(now_ms)
        if cutter_ms is not None:
            waits_ms.append(cutter_ms)
        return min(waits_ms) / 1000 if waits_ms else IDLE_WAIT_S

    def _admit(self, queued: Sequence[Waiting]) -> None:
        waiting = [batch for batch in queued if self._is_awaited(batch)]
        frames = [batch.frame for batch in waiting]
        try:
            envelopes, grants = granted(frames, self._directory, self._clock.now())
        except BaseException as error:
            self._not_admitted(waiting, error)
            return
        for start, end in spans_by_hits(envelopes, self._settings.micro_batch_hits, refused_senders(grants)):
            passing = [
                found
                for batch, envelope in zip(waiting[start:end], envelopes[start:end], strict=True)
                if (found := self._passing(batch, envelope, grants.get(envelope.sender))) is not None
            ]
            for is_trial in (False, True):
                part = [each for each in passing if each.waiting.is_trial is is_trial]
                if part:
                    self._admit_part(part, grants)

    def _is_awaited(self, batch: Waiting) -> bool:
        if batch.is_over():
            report_all(
                [batch],
                [retry_later(HitReason.LOG_FULL, "the caller disconnected: send the batch again", RETRY_DELAY_S)],
                self._meter,
            )
            return False
        return True

    def _passing(self, batch: Waiting, envelope: Envelope, answer: Answer | None) -> Passing | None:
        """Return a batch that may be admitted, charged to its quotas; otherwise report the outcome and return None."""
        if not self._passes(batch, answer):
            return None
        charged = self.quota_gate.charge(batch.frame, envelope, answer)
        if isinstance(charged, BatchOutcome):
            report_all([batch], [charged], self._meter, envelope.hits)
            return None
        batch.on_charged(charged)
        return Passing(batch, envelope, self.quota_gate.quotas, charged)

    def _passes(self, batch: Waiting, answer: Answer | None) -> bool:
        if isinstance(answer, Grant) and self._rule_budget.wait_s(answer.site.name):
            report_all([batch], [self._put_off(answer.site.name, 1)], self._meter)
            return False
        try:
            batch.let_pass()
        except RetryError as error:
            report_all(
                [batch],
                [retry_later(HitReason.QUOTA, error.message, error.retry_after_s, error.variables)],
                self._meter,
            )
            return False
        return self._is_awaited(batch)

    def _admit_part(self, part: Sequence[Passing], grants: Grants) -> None:
        """Admit batches, which must be either all trials or all regular batches.

        The outcome of a trial is reported at once, because a trial is not stored.
        """
        waiting = [each.waiting for each in part]
        frames = [batch.frame for batch in waiting]
        span = self._spans.micro_batch(batch.span for batch in waiting)
        try:
            admitted = self._admitted(frames, [each.envelope for each in part], grants)
        except BaseException as error:
            if span is not None:
                span.end()
            for passing in part:
                passing.give_back()
            self._not_admitted(waiting, error)
            return
        if waiting[0].is_trial:
            MicroBatch(waiting, admitted, 1, self._unmetered, span=span).durable((), None)
        else:
            self._meter.admitted(frames, admitted)
            self._split(waiting, admitted, lambda index: part[index].give_back(), span)
            self._broken_rules.note(grants.values())

    def _not_admitted(self, waiting: Sequence[Waiting], error: BaseException) -> None:
        """Handle an error in admission; call from the `except` block.

        If the error is a RetryError, or if there is only one batch, every batch gets the outcome "retry". In all other
        cases, each batch is admitted again, separately from the others.
        """
        if isinstance(error, RetryError):
            self._complain(error, len(waiting))
            again = retry_later(HitReason.LOG_FULL, error.message, error.retry_after_s, error.variables)
            report_all(waiting, [again] * len(waiting), self._meter, countable_hits(waiting))
        elif len(waiting) > 1:
            # A bug or panic in admission must fail only the batch that triggers the bug or panic.
            for batch in waiting:
                self._admit([batch])
        else:
            kind, size = type(error).__name__, len(waiting[0].frame.batch)
            logger().exception("batch_not_admitted", error=kind, bytes=size)
            broken = retry_later(
                HitReason.DECODE,
                "the batch could not be processed: send the batch again; the cause is in the server's log",
                60,
            )
            report_all(waiting, [broken], self._meter, countable_hits(waiting))

    def _admitted(self, frames: Sequence[Frame], envelopes: Sequence[Envelope], grants: Grants) -> Admitted:
        now = self._clock.now()
        return admit(
            decode(frames, envelopes, grants),
            grants,
            self._classifier,
            now=now,
            partitions=self._partitions,
            salt_of=self._directory.salt,
            random_id=lambda: secrets.token_hex(8),
            rule_steps=self._rule_budget.passing,
            room_of=lambda site: self._sample.room(site, now),
        )

    def _put_off(self, site: str, batches: int) -> BatchOutcome:
        """Return the outcome for batches whose site has exclusion rules that cost too much.

        The site's name is logged, at a bounded rate.
        """
        error = self._rule_budget.refusal(site)
        if count := self._seldom.due("exclusion_rules_too_dear", batches):
            logger().warning("exclusion_rules_too_dear", site=site, batches=count, message=error.message)
        return put_off(error)

    def _split(
        self, waiting: Sequence[Waiting], admitted: Admitted, give_back: Callable[[int], None], span: Span | None
    ) -> None:
        now, since_ms = self._clock.now(), waiting[0].arrived_ms
        bounds = partition_bounds(admitted.hits)
        by_site = {site: self._put_off(site, count) for site, count in Counter(admitted.put_off.values()).items()}
        again = {frame: by_site[site] for frame, site in admitted.put_off.items()}
        micro_batch = MicroBatch(waiting, admitted, len(bounds) + 1, self._meter, again, give_back, span)
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
        """Append slices as records of bounded size.

        An error in a record fails only the batches that have rows in this record.
        """
        try:
            records = list(cut_by_bytes(slices, self._settings.record_bytes, record_of))
        except BaseException as error:
            logger().exception("record_not_built", topic=topic.value, error=type(error).__name__)
            for part in slices:
                part.owner.failed(
                    part.frames,
                    RetryError(
                        "the record with this batch could not be built: send the batch again; the cause is in the "
                        "server's log"
                    ),
                )
            return
        expected = Counter(id(part.owner) for parts, _ in records for part in parts)
        for part in slices:
            part.owner.expect(expected[id(part.owner)] - 1)
        for parts, record in records:
            record, span = self._spans.append(topic, partition, record, [part.owner.span for part in parts])
            self._follow(topic, self._log_append(topic, partition, record), parts, span)

    def _log_append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        try:
            return self._log.append(topic, partition, record)
        except BaseException as error:  # if this record fails, the other records must still be appended
            if not isinstance(error, RetryError) and self._seldom.due("record_not_appended"):
                kind, size = type(error).__name__, len(record.value)
                logger().exception("record_not_appended", error=kind, topic=topic.value, rows=record.rows, bytes=size)
            failed: Future[LoggedPosition] = Future()
            failed.set_exception(error)
            return failed

    def _follow(
        self,
        topic: Topic,
        appended: Future[LoggedPosition],
        parts: Sequence[Slice[MicroBatch]],
        span: Span | None,
    ) -> None:
        def resolved(future: Future[LoggedPosition]) -> None:
            end_append(span, future)
            error = future.exception()
            self._meter.appended(topic, error)
            if error is not None:
                self._complain(error, sum(len(part.frames) for part in parts))
            for part in parts:
                if error is None:
                    position = future.result() if topic is Topic.HITS else None
                    part.owner.durable(part.frames, position)
                else:
                    part.owner.failed(part.frames, as_retry(error))

        appended.add_done_callback(resolved)

    def _complain(self, error: BaseException, batches: int) -> None:
        """Log why batches could not be stored: one line per reason and interval, with the number of batches."""
        known = isinstance(error, HitmeshError)
        reason = error.reason if isinstance(error, HitmeshError) else type(error).__name__
        count = self._seldom.due(reason, batches)
        if count:
            cause = str(error) if known else "an unexpected error; the traceback is in this log line"
            logger().error(
                "batches_not_stored", reason=reason, cause=cause, batches=count, exc_info=None if known else error
            )
