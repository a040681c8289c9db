"""Benchmark sizes: full, or just enough to check that every part runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from processor.settle.memory import DEFAULT_MEMORY
from processor.stream.live.limits import PRODUCTION
from tests.bench.refused_run import CLIENTS


@dataclass(frozen=True)
class Core:
    """Sizes for a run of the processor's core.

    Attributes:
        open_visits: visits that are open during the measurement.
        before_min: minutes of log time before the measurement, which bring the state to its usual size.
        measured_min: minutes of log time that are measured.
        floor: hits per second and core that a run must reach. Below this floor, `ok` is false.
        window_hits: number of hits in each window of records.
    """

    open_visits: int
    before_min: int
    measured_min: int
    floor: float
    window_hits: int = 50_000


@dataclass(frozen=True)
class Backlog:
    """Sizes for the measurement of live traffic beside a backlog.

    Attributes:
        rate: hits per second that `hitmesh load` sends.
        load_s: seconds of load.
        days: number of days in the backlog for each of 16 sites.
        hits: hits per site-day.
        shares: the values of `settle_cpu_share` to measure. None means a measurement without a backlog.
    """

    rate: int
    load_s: int
    days: int
    hits: int
    shares: tuple[float | None, ...]


@dataclass(frozen=True)
class Scale:
    """Sizes for all parts.

    Attributes:
        warm_up_s, collector_s: seconds of load on the collector, before and during the measurement. refused_s: seconds
        for each pair of a kind of refused bytes and a kind of sender. refused_clients: concurrent clients that send
        refused bytes. Each client sends at least one message. collector_batches: distinct batches of 100 hits, which
        are sent repeatedly. A stream remembers fewer batches than `collector_batches`. core, core_many: sizes for the
        processor's core, with the open visits of a large shop and with many more. pages, texts_per_hour: distinct pages
        on a site, and the limit on distinct texts per hour. one_visitor_hits, kept_of_visitor: hits with a single
        visitor id, and the limit on kept hits. Hits beyond the
            limit wait for settlement.
        big_hits: hits on the settled day.
        huge_hits, huge_range_hits: hits on the day that is settled in ranges of visitors, and hits in each range.
        backlog: live traffic while a backlog of history settles.
        series_days, series_hits: days in the reported site's series, and hits per day.
        shared_days, shared_hits: days per site, and hits per site-day. Two settlers share 16 sites.
        many_sites, many_dirty, many_settled: numbers of sites in a store, of dirty site-days, and of site-days to
            settle.
        settlements, calls: how often the day is settled, and how often each question is asked.
        dear_questions: concurrent expensive questions before a small question.
        rates: hits per second that are offered to the mesh, in ascending order. The trials end when a rate is not
            sustained.
        trial_s, mesh_s: seconds for each trial of a rate, and for the final run at the sustained rate.
    """

    warm_up_s: float
    collector_s: float
    refused_s: float
    refused_clients: int
    collector_batches: int
    core: Core
    core_many: Core
    pages: int
    texts_per_hour: int
    one_visitor_hits: int
    kept_of_visitor: int
    big_hits: int
    huge_hits: int
    huge_range_hits: int
    backlog: Backlog
    series_days: int
    series_hits: int
    shared_days: int
    shared_hits: int
    many_sites: int
    many_dirty: int
    many_settled: int
    settlements: int
    calls: int
    dear_questions: int
    rates: tuple[int, ...]
    trial_s: int
    mesh_s: int


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
)
SMALL: Final = Scale(
    warm_up_s=0.5,
    collector_s=0.5,
    refused_s=0.1,
    refused_clients=1,
    collector_batches=300,
    core=Core(500, 92, 16, 0, window_hits=200),
    core_many=Core(1_000, 92, 16, 0, window_hits=200),
    pages=2_000,
    texts_per_hour=100,
    one_visitor_hits=6_000,
    kept_of_visitor=1_000,
    big_hits=2_000,
    huge_hits=20_000,
    huge_range_hits=5_000,
    backlog=Backlog(200, 3, 1, 100, (0.5,)),
    series_days=3,
    series_hits=500,
    shared_days=2,
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
)
