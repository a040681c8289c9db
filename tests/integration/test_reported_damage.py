"""A reporter logs and counts damaged rows that it finds."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import grpc
import pytest
import structlog

from hitmesh.model.errors import StoreCorrupt
from hitmesh.ports import MetricStore
from hitmesh.runtime.telemetry.registry import REPORTER_STORE_ERRORS
from tests.support.measuring import Measured
from tests.support.reporters import a_question, some_rows, start
from tests.support.settled_rows import SITE


class Damaged:
    """A metric store with damaged rows."""

    def __init__(self, store: MetricStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def query(self, *_: object, **__: object) -> Any:
        raise StoreCorrupt("segment 7.arrow is damaged")


def test_damage_is_logged_once_in_a_while_with_site_and_counted() -> None:
    measured = Measured()
    running = contextmanager(start)(True, measured.metrics, around=Damaged)
    with structlog.testing.capture_logs() as logged, running as mesh:
        some_rows(mesh)
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                mesh.reporter.RunReport(a_question("hits", dimensions=["channel"]))
    (line,) = (line for line in logged if line["event"] == "store_damaged")
    assert (line["damage"], line["site"], line["calls"]) == ("segment 7.arrow is damaged", SITE, 1)
    assert measured.value(REPORTER_STORE_ERRORS, reason="STORE_CORRUPT") == 2
