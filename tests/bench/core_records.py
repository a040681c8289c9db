"""Write records of a partition to stdout. The records resemble those of a collector under load.

The arguments are the number of open visits, and the minutes of log time before and during the measurement. The same
arguments always give the same records.

The collector admits the hits of an access log, and the admitted rows serve as patterns. A visit consists of consecutive
rows that begin at a random place in the log. All hits of a visit have the context of the first row. Visitors, hit ids,
times and orders are generated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from collector.records import hits_record
from hitmesh.adapters.factory import open_stores
from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.positions import Topic
from hitmesh.model.reasons import EXCLUDING_FLAGS
from hitmesh.model.records import RecordKind
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from hitmesh.model.rows.hash_columns import hash64_column
from hitmesh.runtime.clock import SystemClock
from tests.bench.filled_store import append
from tests.bench.record_file import write_record
from tests.bench.sites import KEYS, SITES, create_sites
from tests.bench.traffic import DAY, DAY_MS, FRAME_HITS, frames, load_traffic

START_MS: Final = DAY * DAY_MS + 6 * 3_600_000  # an epoch begins at START_MS
MINUTE_MS: Final = 60_000
# A visit leaves the state when more than 30 minutes, the length of a gap, lie between the visit's last hit and the
# horizon. The horizon advances once per epoch. The state therefore keeps a visit for 90 to 105 minutes after its last
# hit, on average 98.
HELD_MS: Final = 98 * MINUTE_MS
HITS_A_VISIT: Final = 5.0
GAP_MS: Final = 45_000  # mean gap between two hits of a visit
MAX_GAP_MS: Final = 20 * MINUTE_MS
OUT_OF_ORDER: Final = 0.02
MAX_DELAY_MS: Final = 50 * MINUTE_MS
COPIES: Final = 0.01
BOTS: Final = 0.05
AGAIN_MS: Final = (3_000, 60 * MINUTE_MS)
RECORD_ROWS: Final = 4_000
CHUNK_MS: Final = 5 * MINUTE_MS
PATTERN_FRAMES: Final = 80
SEED: Final = 11

# Columns that all hits in a visit share with the first hit.
_CONTEXT: Final = (
    "flags", "campaign_hash", "utm_source", "utm_medium", "utm_campaign", "click_id", "utm_term", "utm_content",
    "user_agent", "language", "country", "device_type", "browser", "os", "channel", "source", "medium", "referrer_host",
)  # fmt: skip
_MADE: Final = frozenset(
    {
        "site", "visitor_hi", "visitor_lo", "hit_id", "hit_hash", "content_hash", "event_time", "collect_time",
        "edge_time", "order_id", "batch_id", "batch_index",
    }
)  # fmt: skip
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_SPREAD: Final = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Hits in the order of log time, as arrays of the same length.

    Times are in ms, and `number` is the number of a hit within its visit.
    """

    visit: I64Array
    number: I64Array
    pattern: I64Array
    event_time: I64Array
    log_time: I64Array

    def take(self, places: npt.NDArray[np.intp] | BoolArray) -> Arrivals:
        """Return the hits that `places` selects."""
        return Arrivals(**{name: getattr(self, name)[places] for name in self.__dataclass_fields__})

    @classmethod
    def concat(cls, *parts: Arrivals) -> Arrivals:
        """Return the arrivals of all parts as one object, in the order of the parts."""
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__}
        )


def main() -> None:
    """Write the records."""
    open_visits, before_min, measured_min = map(int, sys.argv[1:])
    patterns = _patterns()
    rate_ms = open_visits / (HELD_MS + HITS_A_VISIT * GAP_MS)
    is_bot = (patterns["flags"] & int(EXCLUDING_FLAGS) != 0).to_numpy()
    for arrivals in _by_log_time(rate_ms, (before_min + measured_min) * MINUTE_MS, is_bot):
        for first in range(0, len(arrivals.visit), RECORD_ROWS):
            part = arrivals.take(np.arange(first, min(first + RECORD_ROWS, len(arrivals.visit))))
            write_record(sys.stdout.buffer, int(part.log_time[-1]), hits_record(_rows(part, patterns), "bench", ""))


def _patterns() -> pl.DataFrame:
    """Return the access log's hits as the collector stores them, sorted by visitor and time."""
    clock = SystemClock()
    stores = open_stores("memory:", clock)
    create_sites(stores.directory)
    append(stores, clock, frames(load_traffic(), KEYS[:1], PATTERN_FRAMES), PATTERN_FRAMES)
    records = stores.log_reader(Topic.HITS, "bench").poll(PATTERN_FRAMES * FRAME_HITS, 0.0)
    stores.close()
    hits = [logged.record.value for logged in records if logged.record.kind == RecordKind.HITS]
    return pl.concat([unpack_record(value, HITS_COLUMNS) for value in hits], rechunk=True).sort(
        "visitor_hi", "visitor_lo", "event_time", maintain_order=True
    )


