"""Reporters on stores that may stop answering, and their answers in the form of the reference model's answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hitmesh.adapters.factory import Stores
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import Unavailable
from hitmesh.ports import Clock
from reporter.answer.route import Path
from reporter.answer.series import Series
from reporter.question.catalogue import Kind
from reporter.rpc.answer import Answer
from reporter.rpc.backend import Backend
from tests.reference.report import Report, Value
from tests.support.comparison import normal

RETRY_AFTER_S = 7.0
SERVED_BY = {Path.SERIES: pb.STORE_CASSANDRA, Path.METRICS: pb.STORE_DRUID}


@dataclass
class Silent:
    """A port whose calls raise Unavailable while `is_silent` is true.

    `refused` lists the names of the refused calls.
    """

    port: Any
    is_silent: bool = False
    refused: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.port, name)

        def call(*arguments: object) -> object:
            if self.is_silent:
                self.refused.append(name)
                raise Unavailable(f"{name} was not answered", retry_after_s=RETRY_AFTER_S)
            return method(*arguments)

        return call


@dataclass
class Faulty:
    """A reporter. A test can let each of the reporter's stores raise Unavailable."""

    stores: Stores
    clock: Clock

    def __post_init__(self) -> None:
        self.series = Silent(self.stores.series)
        self.metrics = Silent(self.stores.metrics)
        self.dirty = Silent(self.stores.dirty)
        self.generations = Silent(self.stores.generations)
        self.progress = Silent(self.stores.progress)
        tokens = itertools.count()
        self.backend = Backend(
            directory=self.stores.directory,
            generations=self.generations,
            dirty=self.dirty,
            metrics=self.metrics,
            series=self.series,
            progress=self.progress,
            ledger=self.stores.ledger,
            erasures=self.stores.erasures,
            streams=self.stores.streams,
            stream=self.stores.stream,
            clock=self.clock,
            new_token=lambda: f"token{next(tokens)}",
            served_by=SERVED_BY,
            open_reads=True,
        )

    def silence_cassandra(self, *, silent: bool = True) -> None:
        """Let every port with data in Cassandra raise Unavailable, or let all these ports answer again.

        The directory always answers, because its adapter caches sites.
        """
        for port in (self.series, self.dirty, self.generations, self.progress):
            port.is_silent = silent


def report_of(answer: Answer) -> Report:
    """Return an answer in the form of the reference model's answers. Numbers of visitors must be exact."""
    rows = answer.rows
    labels = rows.question.buckets.labels
    keys = [(labels[bucket] if rows.question.has_time else "",) for bucket in rows.buckets.tolist()]
    return normal({key: _values(rows, place) for place, key in enumerate(keys)})


def _values(rows: Series, place: int) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for column in rows.columns:
        numerator = int(column.numerators[place])
        values[column.metric.id] = numerator
        if column.denominators is not None:
            values[column.metric.id] = (numerator, int(column.denominators[place]))
        if column.metric.kind is Kind.UNION:
            assert column.lower is not None
            assert column.lower[place] != column.lower[place], "so few visitors are counted exactly"
    return values


def check_same(answer: Answer, other: Answer) -> None:
    """Check that both answers have equal numbers, annotations and freshness."""
    assert answer.missing_currencies == other.missing_currencies
    assert answer.excluded_hits == other.excluded_hits
    assert answer.freshness == other.freshness
    assert answer.data_version == other.data_version
    assert (answer.totals is None) == (other.totals is None)
    pairs = [(answer.rows, other.rows)]
    if answer.totals is not None and other.totals is not None:
        pairs.append((answer.totals, other.totals))
    for of_one, of_other in pairs:
        assert of_one.buckets.tolist() == of_other.buckets.tolist()
        for mine, theirs in zip(of_one.columns, of_other.columns, strict=True):
            assert mine.exactness is theirs.exactness
            np.testing.assert_array_equal(mine.numerators, theirs.numerators, mine.metric.id)
            np.testing.assert_array_equal(mine.values, theirs.values, mine.metric.id)
