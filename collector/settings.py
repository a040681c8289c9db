"""Settings of the collector, read from HITMESH_COLLECTOR_*."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from hitmesh.runtime.config import ServiceSettings

# How long a thread keeps the interpreter when others want it. With the default of 5 ms the threads of the streams push
# the micro-batcher out in the middle of its steps; 20 ms made a collector at full load 15 % cheaper a hit.
SWITCH_INTERVAL_S = 0.02


class CollectorSettings(ServiceSettings):
    """Bounds of the collector. Memory in flight is at most `inflight_bytes` plus what Arrow makes of it."""

    model_config = SettingsConfigDict(env_prefix="HITMESH_COLLECTOR_", extra="forbid", frozen=True)

    record_rows: int = Field(default=500, ge=1, le=20_000, description="Cut a partition's record at so many rows")
    record_bytes: int = Field(
        default=4 << 20, ge=1, le=7 << 20, description="A record has at most so many bytes; Kafka takes 8 MiB"
    )
    micro_batch_hits: int = Field(
        default=20_000, ge=1, description="Hits admitted at once, of several batches: tiny ones become large columns"
    )
    linger_ms: int = Field(default=250, ge=0, le=5_000, description="Cut a record at this age, however small")
    stream_credit_bytes: int = Field(default=2 << 20, ge=1 << 20, description="Unacknowledged bytes a stream may have")
    inflight_bytes: int = Field(default=64 << 20, ge=4 << 20, description="Unacknowledged bytes of all streams")
    refusals_kept_a_day: int = Field(
        default=1_000, ge=0, le=100_000, description="Refused hits of a site and day kept one by one; the others count"
    )
    siteless_refusals_kept_a_day: int = Field(
        default=100, ge=0, le=100_000, description="Likewise of all senders of whom no site is known, together"
    )
    workers: int = Field(default=64, ge=4, le=512, description="Threads of the server")
    max_streams: int = Field(default=48, ge=1, le=500, description="Open streams; below workers, so that calls run too")
    max_streams_per_key: int = Field(default=32, ge=1, le=500, description="Open streams of one key")
    max_keyless_streams: int = Field(default=16, ge=1, le=500, description="Open streams whose batches bring the key")
    reserved_streams: int = Field(
        default=8, ge=0, le=500, description="Of max_streams, so many are for secret keys; a quarter at most"
    )
    max_unproven_streams: int = Field(
        default=16, ge=1, le=500, description="Streams that have shown no key yet; the oldest makes room for a new one"
    )
    open_within_s: float = Field(default=5.0, gt=0, le=60, description="A stream that sends no `open` in time ends")
    prove_within_s: float = Field(
        default=5.0, gt=0, le=60, description="A stream without a key in `open` ends without a batch with a known one"
    )
    refused_bytes_s: int = Field(
        default=1 << 20, ge=1, description="Refused work a second: of senders without a key, of all browser keys"
    )
    max_stream_age_s: float = Field(
        default=600.0, gt=0, le=86_400, description="A client is asked to open another stream after so long, about"
    )
    complain_every_s: float = Field(
        default=10.0, ge=0, description="At most one line in so long, for each reason, says that batches are not taken"
    )
    heartbeat_s: float = Field(default=10.0, gt=0, description="Pause between heartbeats in every partition (rule L1)")
    drain_s: float = Field(default=4.0, gt=0, description="How long streams may finish after GoAway")
