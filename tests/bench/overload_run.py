"""Measure a mesh under more load than it sustains: memory, lost hits, refusals, and the time of recovery.

Clients send unary batches at a fixed rate, whatever the answers. A hit that was acknowledged must be in the ledger and
in reports. A batch that was refused must say when to come back.

Standalone: `python -m tests.bench.overload_run 120 60000` prints the result as JSON. The arguments are seconds and hits
per second.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc

from hitmesh.api.control.v1 import operations_pb2, operations_pb2_grpc
from hitmesh.api.reporter.v1 import reporter_pb2, reporter_pb2_grpc
from hitmesh.model.quotas import MAX_QUOTA, Quota
from hitmesh.tools.load.processes import ProcessWatch, mesh_pids
from tests.bench.measured import Child, Result, progress
from tests.bench.mesh_run import a_mesh
from tests.support.crowd_tenants import Tenant, endpoint_of, new_tenants
from tests.support.crowds import SEND

BATCH: Final = 200
CLIENTS: Final = 2
MOST_RECOVERY_S: Final = 30.0
MEMORY_MIB: Final = {
    "envoy": 1_280,
    "collector": 1_024,
    "processor": 1_536,
    "reporter": 768,
    "control": 512,
}
"""The most resident memory that this benchmark expects of each process. k8s/ sets the limits of containers."""
_ACK_S: Final = 0.5


def run_overload(home: Path, seconds: float, hits_s: int) -> Result:
    """Return the measurements at `hits_s` offered hits per second."""
    unlimited = (Quota(hits_s=MAX_QUOTA, bytes_s=MAX_QUOTA), Quota())
    tenant = new_tenants(home, {"crowd": unlimited})["crowd"]
    progress(f"overload: {hits_s:,} hits/s for {seconds:g} s")
    with _watched(home) as watch:
        began_s = time.monotonic()
        counts = _offered(tenant, seconds, hits_s)
        elapsed_s = time.monotonic() - began_s
        recovery_s, found = _recovered(tenant, counts)
    memory = {name: mib for name, mib in _memory(watch).items() if name in MEMORY_MIB}
    untold = {name: count for name, count in counts.items() if name.startswith("refused_without")}
    acknowledged, uncertain = counts["acknowledged_hits"], counts["uncertain_hits"]
    is_counted = all(acknowledged <= hits <= acknowledged + uncertain for hits in found.values())
    calls = counts["answered"] + counts["refused_with_a_time"] + sum(untold.values())
    return {
        "offered_hits_s": hits_s,
        "seconds": round(elapsed_s, 1),
        "acknowledged_per_s": round(acknowledged / elapsed_s),
        "counts": dict(counts),
        "stored": found,
        "told_when_to_come_back": {
            "value": round(1 - sum(untold.values()) / max(1, calls - counts["answered"]), 4),
            "unit": "share of refusals",
            "floor": 0.99,
            "ok": sum(untold.values()) <= 0.01 * (calls - counts["answered"]),
        },
        "recovery_s": {
            "value": round(recovery_s, 1),
            "unit": "s",
            "aim": MOST_RECOVERY_S,
            "ok": recovery_s <= MOST_RECOVERY_S,
        },
        "memory": {
            name: {"value": round(mib), "unit": "MiB", "aim": MEMORY_MIB[name], "ok": mib <= MEMORY_MIB[name]}
            for name, mib in memory.items()
        },
        "checks": {"ok": bool(acknowledged) and is_counted},
    }


def _offered(tenant: Tenant, seconds: float, hits_s: int) -> Counter[str]:
    arguments = (tenant.endpoint, tenant.name, tenant.key, "hits", str(hits_s / BATCH / CLIENTS), str(BATCH))
    crowds = [Child("tests.bench.crowd_process", *arguments) for _ in range(CLIENTS)]
    time.sleep(seconds)
    counts: Counter[str] = Counter()
    for crowd in crowds:
        counts.update(crowd.ask("stop"))
        crowd.stop()
    return counts


def _recovered(tenant: Tenant, counts: Counter[str]) -> tuple[float, dict[str, int]]:
    """Return the seconds until a batch is acknowledged quickly and all hits are in reports, and the stored hits.

    Adds the hits of these batches to `counts`.
    """
    began_s = time.monotonic()
    with grpc.insecure_channel(tenant.endpoint, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        while not _acknowledges(channel, tenant, counts) and time.monotonic() < began_s + 10 * MOST_RECOVERY_S:
            time.sleep(0.2)
        found = _stored(channel, tenant)
        while min(found.values()) < counts["acknowledged_hits"] and time.monotonic() < began_s + 10 * MOST_RECOVERY_S:
            time.sleep(0.2)
            found = _stored(channel, tenant)
    return time.monotonic() - began_s, found


def _acknowledges(channel: grpc.Channel, tenant: Tenant, counts: Counter[str]) -> bool:
    """Return whether a batch with one hit is acknowledged quickly."""
    send: Any = channel.unary_unary(SEND, None, None)
    try:
        send(tenant.batch(1), timeout=_ACK_S, metadata=tenant.metadata)
    except grpc.RpcError:
        counts["uncertain_hits"] += 1
        return False
    counts["acknowledged_hits"] += 1
    return True


def _stored(channel: grpc.Channel, tenant: Tenant) -> dict[str, int]:
    request = reporter_pb2.RunReportRequest(site=tenant.site, metrics=["hits"], include_excluded=True)
    request.time_range.last_days = 2
    ledger = operations_pb2.GetLedgerRequest(site=tenant.site)
    try:
        answer = reporter_pb2_grpc.ReporterServiceStub(channel).RunReport(request, timeout=20, metadata=tenant.metadata)
        totals = operations_pb2_grpc.OperationsServiceStub(channel).GetLedger(
            ledger, timeout=20, metadata=tenant.metadata
        )
    except grpc.RpcError:
        return {"reports": 0, "ledger": 0}
    reported = sum(cell.int64_value for row in answer.rows for cell in row.cells)
    return {"reports": reported, "ledger": totals.totals.accepted.hits}


@contextlib.contextmanager
def _watched(home: Path) -> Iterator[ProcessWatch]:
    """Measure the mesh's processes twice a second."""
    pids, _ = mesh_pids(home, endpoint_of(home))
    watch, stopping = ProcessWatch(pids), threading.Event()

    def look() -> None:
        while not stopping.wait(0.5):
            watch.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stopping.set()
        thread.join()


def _memory(watch: ProcessWatch) -> dict[str, float]:
    return {usage.name: usage.max_rss_mib for usage in watch.usages()}


if __name__ == "__main__":
    with a_mesh() as home:
        found = run_overload(home, float(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
