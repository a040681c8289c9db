"""Test that many batches become few records. A batch gets a single outcome, once its records are durable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import polars as pl
import pytest
import structlog.testing

import collector.batcher as batcher_module
from collector.admission import Frame, decode
from collector.batcher import MicroBatcher
from collector.classify import Classifier
from collector.micro_batch import Waiting, countable_hits
from collector.outcome import BatchOutcome
from collector.settings import CollectorSettings
from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.errors import RetryError
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.records import Record
from hitmesh.ports import EventLog
from hitmesh.runtime.logs import Seldom
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry import registry as known
from tests.support.collectors import KEY, NOW_MS, SITE, Backend, GatedLog, new_backend
from tests.support.measuring import Measured
from tests.support.messages import page_view
from tests.support.patience import patient

WAIT_S = patient(10)
POISON = "a user agent that breaks the classifier"
PANIC = "a user agent that makes a library panic"


class BrokenClassifier(Classifier):
    """A classifier that fails on certain user agents, as if the product had a bug."""

    def user_agents(self, distinct: pl.Series) -> pl.DataFrame:
        if POISON in distinct.to_list():
            raise ZeroDivisionError("a bug")
        if PANIC in distinct.to_list():
            raise pl.exceptions.PanicException("a bug")
        return super().user_agents(distinct)


@pytest.fixture(scope="module")
def classifier() -> BrokenClassifier:
    return BrokenClassifier()


@pytest.fixture
def backend(classifier: BrokenClassifier) -> Backend:
    return new_backend(classifier)


@contextmanager
def batching(backend: Backend, metrics: Metrics | None = None, **changes: object) -> Iterator[MicroBatcher]:
    """Provide a micro-batcher that is not started. Batches that are submitted before `start` form one micro-batch."""
    settings = CollectorSettings.model_validate({"store": "memory:", "linger_ms": 0} | changes)
    batcher = MicroBatcher(backend.log, backend.stores.directory, backend.classifier, backend.clock, settings, metrics)
    try:
        yield batcher
    finally:
        backend.log.open()
        batcher.stop()


def submit(batcher: MicroBatcher, *hits: hit_pb2.Hit, key: str = KEY) -> Future[BatchOutcome]:
    """Submit a batch, and return a future of its outcome. Setting the outcome twice would fail."""
    outcome: Future[BatchOutcome] = Future()
    batch = hit_pb2.HitBatch(hits=hits).SerializeToString()
    batcher.submit(Waiting(Frame(batch, key, SITE, NOW_MS), outcome.set_result))
    return outcome


def hit(name: str, visitor: str = "v", agent: str = "") -> hit_pb2.Hit:
    return page_view(name, NOW_MS, visitor=visitor, agent=agent)


def bad(name: str) -> hit_pb2.Hit:
    broken = hit(name)
    broken.page_view.url = "no url"
    return broken


def test_batches_that_wait_together_share_one_record_and_one_position(backend: Backend) -> None:
    with batching(backend) as batcher:
        futures = [submit(batcher, hit(f"h-{number}"), hit(f"i-{number}")) for number in range(10)]
        batcher.start()
        outcomes = [future.result(WAIT_S) for future in futures]
    assert [outcome.accepted for outcome in outcomes] == [2] * 10
    assert len({outcome.positions for outcome in outcomes}) == 1
    rows = backend.rows()
    assert rows["hit_id"].to_list() == [f"{prefix}-{number}" for number in range(10) for prefix in "hi"]


def test_no_more_hits_are_admitted_at_once_than_the_bound_or_one_batch(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []

    def seen(frames: Sequence[Frame], *more: Any) -> Any:
        decoded = decode(frames, *more)
        at_once.append(int(decoded.counts.sum()))
        return decoded

    monkeypatch.setattr(batcher_module, "decode", seen)
    with batching(backend, micro_batch_hits=3) as batcher:
        sizes = [1, 2, 1, 4, 1, 1]
        futures = [submit(batcher, *(hit(f"{n}-{of}") for of in range(size))) for n, size in enumerate(sizes)]
        batcher.start()
        assert [future.result(WAIT_S).accepted for future in futures] == sizes
    assert at_once == [3, 1, 4, 2]
    assert backend.rows().height == sum(sizes)


def test_hits_that_are_not_read_do_not_split_what_is_admitted_at_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []

    def seen(frames: Sequence[Frame], *more: Any) -> Any:
        at_once.append(len(frames))
        return decode(frames, *more)

    monkeypatch.setattr(batcher_module, "decode", seen)
    with batching(backend, micro_batch_hits=3) as batcher:
        futures = [submit(batcher, hit("a"), hit("b"), key=key) for key in ("nobody's", KEY, "nobody's", "nobody's")]
        batcher.start()
        assert [future.result(WAIT_S).rejected for future in futures] == [2, 0, 2, 2]
    assert at_once == [4]


def test_a_batch_whose_sender_is_kept_out_since_it_came_is_not_admitted(backend: Backend) -> None:
    calls: list[None] = []

    def let_pass() -> None:
        calls.append(None)
        if len(calls) > 1:
            raise RetryError("too many hits of this sender were refused", reason=ErrorReason.QUOTA, retry_after_s=7.0)

    with batching(backend, micro_batch_hits=2) as batcher:
        futures: list[Future[BatchOutcome]] = [Future() for _ in range(3)]
        for name, future in zip("abc", futures, strict=True):
            batch = hit_pb2.HitBatch(hits=[hit(name), hit(f"{name}2")]).SerializeToString()
            batcher.submit(Waiting(Frame(batch, KEY, SITE, NOW_MS), future.set_result, let_pass))
        neighbour = submit(batcher, hit("d"))
        batcher.start()
        outcomes = [future.result(WAIT_S) for future in futures]
        assert neighbour.result(WAIT_S).accepted == 1
    assert [outcome.accepted for outcome in outcomes] == [2, 0, 0]
    assert [(issue.outcome, issue.reason) for issue in outcomes[1].issues] == [("RETRY", "QUOTA")]
    assert outcomes[1].retry_s == 7.0
    assert sorted(backend.rows()["hit_id"].to_list()) == ["a", "a2", "d"]


def test_a_batch_whose_caller_has_left_is_not_admitted(backend: Backend) -> None:
    calls: list[None] = []

    def is_over() -> bool:  # False, then True: the sender cancels between two calls
        calls.append(None)
        return len(calls) > 1

    with batching(backend, micro_batch_hits=1) as batcher:
        futures: list[Future[BatchOutcome]] = [Future(), Future()]
        for name, future, over in zip("ab", futures, (lambda: True, is_over), strict=True):
            batch = hit_pb2.HitBatch(hits=[hit(name)]).SerializeToString()
            batcher.submit(Waiting(Frame(batch, KEY, SITE, NOW_MS), future.set_result, is_over=over))
        neighbour = submit(batcher, hit("c"))
        batcher.start()
        assert [future.result(WAIT_S).accepted for future in futures] == [0, 0]
        assert all(future.result().retry_s for future in futures)
        assert neighbour.result(WAIT_S).accepted == 1
    assert backend.rows()["hit_id"].to_list() == ["c"]


def test_issues_and_counts_go_to_the_batch_they_are_of(backend: Backend) -> None:
    with batching(backend) as batcher:
        good, mixed, refused = (
            submit(batcher, hit("a")),
            submit(batcher, hit("b"), bad("c")),
            submit(batcher, bad("d"), bad("e"), key="hms_stranger"),
        )
        batcher.start()
        assert (good.result(WAIT_S).accepted, good.result(WAIT_S).issues) == (1, ())
        assert [(issue.index, issue.hit_id) for issue in mixed.result(WAIT_S).issues] == [(1, "c")]
        assert (mixed.result(WAIT_S).accepted, mixed.result(WAIT_S).rejected) == (1, 1)
        assert (refused.result(WAIT_S).accepted, refused.result(WAIT_S).rejected) == (0, 2)
        assert refused.result(WAIT_S).positions == ()
        assert refused.result(WAIT_S).issues[0].index == -1


def test_a_batch_is_acknowledged_when_the_records_of_all_its_hits_and_refusals_are_durable(backend: Backend) -> None:
    directory, spread_site = backend.stores.directory, "merchants/demo/sites/spread"
    site = directory.site(SITE)
    assert site is not None
    directory.create_site(replace(site, name=spread_site, spread=4))
    backend.log.shut()
    with batching(backend) as batcher:
        future: Future[BatchOutcome] = Future()
        hits = [hit(f"h-{number}", visitor=f"v-{number}") for number in range(64)]
        batch = hit_pb2.HitBatch(hits=[*hits, bad("refused")]).SerializeToString()
        batcher.submit(Waiting(Frame(batch, KEY, spread_site, NOW_MS), future.set_result))
        batcher.start()
        backend.log.wait_held(5)
        assert not future.done()
        backend.log.open()
        outcome = future.result(WAIT_S)
    assert (outcome.accepted, outcome.rejected) == (64, 1)
    assert sorted(position.partition for position, _ in outcome.positions) == [0, 1, 2, 3]
    assert backend.rows().height == 64


def test_when_the_log_is_full_nothing_is_promised_to_any_batch(backend: Backend) -> None:
    full = replace(backend, log=GatedLog(MemoryLog(backend.clock, max_bytes=10)))
    with batching(full) as batcher:
        futures = [submit(batcher, hit(f"h-{number}")) for number in range(3)]
        batcher.start()
        outcomes = [future.result(WAIT_S) for future in futures]
    for outcome in outcomes:
        assert (outcome.accepted, outcome.positions) == (0, ())
        (issue,) = outcome.issues
        assert (issue.index, issue.outcome, issue.reason) == (-1, "RETRY", "LOG_FULL")
        assert outcome.retry_s is not None
        assert outcome.retry_s > 0


def test_the_reason_for_refused_batches_is_logged_at_intervals(backend: Backend) -> None:
    full = replace(backend, log=GatedLog(MemoryLog(backend.clock, max_bytes=10)))
    with structlog.testing.capture_logs() as logged, batching(full, complain_every_s=3_600) as batcher:
        batcher.start()
        for number in range(20):
            submit(batcher, hit(f"h-{number}")).result(WAIT_S)
    (line,) = [line for line in logged if line["event"] == "batches_not_stored"]
    assert (line["reason"], line["log_level"], line["batches"]) == ("LOG_FULL", "error", 1)
    assert line["cause"]


def test_a_rate_limited_log_line_has_the_number_of_events_it_stands_for() -> None:
    now_s = [0.0]
    seldom = Seldom(10.0, lambda: now_s[0])
    assert [seldom.due("full", 3), seldom.due("full"), seldom.due("full", 2), seldom.due("other")] == [3, 0, 0, 1]
    now_s[0] = 10.0
    assert [seldom.due("full"), seldom.due("full")] == [4, 0]


@pytest.mark.parametrize("record_bytes", [1, 14_000])
def test_rows_beyond_the_bytes_of_a_record_become_records_of_their_own(backend: Backend, record_bytes: int) -> None:
    with batching(backend, record_bytes=record_bytes) as batcher:
        futures = [submit(batcher, *[hit(f"h-{batch}-{each}") for each in range(40)], bad("x")) for batch in range(3)]
        batcher.start()
        outcomes = [future.result(60) for future in futures]
    assert [(outcome.accepted, outcome.rejected) for outcome in outcomes] == [(40, 1)] * 3
    rows = backend.rows()
    assert rows["hit_id"].to_list() == [f"h-{batch}-{each}" for batch in range(3) for each in range(40)]
    records = rows["at_offset"].n_unique()
    assert records == 120 if record_bytes == 1 else 1 < records < 120
    for batch, outcome in enumerate(outcomes):
        held = rows.filter(pl.col("hit_id").str.starts_with(f"h-{batch}-"))["at_offset"].unique(maintain_order=True)
        assert [position.offset for position, _ in outcome.positions] == held.to_list(), (
            "receipts name its records only"
        )
    assert backend.refusals().height == 3


class BrokenPartition:
    """A log in memory whose `append` raises for the records that `broken` selects."""

    def __init__(self, log: EventLog, broken: Callable[[Topic, int, Record], bool]) -> None:
        self._log, self._broken = log, broken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        if self._broken(topic, partition, record):
            raise ValueError("a bug in the log")
        return self._log.append(topic, partition, record)


def test_a_record_that_is_not_appended_fails_its_own_batches_only(backend: Backend) -> None:
    directory, spread_site = backend.stores.directory, "merchants/demo/sites/spread"
    site = directory.site(SITE)
    assert site is not None
    directory.create_site(replace(site, name=spread_site, spread=4))
    broken = BrokenPartition(backend.log, lambda topic, partition, _: topic is Topic.HITS and partition == 0)
    settings = CollectorSettings.model_validate({"store": "memory:", "linger_ms": 0})
    batcher = MicroBatcher(cast(EventLog, broken), directory, backend.classifier, backend.clock, settings)
    futures: dict[str, Future[BatchOutcome]] = {}
    for number in range(32):
        futures[f"h-{number}"] = Future()
        batch = hit_pb2.HitBatch(hits=[hit(f"h-{number}", visitor=f"v-{number}")]).SerializeToString()
        batcher.submit(Waiting(Frame(batch, KEY, spread_site, NOW_MS), futures[f"h-{number}"].set_result))
    batcher.start()
    outcomes = {name: future.result(60) for name, future in futures.items()}
    assert batcher.failed() is None
    batcher.stop()
    stored = set(backend.rows()["hit_id"].to_list())
    assert 0 < len(stored) < 32
    assert {name for name, outcome in outcomes.items() if outcome.accepted} == stored
    assert all(outcome.retry_s for name, outcome in outcomes.items() if name not in stored)


def test_refusals_that_are_not_appended_fail_the_batches_that_have_some(backend: Backend) -> None:
    broken = BrokenPartition(backend.log, lambda topic, *_: topic is Topic.REJECTED)
    settings = CollectorSettings.model_validate({"store": "memory:", "linger_ms": 0})
    log = cast(EventLog, broken)
    batcher = MicroBatcher(log, backend.stores.directory, backend.classifier, backend.clock, settings)
    good, mixed = submit(batcher, hit("a")), submit(batcher, hit("b"), bad("c"))
    batcher.start()
    assert (good.result(60).accepted, good.result(60).retry_s) == (1, None)
    assert mixed.result(60).retry_s is not None
    batcher.stop()


@pytest.mark.parametrize("agent", [POISON, PANIC])
def test_a_bug_in_admission_costs_only_the_batch_that_shows_it(backend: Backend, agent: str) -> None:
    with batching(backend) as batcher:
        before, broken, after = (
            submit(batcher, hit("before")),
            submit(batcher, hit("broken", agent=agent)),
            submit(batcher, hit("after")),
        )
        batcher.start()
        assert before.result(WAIT_S).accepted == after.result(WAIT_S).accepted == 1
        (issue,) = broken.result(WAIT_S).issues
        assert issue.outcome == "RETRY"
        assert batcher.failed() is None
    assert sorted(backend.rows()["hit_id"].to_list()) == ["after", "before"]


def test_hits_of_batches_that_could_not_be_admitted_are_counted_and_garbage_counts_nothing(backend: Backend) -> None:
    measured = Measured()
    with batching(backend, measured.metrics) as batcher:
        garbage: Future[BatchOutcome] = Future()
        batcher.start()
        with structlog.testing.capture_logs() as lines:
            outcome = submit(batcher, hit("a"), hit("b", agent=POISON), hit("c")).result(WAIT_S)
        assert outcome.retry_s is not None
        batcher.submit(Waiting(Frame(b"\xff", KEY, SITE, NOW_MS), garbage.set_result))
        garbage.result(WAIT_S)
    assert measured.values(known.COLLECTOR_HITS) == {("retry",): 3, ("rejected",): 1}
    assert [line["error"] for line in lines if line["event"] == "batch_not_admitted"] == ["ZeroDivisionError"]
    waiting = [Waiting(Frame(batch, KEY, SITE, NOW_MS), garbage.set_result) for batch in (b"\xff", b"", b"\x00")]
    assert countable_hits(waiting) == 0


def test_a_stop_finishes_what_is_queued_and_what_lingers(backend: Backend) -> None:
    with batching(backend, linger_ms=5_000) as batcher:
        batcher.start()
        futures = [submit(batcher, hit(f"h-{number}")) for number in range(3)]
    assert [future.result(0).accepted for future in futures] == [1, 1, 1]
    assert backend.rows().height == 3


def test_large_queues_are_taken_in_bounded_portions_and_in_order(backend: Backend) -> None:
    large = hit("x")
    large.properties["p"].string_value = "x" * 500
    with batching(backend) as batcher:
        futures = []
        for number in range(12):
            futures.append(submit(batcher, hit(f"first-{number}"), *[large] * 1_599))
        batcher.start()
        assert [future.result(WAIT_S).accepted for future in futures] == [1_600] * 12
        offsets = [position.offset for future in futures for position, _ in future.result(0).positions]
    assert offsets == sorted(offsets)
    assert len(set(offsets)) > 1, "more than 8 MiB are not admitted at once"
    firsts = [hit_id for hit_id in backend.rows()["hit_id"].to_list() if hit_id.startswith("first")]
    assert firsts == [f"first-{number}" for number in range(12)]


def test_batches_that_arrive_while_a_record_lingers_are_admitted_at_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def counting(frames: Sequence[Frame], *more: Any) -> object:
        decoded.append(len(frames))
        return decode(frames, *more)

    monkeypatch.setattr(batcher_module, "decode", counting)
    with batching(backend, linger_ms=1_000) as batcher:
        batcher.start()
        futures = [submit(batcher, hit(f"h-{number}")) for number in range(20)]
        assert [future.result(WAIT_S).accepted for future in futures] == [1] * 20
    assert decoded == [20]


def test_enough_is_admitted_without_waiting_for_more(backend: Backend) -> None:
    large = hit("x")
    large.properties["p"].string_value = "x" * 500
    lingers_s = 5.0
    with batching(backend, linger_ms=int(lingers_s * 1_000)) as batcher:
        batcher.start()
        futures = [submit(batcher, *[large] * 1_000) for _ in range(2)]
        assert [future.result(lingers_s / 2).accepted for future in futures] == [1_000] * 2
