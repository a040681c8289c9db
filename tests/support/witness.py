"""Observe reports during failures, with a thread that repeats the same questions."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc

from hitmesh.api.reporter.v1 import reporter_pb2, reporter_pb2_grpc
from tests.support.rpc_reasons import reason_of

PAUSE_S = 0.5
DEADLINE_S = 10.0
FIXED_SHAPE, AD_HOC = "fixed shape", "ad hoc"


@dataclass
class Seen:
    """The answers that were observed in a phase of a test."""

    answers: dict[str, Counter[str]] = field(default_factory=lambda: {FIXED_SHAPE: Counter(), AD_HOC: Counter()})
    """For each kind of question, the number of answers per store and the number of errors per reason."""
    states: Counter[str] = field(default_factory=Counter)
    """Number of answers per freshness state."""
    max_lag_s: float = 0.0
    """Maximum lag of `complete_through`."""
    fell_back: bool = False
    """Whether `complete_through` ever decreased."""

    def line(self) -> str:
        """Return the observations as a readable line."""
        answers = "; ".join(
            f"{kind}: {', '.join(f'{what} {times}x' for what, times in sorted(found.items()))}"
            for kind, found in self.answers.items()
        )
        states = ", ".join(f"{state} {times}x" for state, times in sorted(self.states.items()))
        return f"{answers}; {states or 'no freshness'}; lag up to {self.max_lag_s:.0f} s"


class Witness:
    """A context manager that asks a reporter questions until the context ends.

    Args:
        address: the reporter's address.
        site: the site of all questions.
    """

    def __init__(self, address: str, site: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._stub = reporter_pb2_grpc.ReporterServiceStub(self._channel)
        self._site = site
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._seen = Seen()
        self._reached_ms = 0
        self._thread = threading.Thread(target=self._run, name="witness")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._channel.close()

    @property
    def answers(self) -> set[str]:
        """The stores and errors that were observed in the current phase."""
        with self._lock:
            return {what for found in self._seen.answers.values() for what in found}

    def next_phase(self) -> Seen:
        """Begin a new phase, and return the observations of the previous phase."""
        with self._lock:
            seen, self._seen = self._seen, Seen()
        return seen

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            fixed = self._outcome_of(
                reporter_pb2.RunReportRequest(
                    site=self._site, metrics=["hits"], time_grain=reporter_pb2.TIME_GRAIN_HOUR
                )
            )
            ad_hoc = self._outcome_of(
                reporter_pb2.RunReportRequest(site=self._site, metrics=["hits"], dimensions=["channel"])
            )
            with self._lock:
                self._seen.answers[FIXED_SHAPE][fixed] += 1
                self._seen.answers[AD_HOC][ad_hoc] += 1
            self._look_at_freshness()

    def _outcome_of(self, request: reporter_pb2.RunReportRequest) -> str:
        request.time_range.last_days = 2
        try:
            answer = self._stub.RunReport(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            return reason_of(error)
        return reporter_pb2.Store.Name(answer.meta.served_by)

    def _look_at_freshness(self) -> None:
        try:
            answer = self._stub.GetFreshness(reporter_pb2.GetFreshnessRequest(site=self._site), timeout=DEADLINE_S)
        except grpc.RpcError as error:
            with self._lock:
                self._seen.states[reason_of(error)] += 1
            return
        reached_ms = answer.freshness.complete_through.ToMilliseconds()
        with self._lock:
            self._seen.states[reporter_pb2.FreshnessState.Name(answer.freshness.state)] += 1
            if answer.freshness.HasField("lag"):
                self._seen.max_lag_s = max(self._seen.max_lag_s, time.time() - reached_ms / 1_000)
            self._seen.fell_back |= reached_ms < self._reached_ms
        self._reached_ms = max(self._reached_ms, reached_ms)
