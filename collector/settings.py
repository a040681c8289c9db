"""Settings of the collector, read from HITMESH_COLLECTOR_*."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from hitmesh.model.limits import HEARTBEAT_S
from hitmesh.model.quotas import MAX_QUOTA
from hitmesh.runtime.config import ServiceSettings
from hitmesh.runtime.config_report import print_report
from hitmesh.runtime.variables import Unit

# A thread keeps the interpreter lock for at most this many seconds while other threads wait. With Python's default of 5
# ms, stream threads interrupt the micro-batcher in the middle of a step. With an interval of 20 ms, a collector at full
# load needed 15 % less time per hit.
SWITCH_INTERVAL_S = 0.02


class CollectorSettings(ServiceSettings):
    """The limits of the collector.

    The batches in flight use at most `inflight_bytes` of memory. The Arrow tables that are made from batches in flight
    need additional memory.
    """

    model_config = SettingsConfigDict(env_prefix="HITMESH_COLLECTOR_", extra="forbid", frozen=True)

    record_rows: Annotated[int, Unit("rows")] = Field(
        default=500, ge=1, le=20_000, description="Maximum rows in a partition's record"
    )
    record_bytes: Annotated[int, Unit("bytes")] = Field(
        default=4 << 20, ge=1, le=7 << 20, description="Maximum bytes in a record; Kafka takes at most 8 MiB"
    )
    micro_batch_hits: Annotated[int, Unit("hits")] = Field(
        default=20_000,
        ge=1,
        description="Maximum number of hits that are admitted together; small batches are combined up to this number",
    )
    linger_ms: Annotated[int, Unit("ms")] = Field(
        default=250, ge=0, le=5_000, description="Maximum ms for which a batch or a record waits for further hits"
    )
    stream_credit_bytes: Annotated[int, Unit("bytes")] = Field(
        default=2 << 20, ge=1 << 20, description="Maximum unacknowledged bytes of a stream"
    )
    inflight_bytes: Annotated[int, Unit("bytes")] = Field(
        default=64 << 20, ge=4 << 20, description="Maximum unacknowledged bytes of all streams together"
    )
    refusals_kept_a_day: Annotated[int, Unit("hits")] = Field(
        default=1_000,
        ge=0,
        le=100_000,
        description="Maximum refused hits that are stored per site and day; all others are only counted",
    )
    siteless_refusals_kept_a_day: Annotated[int, Unit("hits")] = Field(
        default=100,
        ge=0,
        le=100_000,
        description="Maximum refused hits that are stored per day for all senders without a known site together",
    )
    workers: Annotated[int, Unit("threads")] = Field(default=64, ge=4, le=512, description="Threads of the server")
    max_streams: Annotated[int, Unit("streams")] = Field(
        default=48,
        ge=1,
        le=500,
        description="Maximum open streams; must be less than workers, so that unary calls get a thread",
    )
    max_streams_per_merchant: Annotated[int, Unit("streams")] = Field(
        default=32,
        ge=1,
        le=500,
        description="Maximum open streams per merchant, with all keys of the merchant together; should be at most two "
        "thirds of max_streams, so that other merchants get slots",
    )
    max_streams_per_key: Annotated[int, Unit("streams")] = Field(
        default=32, ge=1, le=500, description="Maximum open streams per key"
    )
    max_keyless_streams: Annotated[int, Unit("streams")] = Field(
        default=16, ge=1, le=500, description="Maximum open streams that send the key in batches, not in `open`"
    )
    reserved_streams: Annotated[int, Unit("streams")] = Field(
        default=8,
        ge=0,
        le=500,
        description="Number of streams that are reserved for secret keys; at most a quarter of max_streams",
    )
    max_unproven_streams: Annotated[int, Unit("streams")] = Field(
        default=16,
        ge=1,
        le=500,
        description="Maximum streams without a known key; a further stream without a known key ends the oldest",
    )
    open_within_s: Annotated[float, Unit("s")] = Field(
        default=5.0, gt=0, le=60, description="Deadline in seconds for a stream's `open`"
    )
    prove_within_s: Annotated[float, Unit("s")] = Field(
        default=5.0, gt=0, le=60, description="If `open` has no key: seconds until a batch must contain a known key"
    )
    refused_bytes_s: Annotated[int, Unit("bytes/s")] = Field(
        default=1 << 20,
        ge=1,
        description="Budget for work on refused hits, in bytes per second. All senders without a known key share a "
        "budget, and all browser keys share another budget; a sender who exhausts the budget must send later.",
    )
    site_hits_s: Annotated[int, Unit("hits/s")] = Field(
        default=100_000,
        ge=1,
        le=MAX_QUOTA,
        description="Default quota of a site: hits per second over all collectors; a sender over quota must wait",
    )
    site_bytes_s: Annotated[int, Unit("bytes/s")] = Field(
        default=64 << 20, ge=1, le=MAX_QUOTA, description="Default quota of a site: bytes of batches per second"
    )
    key_hits_s: Annotated[int, Unit("hits/s")] = Field(
        default=100_000, ge=1, le=MAX_QUOTA, description="Default quota of a key: hits per second over all collectors"
    )
    key_bytes_s: Annotated[int, Unit("bytes/s")] = Field(
        default=64 << 20, ge=1, le=MAX_QUOTA, description="Default quota of a key: bytes of batches per second"
    )
    quota_burst_s: Annotated[int, Unit("s")] = Field(
        default=2, ge=1, le=600, description="Seconds of a quota that may be used at once after a pause"
    )
    quota_share_s: Annotated[float, Unit("s")] = Field(
        default=1.0,
        gt=0,
        le=10,
        description="Seconds between two reports by which collectors share quotas; collectors that do not report for "
        "five times as long do not count",
    )
    rule_steps_s: Annotated[int, Unit("steps/s")] = Field(
        default=25_000_000,
        ge=1,
        description="Budget for the patterns of a site's exclusion rules, in steps (RE2 instructions × bytes of "
        "distinct values) per second and process; a site beyond the budget must send later. A step takes at most 12 ns",
    )
    max_stream_age_s: Annotated[float, Unit("s")] = Field(
        default=600.0,
        gt=0,
        le=86_400,
        description="Approximate age in seconds at which a stream's client is asked to open another stream",
    )
    complain_every_s: Annotated[float, Unit("s")] = Field(
        default=10.0,
        ge=0,
        description="Minimum seconds between two log lines about batches that were not stored, per reason",
    )
    heartbeat_s: Annotated[float, Unit("s")] = Field(
        default=HEARTBEAT_S, gt=0, description="Seconds between heartbeats in every partition (rule L1)"
    )
    drain_s: Annotated[float, Unit("s")] = Field(
        default=4.0, gt=0, description="Seconds that streams have to finish after GoAway"
    )


if __name__ == "__main__":
    print_report(CollectorSettings, os.environ)
