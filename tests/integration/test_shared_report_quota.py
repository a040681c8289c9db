"""Test that two reporter services together keep a merchant's quota of report units."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import grpc
import pytest

from hitmesh.api.reporter.v1 import reporter_pb2_grpc
from hitmesh.model.quotas import Quota
from hitmesh.runtime.quota_shares import QuotaShares
from reporter.answer.report_budget import ReportBudget
from reporter.service import SERVICES, build_server
from tests.support.clock import ManualClock
from tests.support.reporters import OWNER, Mesh, a_question, bearer, reporter_backend, served, some_rows, start

UNITS_S = 4_000
"""About two small reports per second."""


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


def is_answered(reporter: reporter_pb2_grpc.ReporterServiceStub) -> bool:
    try:
        reporter.RunReport(a_question("hits"), metadata=bearer(OWNER))
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017  # all other errors fail the test
        return False
    return True


@pytest.mark.parametrize("reports", [(5, 0), (3, 3)])
def test_two_reporters_together_keep_a_quota(mesh: Mesh, reports: tuple[int, int]) -> None:
    some_rows(mesh)
    mesh.stores.directory.change_quota("merchants/demo", Quota(report_units_min=60 * UNITS_S))
    clock = ManualClock(0)
    budgets = [ReportBudget(now_ms=clock.now, clock=clock) for _ in reports]
    shares = [QuotaShares(mesh.stores.reporter_reports, each, f"r{at}", 1.0) for at, each in enumerate(budgets)]
    with ExitStack() as stack:
        stubs = []
        for budget in budgets:
            server = build_server(replace(reporter_backend(mesh.stores, mesh.clock), budget=budget), workers=2)
            stack.callback(server.stop, None)
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{served(server, SERVICES)}"))
            stubs.append(reporter_pb2_grpc.ReporterServiceStub(channel))
        for share in (*shares, *shares):
            share.exchange()
        for budget in budgets:  # the units of a minute, which may be spent at once
            budget.charge(mesh.stores.directory, "merchants/demo", 30 * UNITS_S - 2_000)
        for share in (*shares, *shares):
            share.exchange()
        answered = []
        for _ in range(24):
            clock.advance(500)
            calls = [stub for stub, count in zip(stubs, reports, strict=True) for _ in range(count)]
            answered.append(sum(map(is_answered, calls)))
            clock.advance(500)
            for share in shares:
                share.exchange()
    units_s = 2_000 + 1 + 1  # a report with one value and one row
    spent = sum(answered[8:]) * units_s / 16
    assert spent == pytest.approx(UNITS_S, rel=0.2), answered
