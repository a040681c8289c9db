"""Measure RunReport over 90 days of a site's cells, through the reporter's process and socket."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.client.mesh import Mesh
from hitmesh.model.dates import date_message
from hitmesh.tools.dev.tcp_ports import HOST, any_free
from tests.bench.filled_store import SERIES_KEY, SERIES_SITE
from tests.bench.measured import ROOT, Result, environment, progress
from tests.bench.scale import Scale
from tests.bench.traffic import DAY

# If a report takes 150 ms, a page with several reports appears immediately. If a report takes half a second, people
# notice the delay.
AIM_MS, CEILING_MS = 150.0, 500.0
WARM_UP_CALLS = 20
METRICS = ("visits", "visitors", "pageviews", "gross_revenue")
READY_TIMEOUT_S = 20.0


def run_reports(store: Path, scale: Scale) -> Result:
    """Return the p50 and p99 latency of three questions about the store's second site, in ms."""
    with reporter_on(store) as mesh:
        return {
            "days": scale.series_days,
            "hits_a_day": scale.series_hits,
            "metrics": list(METRICS),
            **{
                name: _timed(mesh, name, request, scale.calls)
                for name, request in _questions(scale.series_days).items()
            },
        }


def days_of(days: int) -> pb.TimeRange:
    """Return the time range of the first `days` days on which the reported site has hits."""
    first = datetime.fromtimestamp(DAY * 86_400, UTC).date()
    last = first + timedelta(days=days - 1)
    dates = pb.DateRange(first_date=date_message(first), last_date=date_message(last))
    return pb.TimeRange(dates=dates)


def _questions(days: int) -> dict[str, pb.RunReportRequest]:
    filtered = pb.Filter(
        dimension_filter=pb.DimensionFilter(
            dimension="device_type", operator=pb.FILTER_OPERATOR_IN, values=["desktop", "mobile"]
        )
    )
    common = pb.RunReportRequest(site=SERIES_SITE.name, metrics=METRICS, time_range=days_of(days))
    by_day, by_channel, by_day_filtered = pb.RunReportRequest(), pb.RunReportRequest(), pb.RunReportRequest()
    for request in (by_day, by_channel, by_day_filtered):
        request.CopyFrom(common)
    by_day.time_grain = by_day_filtered.time_grain = pb.TIME_GRAIN_DAY
    by_channel.dimensions.append("channel")
    by_day_filtered.filter.CopyFrom(filtered)
    return {"by_day": by_day, "by_channel": by_channel, "by_day_filtered": by_day_filtered}


def _timed(mesh: Mesh, name: str, request: pb.RunReportRequest, calls: int) -> Result:
    progress(f"reports: {name}, {calls} calls")
    took_ms = []
    for number in range(WARM_UP_CALLS + calls):
        began = time.perf_counter()
        response = mesh.reporter.RunReport(request, timeout=30.0, metadata=mesh.credentials)
        if number >= WARM_UP_CALLS:
            took_ms.append((time.perf_counter() - began) * 1_000)
    p50, p99 = (round(float(np.percentile(took_ms, share)), 1) for share in (50, 99))
    return {
        "p50_ms": p50,
        "p99_ms": {"value": p99, "unit": "ms, at most", "aim": AIM_MS, "floor": CEILING_MS, "ok": p99 <= CEILING_MS},
        "calls": calls,
        "rows": len(response.rows),
        "rows_of_the_store": response.meta.cost.rows,
    }


@contextmanager
def reporter_on(store: Path) -> Iterator[Mesh]:
    """Run the production reporter on the store, and yield a client for it."""
    listen = f"{HOST}:{any_free(1)[0]}"
    settings = {"HITMESH_REPORTER_STORE": f"embedded:{store}", "HITMESH_REPORTER_LISTEN": listen}
    environ = {name: value for name, value in environment().items() if not name.startswith("HITMESH_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "reporter"],
        cwd=ROOT,
        env={**environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Mesh.connect(listen, SERIES_KEY) as mesh:
            grpc.channel_ready_future(mesh.channel).result(READY_TIMEOUT_S)
            yield mesh
    finally:
        process.terminate()
        process.wait()