def _by_log_time(rate_ms: float, span_ms: int, is_bot: BoolArray) -> Iterator[Arrivals]:
    """Yield the arrivals in chunks of five minutes of log time."""
    random = np.random.default_rng(SEED)
    first_visit = 0
    waiting: Arrivals | None = None
    for begin in range(START_MS, START_MS + span_ms, CHUNK_MS):
        visits = int(rate_ms * CHUNK_MS)
        made = _visits(random, first_visit, visits, begin, is_bot)
        first_visit += visits
        known = made if waiting is None else Arrivals.concat(waiting, made)
        is_there = known.log_time < begin + CHUNK_MS
        waiting = known.take(~is_there)
        there = known.take(is_there)
        yield there.take(np.argsort(there.log_time, kind="stable"))


def _visits(random: np.random.Generator, first: int, visits: int, begin: int, is_bot: BoolArray) -> Arrivals:
    """Return the hits of visits that begin within a chunk. 2 % of the hits are delayed, and 1 % are sent twice."""
    lengths = random.geometric(1 / HITS_A_VISIT, visits)
    visit = np.repeat(np.arange(visits), lengths)
    number = np.arange(len(visit)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    gaps = np.minimum(random.exponential(GAP_MS, len(visit)).astype(np.int64), MAX_GAP_MS) + 1
    gaps[number == 0] = 0
    since = np.cumsum(gaps)
    starts = begin + random.integers(0, CHUNK_MS, visits)
    event_time = starts[visit] + since - since[number == 0][visit]
    delays = np.where(random.random(len(visit)) < OUT_OF_ORDER, random.integers(0, MAX_DELAY_MS, len(visit)), 0)
    hits = Arrivals(
        visit=first + visit,
        number=number,
        pattern=_first_patterns(random, visits, is_bot)[visit],
        event_time=event_time,
        log_time=event_time + 1_000 + delays,
    )
    again = np.flatnonzero(random.random(len(visit)) < COPIES)
    copies = hits.take(again)
    copies.log_time[:] += random.integers(*AGAIN_MS, len(again))
    return Arrivals.concat(hits, copies)


def _first_patterns(random: np.random.Generator, visits: int, is_bot: BoolArray) -> I64Array:
    """Choose for each visit the admitted row that the visit's first hit copies.

    5 % of the chosen rows are hits of bots, because a shop has fewer crawlers than the log.
    """
    bots, people = np.flatnonzero(is_bot), np.flatnonzero(~is_bot)
    return np.where(random.random(visits) < BOTS, random.choice(bots, visits), random.choice(people, visits))


def _rows(hits: Arrivals, patterns: pl.DataFrame) -> pl.DataFrame:
    """Return the hits as rows with the columns HITS_COLUMNS."""
    place = (hits.pattern + hits.number) % patterns.height
    ids = (pl.Series(hits.visit).cast(pl.String) + "-" + pl.Series(hits.number).cast(pl.String)).alias("hit_id")
    visitor = _mixed(hits.visit.astype(np.uint64))
    pattern_rows = patterns.select(name for name in HITS_COLUMNS if name not in _MADE and name not in _CONTEXT)[place]
    made = pl.DataFrame(
        {
            "site": pl.Series([site.name for site in SITES]).gather(_site_of(visitor)),
            "visitor_hi": visitor,
            "visitor_lo": _mixed(visitor),
            "hit_id": ids,
            "hit_hash": hash64_column(ids),
            "content_hash": _mixed(visitor + hits.number.astype(np.uint64)),
            "event_time": hits.event_time,
            "collect_time": hits.log_time,
            "edge_time": hits.log_time,
            "batch_id": pl.Series(hits.visit // FRAME_HITS).cast(pl.String),
            "batch_index": pl.Series(hits.visit % FRAME_HITS).cast(pl.UInt32),
        }
    )
    orders = (
        pl.when(pattern_rows["hit_type"] == HitType.ORDER).then(pl.lit("order-") + pl.col("hit_id")).alias("order_id")
    )
    return pl.concat(
        [made, made.select(orders), pattern_rows, patterns.select(_CONTEXT)[hits.pattern]], how="horizontal"
    ).select(*HITS_COLUMNS)


def _site_of(visitor: U64Array) -> npt.NDArray[np.uint32]:
    """Return each visitor's site number. The r-th site has a share of the visitors that is proportional to 1 / r."""
    shares = np.cumsum(1 / np.arange(1, len(SITES) + 1))
    places = np.searchsorted(shares / shares[-1], (visitor >> np.uint64(11)) / float(2**53), side="right")
    return places.astype(np.uint32)


def _mixed(values: U64Array) -> U64Array:
    mixed = (values + np.uint64(1)) * _MIX
    mixed ^= mixed >> np.uint64(32)
    mixed *= _SPREAD
    spread: U64Array = mixed ^ (mixed >> np.uint64(29))
    return spread


if __name__ == "__main__":
    main()
