"""Benchmark sizes: full, or just enough to check that every part runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from processor.settle.memory import DEFAULT_MEMORY
from processor.stream.live.limits import PRODUCTION
from tests.bench.refused_run import CLIENTS

LOAD_SITES: Final = 100


@dataclass(frozen=True)
class Core:
    """Sizes for a run of the processor's core."""

    open_visits: int
    """Number of visits that are open during the measurement."""
    before_min: int
    """Minutes of log time before the measurement, in which the state grows to its usual size."""
    measured_min: int
    """Minutes of log time that are measured."""
    floor: float
    """Hits per second and core that a run must reach. Below the floor, `ok` is false."""
    window_hits: int = 50_000
    """Number of hits in each window of records."""


@dataclass(frozen=True)
class Backlog:
    """Sizes for the measurement of live traffic beside a backlog."""

    rate: int
    """Hits per second that `hitmesh load` sends."""
    load_s: int
    """Seconds of load."""
    days: int
    """Number of days in the backlog of each of 16 sites."""
    hits: int
    """Number of hits per site-day."""
    shares: tuple[float | None, ...]
    """The values of `settle_cpu_share` to measure. None means a measurement without a backlog."""
    load_sites: int = LOAD_SITES
    """Number of sites to which `hitmesh load` sends hits."""


@dataclass(frozen=True)
class Scale:
    """Sizes for all parts."""

    warm_up_s: float
    """Seconds of load on the collector before the measurement."""
    collector_s: float
    """Seconds of load on the collector during the measurement."""
    refused_s: float
    """Seconds for each combination of a kind of refused bytes and a kind of sender."""
    refused_clients: int
    """Number of concurrent clients that send refused bytes. Each client sends at least one message."""
    collector_batches: int
    """Number of distinct batches of 100 hits, which are sent repeatedly.

    A stream remembers fewer batches than `collector_batches`.
    """
    core: Core
    """Sizes for the processor's core with the open visits of a large shop."""
    core_many: Core
    """Sizes for the processor's core with many more open visits."""
    handover: Core
    """Sizes of the state that a processor hands over to another processor."""
    pages: int
    """Number of distinct pages on a site."""
    texts_per_hour: int
    """Maximum number of distinct texts per hour."""
    one_visitor_hits: int
    """Number of hits with a single visitor id."""
    kept_of_visitor: int
    """Maximum number of kept hits of a visitor. Hits beyond the maximum wait for settlement."""
    big_hits: int
    """Number of hits on the settled day."""
    huge_hits: int
    """Number of hits on the day that is settled in ranges of visitors."""
    huge_range_hits: int
    """Number of hits in each range of visitors."""
    backlog: Backlog
    """Sizes for live traffic while a backlog of history settles."""
    series_days: int
    """Number of days in the series of the reported site."""
    series_hits: int
    """Number of hits per day in the series of the reported site."""
    shared_days: int
    """Number of days for each of the 16 sites that two settlers share."""
    shared_hits: int
    """Number of hits per site-day on the sites that two settlers share."""
    many_sites: int
    """Number of sites in a store with many sites."""
    many_dirty: int
    """Number of dirty site-days in a store with many sites."""
    many_settled: int
    """Number of site-days to settle in a store with many sites."""
    settlements: int
    """Number of times that the day is settled."""
    calls: int
    """Number of times that each question is asked."""
    dear_questions: int
    """Number of concurrent expensive questions before a small question."""
    rates: tuple[int, ...]
    """Hits per second to send to the mesh, in ascending order. A rate that is not sustained ends the trials."""
    trial_s: int
    """Seconds for each trial of a rate."""
    mesh_s: int
    """Seconds for the final run at the sustained rate."""
    load_sites: int
    """Number of sites to which `hitmesh load` sends hits."""
    neighbours: tuple[float, int, int, int]
    """For a merchant beside another: seconds of each measurement; the other's hits and reports per second; rounds."""
    overload_s: float
    """Seconds at twice the sustained rate."""


# After 107 minutes of log time, entries of all kinds have begun to expire, so the size of the state is stable. A run
# with ten million open visits takes a quarter of an hour. A run of one epoch with two million open visits executes the
# same code.
FULL: Final = Scale(
    warm_up_s=4.0,
    collector_s=12.0,
    refused_s=20.0,
    refused_clients=CLIENTS,
    collector_batches=2_000,
    core=Core(500_000, 107, 43, 150_000),
    core_many=Core(2_000_000, 107, 15, 0),
    handover=Core(400_000, 107, 1, 0),
    pages=2_000_000,
    texts_per_hour=PRODUCTION.texts_per_hour,
    one_visitor_hits=1_000_000,
    kept_of_visitor=PRODUCTION.kept_of_visitor,
    big_hits=210_000,
    huge_hits=10_000_000,
    huge_range_hits=DEFAULT_MEMORY.range_hits,
    backlog=Backlog(8_000, 30, 3, 4_000, (None, 1.0, 0.5)),
    series_days=90,
    series_hits=5_000,
    shared_days=12,
    shared_hits=1_000,
    many_sites=1_000_000,
    many_dirty=100_000,
    many_settled=10_000,
    settlements=7,
    calls=200,
    dear_questions=50,
    rates=(12_000, 20_000, 30_000, 45_000, 65_000),
    trial_s=15,
    mesh_s=60,
    load_sites=LOAD_SITES,
    neighbours=(20.0, 10_000, 100, 3),
    overload_s=120.0,
)
SMALL: Final = Scale(
    warm_up_s=0.5,
    collector_s=0.5,
    refused_s=0.1,
    refused_clients=1,
    collector_batches=300,
    core=Core(500, 92, 16, 0, window_hits=200),
    core_many=Core(1_000, 2, 16, 0, window_hits=400),
    handover=Core(500, 92, 1, 0, window_hits=400),
    pages=2_000,
    texts_per_hour=100,
    one_visitor_hits=3_000,
    kept_of_visitor=500,
    big_hits=2_000,
    huge_hits=4_000,
    huge_range_hits=1_000,
    backlog=Backlog(200, 3, 1, 100, (0.5,), load_sites=3),
    series_days=3,
    series_hits=500,
    shared_days=1,
    shared_hits=100,
    many_sites=200,
    many_dirty=70,
    many_settled=10,
    settlements=1,
    calls=2,
    dear_questions=3,
    rates=(200,),
    trial_s=2,
    mesh_s=2,
    load_sites=3,
    neighbours=(1.0, 1_000, 100, 1),
    overload_s=1.0,
)
