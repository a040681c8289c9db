"""The processor's settings, read from HITMESH_PROCESSOR_*."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import SettingsConfigDict

from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import AHEAD_TOLERANCE_MS
from hitmesh.model.logic import CURRENT, LOGICS, Logic, logic_named
from hitmesh.model.plan import KEEP_REPLACED_DAYS
from hitmesh.model.site_buckets import SITE_BUCKETS
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.config_report import print_report
from hitmesh.runtime.token_settings import TokenSettings
from hitmesh.runtime.variables import Allowed, Unit
from processor.settle.lease_keeper import LEASE_MS
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.stream.pace import StreamPace

KEEP_SHADOW_DAYS: Final = 7
_STEPS: Final = "raw|marks|claims|transaction|state|partials|chunks|manifest"


class Role(StrEnum):
    """The work of a process.

    Several processes may run the stream, and share the log's partitions. Several processes may run settlers, which
    share the sites by leases.
    """

    ALL = "all"
    STREAM = "stream"
    SETTLER = "settler"


class ProcessorSettings(TokenSettings):
    """The limits and intervals of the processor."""

    model_config = SettingsConfigDict(env_prefix="HITMESH_PROCESSOR_", extra="forbid", frozen=True)

    role: Role = Field(default=Role.ALL, description="The work of this process: all, stream or settler")
    logic: Annotated[str, Allowed(" or ".join(logic.name for logic in LOGICS))] = Field(
        default=CURRENT.name,
        description="Logic version for the stream and for days that were never settled; a settled day keeps its "
        "version",
    )
    max_hits: Annotated[int, Unit("hits")] = Field(
        default=50_000, ge=1, description="Approximate maximum of hits in a window of the stream"
    )
    window_ms: Annotated[int, Unit("ms")] = Field(
        default=5_000, ge=0, le=60_000, description="Maximum duration of a stream's window in ms"
    )
    quiet_ms: Annotated[int, Unit("ms")] = Field(
        default=250, ge=0, description="A stream's window ends if no record arrives for this many ms"
    )
    flush_ms: Annotated[int, Unit("ms")] = Field(
        default=10_000, ge=0, description="Milliseconds between two writes of partials and ledger"
    )
    snapshot_ms: Annotated[int, Unit("ms")] = Field(
        default=180_000, ge=1_000, description="Minimum milliseconds between two snapshots of a partition"
    )
    ahead_tolerance_ms: Annotated[int, Unit("ms")] = Field(
        default=AHEAD_TOLERANCE_MS,
        ge=0,
        description="A warning is logged if a log time is more than this many ms ahead of the clock",
    )
    cache: Annotated[str, Allowed("path of a directory")] = Field(
        default="",
        description="Directory on a local disk for the recent hits of streams and for large site-days; empty = a "
        "temporary directory",
    )
    settlers: Annotated[int, Unit("threads")] = Field(
        default=1,
        ge=1,
        le=SITE_BUCKETS,
        description="Number of settler threads in this process; other processes may run further settlers",
    )
    lease_ms: Annotated[int, Unit("ms")] = Field(
        default=LEASE_MS,
        ge=1_000,
        le=600_000,
        description="Duration of a settler's lease on sites in ms; if a settler dies, the sites wait about this long",
    )
    settle_pause_s: Annotated[float, Unit("s")] = Field(
        default=0.5, gt=0, description="Seconds between two searches for site-days to settle"
    )
    resettle_after_ms: Annotated[int, Unit("ms")] = Field(
        default=2_000, ge=0, description="Minimum milliseconds between two settlements of a site-day"
    )
    settle_range_hits: Annotated[int, Unit("hits")] = Field(
        default=DEFAULT_MEMORY.range_hits,
        ge=1_000,
        description="A site-day with more hits than this is settled in ranges of visitors, on the local disk",
    )
    settle_cpu_share: Annotated[float, Unit("share")] = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of time in which a settler thread works: CPU time / (CPU time + pauses); 1 = no pauses",
    )
    keep_superseded_ms: Annotated[int, Unit("ms")] = Field(
        default=360_000, ge=0, description="Milliseconds for which replaced rows remain readable"
    )
    keep_replaced_ms: Annotated[int, Unit("ms")] = Field(
        default=KEEP_REPLACED_DAYS * DAY_MS,
        ge=0,
        description="Milliseconds for which a replaced generation is kept, so that reports can ask for an earlier data "
        "version",
    )
    keep_shadow_ms: Annotated[int, Unit("ms")] = Field(
        default=KEEP_SHADOW_DAYS * DAY_MS,
        ge=0,
        description="After this many ms without a change of its state, a published shadow stream becomes the live "
        "stream, and an unpublished shadow stream is stopped",
    )
    marks_known_ms: Annotated[int, Unit("ms")] = Field(
        default=60_000,
        ge=0,
        description="Milliseconds after which all streams apply an erasure; must exceed the time for storing a window",
    )
    store_again_since: Annotated[str, Allowed("UTC time, as 2026-11-30T02:00:00Z")] = Field(
        default="",
        description="Only after Cassandra was restored from a backup: at its start, the stream stores again what the "
        "records of the log since this time changed in Cassandra; empty = nothing",
    )
    keep_log_days: Annotated[int, Unit("days")] = Field(
        default=7, ge=2, description="Age in days at which the log deletes records that are also stored as raw records"
    )
    keep_refused_days: Annotated[int, Unit("days")] = Field(
        default=30,
        ge=1,
        le=7_300,
        description="Age in days at which the bytes of refused hits are deleted; the counts remain",
    )
    balance_every_s: Annotated[float, Unit("s")] = Field(
        default=60.0, gt=0, description="Seconds between two checks of the ledger"
    )
    workers: Annotated[int, Unit("calls")] = Field(
        default=4, ge=1, le=64, description="Maximum traces that are answered at the same time"
    )
    max_calls: Annotated[int, Unit("calls")] = Field(
        default=16, ge=1, le=1_024, description="Maximum calls that run or wait; further calls are refused"
    )
    open_reads: bool = Field(
        default=False, description="If true, every client that reaches the listener may trace hits without a key"
    )
    fail_at: str = Field(
        default="",
        pattern=rf"^(({_STEPS}):[1-9]\d{{0,5}}(:(panic|hang))?)?$",
        description="For tests: step:n kills this process when this commit step is done for the n-th time; "
        "step:n:panic raises an error instead, and step:n:hang blocks the stream",
    )

    @field_validator("logic")
    @classmethod
    def _is_version(cls, name: str) -> str:
        try:
            return logic_named(name).name
        except RefusedError as error:
            raise PydanticCustomError("logic", "{message}", {"message": error.message}) from error

    @field_validator("store_again_since")
    @classmethod
    def _is_time(cls, text: str) -> str:
        if text and _utc_ms(text) is None:
            message = f"{text} is not a UTC time: write it as 2026-11-30T02:00:00Z"
            raise PydanticCustomError("time", "{message}", {"message": message})
        return text

    @property
    def store_again_from(self) -> int | None:
        """The time `store_again_since` in UTC ms; None if nothing is stored again."""
        return _utc_ms(self.store_again_since)

    @property
    def version(self) -> Logic:
        """The logic version whose name is `logic`."""
        return logic_named(self.logic)

    @property
    def pace(self) -> StreamPace:
        """The stream's limits and intervals."""
        return StreamPace(
            max_hits=self.max_hits,
            window_ms=self.window_ms,
            quiet_ms=self.quiet_ms,
            flush_ms=self.flush_ms,
            snapshot_ms=self.snapshot_ms,
            ahead_tolerance_ms=self.ahead_tolerance_ms,
        )

    @property
    def settle_memory(self) -> SettleMemory:
        """The limits that bound the memory of a settlement."""
        scratch = Path(self.cache or tempfile.gettempdir()) / f"hitmesh-{self.node}-settle"
        return SettleMemory(self.settle_range_hits, scratch=scratch)

    @property
    def cache_dir(self) -> Path:
        """The directory for kept hits. The directory's files do not outlive the process."""
        return Path(self.cache) if self.cache else Path(tempfile.gettempdir()) / f"hitmesh-{self.node}-kept"


def _utc_ms(text: str) -> int | None:
    """Return a UTC time that ends in Z as ms since 1970, or None if the text is no such time."""
    try:
        return int(dt.datetime.fromisoformat(text).timestamp() * 1_000) if text.endswith("Z") else None
    except ValueError:
        return None


if __name__ == "__main__":
    print_report(ProcessorSettings, os.environ)
