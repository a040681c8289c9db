"""Measure a collector in its own process. This process sends full batches over a real socket."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from collector.answered import REMEMBERED_BATCHES
from tests.bench.measured import Child, Result, judged, progress
from tests.bench.sample import compare_sample
from tests.bench.scale import Scale
from tests.bench.sites import KEYS
from tests.bench.stages import per_hit_us
from tests.bench.stream_client import StreamClient
from tests.bench.traffic import FRAME_HITS, Traffic, frames

AIM, FLOOR = 200_000, 100_000
STREAMS = 8


def run_collector(traffic: Traffic, scale: Scale, trace_ratio: float | None = None) -> Result:
    """Return the hits per second and core, and the time per stage.

    If `trace_ratio` is given, the collector records the traces of this share of frames.

    Also return whether the written hits equal the sent hits.

    Raises:
        ValueError: there are too few batches. If a stream resent a batch that the collector still remembers, the
        collector would not write the batch again (rule D4).
    """
    run_s, count = scale.collector_s, scale.collector_batches
    if count <= REMEMBERED_BATCHES:
        raise ValueError(f"{count} distinct batches are too few: send more than the {REMEMBERED_BATCHES} remembered")
    batches = frames(traffic, KEYS, count)
    hit_bytes = sum(map(len, batches)) / (len(batches) * FRAME_HITS)
    progress(f"collector: {run_s:.0f} s of {STREAMS} streams, {hit_bytes:.0f} bytes a hit, {FRAME_HITS} hits a frame")
    server = Child("tests.bench.collector_server", *([] if trace_ratio is None else [str(trace_ratio)]))
    try:
        endpoint = f"127.0.0.1:{server.first_answer['port']}"
        clients = [StreamClient(endpoint, batches, first * count // STREAMS) for first in range(STREAMS)]
        for client in clients:
            client.start()
        time.sleep(scale.warm_up_s)
        before = server.ask("start")
        time.sleep(run_s)
        after = server.ask("mark")
        for client in clients:
            client.stop_sending()
        for client in clients:
            client.finish()
        total = server.ask("mark")
        with tempfile.TemporaryDirectory() as kept:
            server.ask(f"keep {kept}")
            sample = compare_sample(sorted(Path(kept).glob("*.arrow")), batches)
    finally:
        server.stop()
    return {
        **_rates(before, after),
        "hit_bytes": round(hit_bytes, 1),
        "frame_hits": FRAME_HITS,
        "streams": STREAMS,
        "responses_per_frame": round(
            sum(client.responses for client in clients) / sum(client.sent_batches for client in clients), 2
        ),
        "traffic": traffic.source,
        "max_rss_mib": total["max_rss_mib"],
        "sample": sample,
        "checks": _checks(clients, total),
    }


def _rates(before: Result, after: Result) -> Result:
    hits = after["rows"] - before["rows"]
    wall_s = after["wall_s"] - before["wall_s"]
    user_s, system_s = (after[name] - before[name] for name in ("user_s", "system_s"))
    cpu_s = user_s + system_s
    stages = {name: per_hit_us(seconds, hits) for name, seconds in after["stages"].items()}
    rest = cpu_s - sum(after["stages"].values())
    return {
        "hits_per_s_and_core": judged(hits / cpu_s, AIM, FLOOR, "hits/s"),
        "hits_per_s_wall": round(hits / wall_s),
        "hits": hits,
        "wall_s": round(wall_s, 2),
        "cpu_user_s": round(user_s, 2),
        "cpu_system_s": round(system_s, 2),
        "us_per_hit": {**stages, "grpc_and_streams": per_hit_us(rest, hits), "all": per_hit_us(cpu_s, hits)},
        "rows_per_record": round(hits / max(after["records"] - before["records"], 1)),
        "stored_bytes_per_hit": round((after["value_bytes"] - before["value_bytes"]) / max(hits, 1), 1),
    }


def _checks(clients: list[StreamClient], total: Result) -> Result:
    sent = sum(client.sent_batches for client in clients) * FRAME_HITS
    accepted = sum(client.accepted for client in clients)
    issues = sum(client.issues for client in clients)
    return {
        "sent": sent,
        "acknowledged": accepted,
        "in_the_log": total["rows"],
        "issues": issues,
        "ok": sent == accepted == total["rows"] and not issues and not total["rejected_records"],
    }
