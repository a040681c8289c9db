"""The facts that the doctor gathers from a mesh and from this machine. Pure values; times are UTC ms.

Facts about Kafka, Cassandra, Druid and embedded files are in hitmesh.model.server_facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DoorFacts:
    """The front door's answer. `status` is an HTTP status; 0 if there is no answer, and `error` has the cause."""

    address: str
    status: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """The answer of a gRPC service to a health check through Envoy, such as SERVING or a gRPC status code."""

    service: str
    part: str
    status: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EnvoyHost:
    """An instance of a service. `reasons` are Envoy's reasons not to use the instance; may be empty."""

    cluster: str
    address: str
    reasons: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class EnvoyFacts:
    """Envoy's state, such as LIVE, and its clusters: expected names, and all instances."""

    address: str
    state: str
    clusters: Sequence[str]
    hosts: Sequence[EnvoyHost]


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """A process according to its metrics. If the process does not answer, `error` has the cause."""

    name: str
    url: str
    part: str = ""
    version: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ContractFile:
    """A file of the contract. `state` is same, different, or missing in the mesh."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class FreshnessFacts:
    """The freshness of reports. `lag_s` is None if the lag is unknown. `ahead` has a text per partition."""

    site: str
    state: str
    lag_s: float | None
    cause: str
    stalled: Sequence[str] = ()
    ahead: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Another clock's time, and this machine's time before and after the reading.

    The other clock shows a time in [at, at + resolution_ms].
    """

    source: str
    at: int
    resolution_ms: int
    before: int
    after: int

    @property
    def skew_ms(self) -> int:
        """Return the smallest possible difference between the clocks; positive if the other clock is ahead."""
        if self.at > self.after:
            return self.at - self.after
        return min(0, self.at + self.resolution_ms - self.before)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A certificate. If the certificate cannot be read, `error` has the cause.

    `source` is the file, or host:port of the front door if `is_of_door`.
    """

    source: str
    subject: str = ""
    not_before: int = 0
    not_after: int = 0
    error: str = ""
    is_of_door: bool = False


@dataclass(frozen=True, slots=True)
class CertificatesFacts:
    """All certificates, and this machine's time."""

    certificates: Sequence[CertificateFacts]
    now: int


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The disk that holds a directory."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class CanaryStep:
    """A step of the canary's journey that succeeded, and the seconds since the start."""

    name: str
    after_s: float
    detail: str


@dataclass(frozen=True, slots=True)
class CountedFacts:
    """What two reports count after the canary.

    Attributes:
        by_page: hits with the canary's page.
        store_of_page: the store that answered this report.
        before: hits on the canary's site before the canary was sent.
        in_all: hits on the site now.
        store_of_all: the store that answered the report on the site.
        is_on_servers: whether the mesh stores its data in Kafka, Cassandra and Druid.
    """

    by_page: int
    store_of_page: str
    before: int
    in_all: int
    store_of_all: str
    is_on_servers: bool

    @property
    def text(self) -> str:
        """The numbers, and the stores that they come from."""
        return (
            f"{self.by_page:,} with its page ({self.store_of_page}), {self.in_all:,} on the site "
            f"({self.store_of_all}) after {self.before:,}"
        )


@dataclass(frozen=True, slots=True)
class CanaryFacts:
    """The canary's journey.

    Attributes:
        site: full name of the canary's site.
        hit_id: id of the hit.
        request_id: the x-request-id of the call that sent the hit.
        steps: the steps that succeeded, in order.
        failed_step: the step that failed; "" if the canary arrived.
        error: why the step failed.
        visible_s: seconds from the acknowledgement until the hit was in a report; None if it never was.
        log_clock: the clock that gave the hit its log time; None if unknown.
    """

    site: str
    hit_id: str
    request_id: str
    steps: Sequence[CanaryStep]
    failed_step: str = ""
    error: str = ""
    visible_s: float | None = None
    log_clock: ClockReading | None = None


@dataclass(frozen=True, slots=True)
class SiteLedger:
    """A site's ledger. `unread_s` is the age of the oldest hit that the processor has not read; 0 if all are read."""

    site: str
    imbalance: int
    unread_hits: int = 0
    unread_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LedgersFacts:
    """Ledgers of sites. `refused` is the number of sites whose ledgers the caller may not read."""

    ledgers: Sequence[SiteLedger]
    refused: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class DamagedDay:
    """A settled site-day whose stored values do not add up."""

    site: str
    utc_date: str
    differences: str
    is_beyond_repair: bool


@dataclass(frozen=True, slots=True)
class HistoryFacts:
    """A check of settled site-days. `is_complete` is false if the deadline ended the check."""

    site_days: int
    hits: int
    damaged: Sequence[DamagedDay]
    is_complete: bool
