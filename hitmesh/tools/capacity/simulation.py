"""Simulate a busy hour of a planned mesh, second by second, with faults (docs/capacity.md). Pure.

Hits are a fluid. In each second, the hits of a partition go from the edge to a collector, to the broker that leads the
partition, and to the processor that has the partition. Each of them takes as many hits as its cores can handle, and
shares its cores in proportion to what waits. A hit that the collectors cannot take is refused, and the edge offers the
hit again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

import numpy as np

from hitmesh.model.arrays import F64Array, I64Array, U64Array
from hitmesh.model.keys import hash64, partition_of
from hitmesh.tools.capacity.load import Load
from hitmesh.tools.capacity.measured import MEASURED, RULES, Costs, Rules
from hitmesh.tools.capacity.sizes import MAX_HITS_PARTITIONS, Sizes, spread_of

HOUR_S: Final = 3_600
ZIPF: Final = 1.1
"""Exponent of the distribution of hits over sites, as in `hitmesh load`."""
SIMULATED_SITES: Final = 100_000
"""Sites of the simulation. More sites only make partitions more equal."""
SNAPSHOT_S: Final = 180.0
"""Seconds between two snapshots of a partition's state. A successor replays the log since the last snapshot."""
HANDOVER_S: Final = 30.0
"""Seconds until the partitions of a lost processor have a new processor (Kafka's session time-out)."""
MIN_BATCH_S: Final = 0.05
"""Seconds between two micro-batches of a collector with little load."""
BUFFER_S: Final = 5.0
"""Seconds of hits that collectors hold for a broker. Further hits are refused."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A time with less capacity.

    Attributes:
        begins_s, ends_s: seconds of the simulation.
        broker: number of the broker that is slow; -1 for none.
        broker_speed: speed of the slow broker, from 0 to 1.
        zone: number of the zone that is lost; -1 for none.
    """

    begins_s: int = 0
    ends_s: int = 0
    broker: int = -1
    broker_speed: float = 1.0
    zone: int = -1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in the simulated hour.

    Attributes:
        skew: hits of the busiest partition / hits of the mean partition.
        refused: share of the offered hits that were refused at first.
        ack_s: longest wait for an acknowledgement: a micro-batch with a record for each partition, and the wait for
            the slowest broker.
        lag_s: age of the oldest hit that waited for a processor.
        recovered_s: seconds from the end of the fault until no hit waited longer than `LATE_S`; -1 if never.
        records_per_s: records that the collectors write per second.
    """

    skew: float
    refused: float
    ack_s: float
    lag_s: float
    recovered_s: float
    records_per_s: float


LATE_S: Final = 5.0
"""A hit that waits longer than this time counts as late, in seconds."""


@dataclass(slots=True)
class _State:
    waiting: F64Array
    at_broker: F64Array
    at_processor: F64Array
    arrived: list[F64Array] = field(default_factory=list)
    processed: list[F64Array] = field(default_factory=list)
    offered: float = 0.0
    refused: float = 0.0
    ack_s: float = 0.0


def weights_of(partitions: int, load: Load, sites: int = SIMULATED_SITES) -> F64Array:
    """Return the share of the hits that each partition gets, by the partition function of the collector.

    The hits have a Zipf distribution over sites, in which no site has more than the share of the largest site.

    Example:
        >>> shares = weights_of(4, Load(1e9, 1e6, 30, largest_site=0.5), sites=100)
        >>> round(float(shares.sum()), 6)
        1.0
    """
    count = int(min(load.sites, sites))
    shares = _shares(count, max(load.largest_site, 1.0 / count))
    hashes = _hashes(count)
    found = np.zeros(partitions)
    # The shares fall, so that only the first sites need a spread.
    spreads = np.ones(count, np.uint64)
    for number, share in enumerate(shares):
        spreads[number] = spread_of(float(share), partitions)
        if spreads[number] == 1:
            break
    for part in range(int(spreads.max())):
        has_part = spreads > part
        parts = np.full(int(has_part.sum()), part, np.uint64)
        at = partition_of(hashes[has_part], parts, spreads[has_part], partitions)
        np.add.at(found, at, (shares / spreads)[has_part])
    return found


@lru_cache(maxsize=2)
def _hashes(count: int) -> U64Array:
    return np.array([hash64(f"merchants/m{number}/sites/s") for number in range(count)], np.uint64)


def _shares(count: int, largest: float) -> F64Array:
    """Return the share of each site, from the largest to the smallest."""
    shares = np.arange(1, count + 1, dtype=np.float64) ** -ZIPF
    shares /= shares.sum()
    # Capping a share makes the others larger, so the number of capped shares grows until no share is too large.
    for capped in range(count + 1):
        rest = shares[capped:]
        scale = (1.0 - largest * capped) / rest.sum() if len(rest) else 0.0
        if not len(rest) or rest[0] * scale <= largest * (1 + 1e-9):
            return np.concatenate([np.full(capped, largest), rest * scale])
    raise AssertionError("a share of 1 / count or more is always enough")


def simulate(
    sizes: Sizes,
    fault: Fault | None = None,
    *,
    partitions: int | None = None,
    seconds: int = HOUR_S,
    sites: int = SIMULATED_SITES,
    costs: Costs = MEASURED,
    rules: Rules = RULES,
) -> Outcome:
    """Return what happens in `seconds` at the peak rate.

    Args:
        sizes: the mesh.
        fault: a time with less capacity.
        partitions: number of hits partitions, if other than planned.
        seconds: simulated seconds.
        sites: simulated sites.
        costs: measured costs.
        rules: the rules of the plan.
    """
    fault = fault or Fault()
    count = partitions or sizes.hits_partitions
    rate = sizes.load.peak_hits_s
    weights = weights_of(count, sizes.load, sites)
    state = _State(np.zeros(count), np.zeros(count), np.zeros(count))
    for second in range(seconds):
        is_on = fault.begins_s <= second < fault.ends_s
        now = fault if is_on else Fault()
        _collect(state, rate * weights, sizes, now, costs, rules)
        _append(state, sizes, now, costs, rules)
        is_moving = _is_moving(fault, second)
        _process(state, sizes, now, is_moving, costs, rules)
        if fault.zone >= 0 and second in (fault.begins_s, fault.ends_s):
            _replay(state, sizes, rate * weights, costs)
    lags = _lags(np.array(state.arrived), np.array(state.processed))
    batch_s = _batch_s(sizes, count, rate, costs, rules)
    late = np.nonzero(lags > LATE_S)[0]
    last = int(late[-1]) + 1 if len(late) else 0
    recovered = -1.0 if last >= seconds else float(max(0, last - fault.ends_s))
    return Outcome(
        skew=float(weights.max() * count),
        refused=state.refused / state.offered if state.offered else 0.0,
        ack_s=batch_s + state.ack_s,
        lag_s=float(lags.max(initial=0.0)),
        recovered_s=recovered,
        records_per_s=count * sizes.pods_of("collector").pods / max(batch_s, MIN_BATCH_S),
    )


def scenarios(sizes: Sizes) -> dict[str, Callable[[], Outcome]]:
    """Return the simulations that back a plan, by name.

    A simulation with more partitions than a mesh can have is left out, which also bounds the memory.
    """
    ten_minutes = Fault(begins_s=600, ends_s=1_200)
    many = 16 * sizes.hits_partitions
    small = {
        f"{many} hits partitions instead of {sizes.hits_partitions}": lambda: simulate(sizes, partitions=many),
    }
    return {
        "busy hour": lambda: simulate(sizes),
        **(small if many <= MAX_HITS_PARTITIONS else {}),
        "one overloaded broker, at 2 % of its speed for 10 minutes": lambda: simulate(
            sizes, replace(ten_minutes, broker=0, broker_speed=0.02)
        ),
        f"one of {sizes.load.zones} zones lost for 10 minutes": lambda: simulate(sizes, replace(ten_minutes, zone=0)),
    }


def _left(number: int, zones: int, lost: int) -> int:
    """Return how many of `number` pods are left, if pods are dealt out to zones in turn."""
    return number if lost < 0 else number - len(range(lost, number, zones))


def _batch_s(sizes: Sizes, partitions: int, rate: float, costs: Costs, rules: Rules) -> float:
    """Return the time of a micro-batch that has a record for each partition.

    While a collector admits a micro-batch, the hits of the next micro-batch arrive.
    """
    pods = sizes.pods_of("collector").pods
    hits_share = rate / pods * costs.collector_us / 1e6 * sizes.load.cpu_factor / rules.pod_cores
    record_s = partitions * costs.record_us / 1e6 * sizes.load.cpu_factor / rules.pod_cores
    return record_s / max(1e-9, 1.0 - hits_share)


def _collect(state: _State, offered: F64Array, sizes: Sizes, now: Fault, costs: Costs, rules: Rules) -> None:
    pods = _left(sizes.pods_of("collector").pods, sizes.load.zones, now.zone)
    can = pods * rules.pod_cores * 1e6 / (costs.collector_us * sizes.load.cpu_factor)
    state.offered += float(offered.sum())
    state.waiting += offered
    total = float(state.waiting.sum())
    taken = state.waiting * (min(1.0, can / total) if total else 1.0)
    # Collectors hold a bounded number of hits for each partition whose broker is slow.
    taken = np.minimum(taken, np.maximum(0.0, BUFFER_S * offered + offered - state.at_broker))
    before = state.waiting - offered
    state.refused += float(np.maximum(0.0, state.waiting - taken - before).sum())
    state.waiting -= taken
    state.at_broker += taken


def _append(state: _State, sizes: Sizes, now: Fault, costs: Costs, rules: Rules) -> None:
    kafka, partitions = sizes.nodes_of("kafka"), len(state.at_broker)
    brokers = [broker for broker in range(kafka.nodes) if now.zone < 0 or broker % sizes.load.zones != now.zone]
    leaders = np.array(brokers)[np.arange(partitions) % len(brokers)]
    can = rules.broker_cores * 1e6 / (costs.kafka_us * rules.replication * sizes.load.cpu_factor)
    # The other copies of a partition's records are work of followers, on all brokers alike.
    speeds = np.where(np.arange(kafka.nodes) == now.broker, now.broker_speed, 1.0)
    stored = state.at_broker * _part_done(state.at_broker, leaders, can * speeds)
    state.at_broker -= stored
    state.ack_s = max(state.ack_s, float((state.at_broker / np.maximum(stored, 1e-9)).max()))
    state.at_processor += stored
    state.arrived.append(stored)


def _part_done(waiting: F64Array, owners: I64Array, can: F64Array) -> F64Array:
    """Return for each partition which part of its waiting hits its owner can handle in a second."""
    waits = np.bincount(owners, weights=waiting, minlength=len(can))
    parts: F64Array = np.minimum(1.0, can / np.maximum(waits, 1e-12))[owners]
    return parts


def _is_moving(fault: Fault, second: int) -> bool:
    return fault.zone >= 0 and fault.begins_s <= second < fault.begins_s + HANDOVER_S


def _process(state: _State, sizes: Sizes, now: Fault, is_moving: bool, costs: Costs, rules: Rules) -> None:
    processors, partitions = sizes.pods_of("processor").pods, len(state.at_processor)
    pods = [pod for pod in range(processors) if now.zone < 0 or pod % sizes.load.zones != now.zone]
    at = np.arange(partitions)
    # Until a lost processor's partitions have a new processor, nobody handles their hits.
    owners = at % processors if is_moving else np.array(pods)[at % len(pods)]
    can = rules.pod_cores * 1e6 / (costs.processor_us * sizes.load.cpu_factor)
    is_alive = np.zeros(processors)
    is_alive[pods] = 1.0
    done = state.at_processor * _part_done(state.at_processor, owners, can * is_alive)
    state.at_processor -= done
    state.processed.append(done)


def _replay(state: _State, sizes: Sizes, rates: F64Array, costs: Costs) -> None:
    """Add the replay since the last snapshot to what waits, as hits that cost as much CPU time."""
    share = SNAPSHOT_S / 2 * (1e6 / (costs.processor_us * sizes.load.cpu_factor)) / costs.replayed_hits_s
    extra = rates * share / max(1, sizes.load.zones)
    state.at_processor += extra
    state.arrived[-1] = state.arrived[-1] + extra


def _lags(arrived: F64Array, processed: F64Array) -> F64Array:
    """Return the age of the oldest waiting hit after each second, in seconds, over all partitions."""
    seconds = len(arrived)
    arrivals, ends = arrived.cumsum(0), processed.cumsum(0)
    lags = np.zeros(seconds)
    at = np.arange(seconds)
    # Hits never wait in most partitions.
    waits = np.nonzero((arrivals - ends).max(0, initial=0.0) > 1e-6)[0]
    for partition in waits.tolist():
        # The relative tolerance forgives rounding in sums of up to 10^9 hits.
        reached = np.searchsorted(arrivals[:, partition], ends[:, partition] * (1 + 1e-9) + 1e-6, side="right")
        lags = np.maximum(lags, np.maximum(0, at + 1 - reached))
    return lags
