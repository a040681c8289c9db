"""Compute the sizes of a mesh from a load and from measured costs (docs/capacity.md). Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.capacity.load import Load
from hitmesh.tools.capacity.measured import MEASURED, RULES, Costs, Rules

MIN_PODS: Final = 2
"""Pods of a service, so that one of them can be replaced."""
MAX_SPREAD: Final = 64
"""Largest spread of a site."""
MAX_HITS_PARTITIONS: Final = 4_096
"""Largest number of hits partitions that `hitmesh init` takes."""
MAX_TASKS: Final = 1_024
"""Largest number of Druid tasks of a data source, and of partitions of rows, that `hitmesh init` takes."""


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of a service.

    Attributes:
        name: the service.
        pods: number of pods at the peak.
        cores: cores that the service uses at the peak, in all pods together.
        memory_bytes: memory of a pod.
        cache_bytes: disk of a pod for kept hits; 0 if the service keeps nothing.
    """

    name: str
    pods: int
    cores: float
    memory_bytes: float
    cache_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Nodes:
    """The servers of a store.

    Attributes:
        name: the kind of server.
        nodes: number of servers.
        for_cores, for_data: servers that the CPU time needs, and that the data need. `nodes` is at least both.
        cores: cores that all servers together use at the peak.
        data_bytes: bytes of data on all servers, with all copies.
    """

    name: str
    nodes: int
    for_cores: int
    for_data: int
    cores: float
    data_bytes: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """Everything that a mesh needs for a load.

    Attributes:
        load: the load.
        hits_partitions: partitions of the topic of hits, a power of two. The number can never change.
        rollups_partitions: partitions of each topic that Druid reads.
        task_count: Druid tasks of each data source.
        spread: partitions over which the hits of the largest site are spread.
        open_visits: open visits in the state of all processors at the peak.
        site_days_s: seconds of CPU time with which settlers settle a day.
        deep_storage_bytes: bytes of segments in deep storage.
        pods: the services.
        nodes: the stores.
    """

    load: Load
    hits_partitions: int
    rollups_partitions: int
    task_count: int
    spread: int
    open_visits: float
    site_days_s: float
    deep_storage_bytes: float
    pods: tuple[Pods, ...]
    nodes: tuple[Nodes, ...]

    def pods_of(self, name: str) -> Pods:
        """Return the pods of a service."""
        return next(pods for pods in self.pods if pods.name == name)

    def nodes_of(self, name: str) -> Nodes:
        """Return the servers of a store."""
        return next(nodes for nodes in self.nodes if nodes.name == name)


def sizes_for(load: Load, costs: Costs = MEASURED, rules: Rules = RULES) -> Sizes:
    """Return what a mesh needs to take a load.

    Cores are computed for the peak, data for the retention. A pod or server is used at most to `rules.use`, and the
    pods and servers that are left without a zone can still take the peak.

    Raises:
        RefusedError: the load needs more partitions or tasks than a mesh can have (INVALID_LOAD).

    Example:
        >>> sizes = sizes_for(Load(hits_per_day=2e9, sites=1_000_000, retention_days=400))
        >>> sizes.hits_partitions, sizes.pods_of("processor").pods, sizes.nodes_of("kafka").nodes
        (16, 5, 3)
    """
    processors = _processors(load, costs, rules)
    partitions, tasks = hits_partitions(processors.pods), _tasks(load, costs, rules)
    _check(partitions, MAX_HITS_PARTITIONS, "hits partitions")
    _check(tasks, MAX_TASKS, "Druid tasks")
    return Sizes(
        load=load,
        hits_partitions=partitions,
        rollups_partitions=_power_of_two(max(2, tasks)),
        task_count=tasks,
        spread=spread_of(load.largest_site, partitions),
        open_visits=load.peak_hits_s * rules.state_s * costs.open_visits,
        site_days_s=_settled_s(load, costs),
        deep_storage_bytes=load.hits_per_day * costs.segment_bytes * load.retention_days,
        pods=(
            _service("envoy", load, load.peak_hits_s * costs.envoy_us / 1e6, rules),
            _service("collector", load, load.peak_hits_s * costs.collector_us / 1e6, rules),
            processors,
            _settlers(load, costs, rules),
            _service("reporter", load, load.peak_reports_s * costs.report_ms / 1e3, rules),
            _service("control", load, 0.1, rules),
        ),
        nodes=(_kafka(load, costs, rules), _cassandra(load, costs, rules), *_druid(load, costs, rules)),
    )


def _check(needed: int, most: int, what: str) -> None:
    if needed > most:
        raise RefusedError(
            f"the load needs {needed:,} {what}, and a mesh has at most {most:,}: divide the sites among several meshes",
            field="hits_per_day",
            reason=LocalReason.INVALID_LOAD,
        )


def hits_partitions(processors: int) -> int:
    """Return the number of hits partitions: a power of two that leaves room for twice as many processors.

    Example:
        >>> [hits_partitions(processors) for processors in (2, 5, 25)]
        [4, 16, 64]
    """
    return _power_of_two(2 * processors)


def raw_days(load: Load, rules: Rules = RULES) -> float:
    """Return for how many days raw records are kept: at least as long as the oldest hit that may arrive (rule T3).

    Example:
        >>> raw_days(Load(1e9, 1e6, 30)), raw_days(Load(1e9, 1e6, 1_000))
        (430.0, 1000)
    """
    return max(load.retention_days, rules.raw_days)


def spread_of(share: float, partitions: int) -> int:
    """Return over how many partitions a site's hits must be spread (architecture A4).

    A partition is handled by a single core, and sites meet in partitions by chance. Each part of a site therefore has
    at most half of the hits of a mean partition.

    Args:
        share: share of all hits that the site gets, from 0 to 1.
        partitions: number of hits partitions.

    Example:
        >>> [spread_of(share, 64) for share in (0.001, 0.02, 0.1, 1.0)]
        [1, 3, 13, 64]
    """
    return min(partitions, MAX_SPREAD, max(1, math.ceil(2 * share * partitions)))


def _pods_for(cores: float, load: Load, rules: Rules) -> int:
    """Return the pods that take the peak at the permitted use, and that take it without a zone, too."""
    return _number_for(cores * load.cpu_factor / rules.pod_cores, MIN_PODS, load, rules)


def _number_for(full: float, minimum: int, load: Load, rules: Rules) -> int:
    """Return the number of pods or servers.

    Args:
        full: pods or servers that the peak uses completely.
        minimum: smallest number.
        load: the load.
        rules: the rules of the plan.
    """
    for_use = math.ceil(full / rules.use)
    if load.zones == 1:
        return max(minimum, for_use)
    # The zone that is lost has the most.
    number = max(minimum, for_use, math.ceil(full * load.zones / (load.zones - 1)))
    while number - math.ceil(number / load.zones) < full:
        number += 1
    return number


def _service(name: str, load: Load, cores: float, rules: Rules) -> Pods:
    return Pods(name, _pods_for(cores, load, rules), cores * load.cpu_factor, rules.base_bytes)


def _processors(load: Load, costs: Costs, rules: Rules) -> Pods:
    cores = load.peak_hits_s * costs.processor_us / 1e6
    pods = _pods_for(cores, load, rules)
    # The processors that are left without a zone hold the whole state.
    left = pods if load.zones == 1 else pods - math.ceil(pods / load.zones)
    visits = load.peak_hits_s * rules.state_s * costs.open_visits / left
    memory, cache = rules.base_bytes + visits * costs.visit_bytes, visits * costs.kept_bytes
    return Pods("processor", pods, cores * load.cpu_factor, memory, cache)


def _settled_s(load: Load, costs: Costs) -> float:
    return (load.hits_per_day * costs.settled_hit_us / 1e6 + load.sites * costs.settled_site_day_ms / 1e3) * (
        load.cpu_factor
    )


def _settlers(load: Load, costs: Costs, rules: Rules) -> Pods:
    # A settler that is late delays no live number, so settlers need no spare cores for the loss of a zone.
    cores = _settled_s(load, costs) / rules.settle_s
    return Pods("settler", max(MIN_PODS, math.ceil(cores / rules.pod_cores)), cores, 2 * rules.base_bytes)


def _tasks(load: Load, costs: Costs, rules: Rules) -> int:
    """Return the tasks of the larger data source; the other data source gets as many."""
    cores = load.peak_hits_s * costs.druid_larger_rows * costs.druid_row_us / 1e6 * load.cpu_factor
    return max(1, math.ceil(cores / rules.use))


def _kafka(load: Load, costs: Costs, rules: Rules) -> Nodes:
    days = rules.hits_days * costs.log_bytes + rules.rows_days * costs.rows_bytes
    cores = load.peak_hits_s * costs.kafka_us * rules.replication / 1e6
    data = load.hits_per_day * days * rules.replication
    return _nodes("kafka", load, cores, rules.broker_cores, data, rules.broker_bytes, rules)


def _cassandra(load: Load, costs: Costs, rules: Rules) -> Nodes:
    cores = load.peak_hits_s * costs.cassandra_us * rules.replication / 1e6
    raw = costs.log_bytes * raw_days(load, rules)
    series = (costs.stored_bytes - costs.log_bytes) * load.retention_days
    data = load.hits_per_day * (raw + series) * rules.replication
    return _nodes("cassandra", load, cores, rules.cassandra_cores, data, rules.cassandra_bytes, rules)


def _druid(load: Load, costs: Costs, rules: Rules) -> tuple[Nodes, Nodes]:
    segments = load.hits_per_day * costs.segment_bytes * load.retention_days * rules.replication
    ingestion, queries = (load.peak_hits_s * us / 1e6 for us in (costs.indexer_us, costs.druid_us))
    return (
        _nodes("druid-indexer", load, ingestion, rules.druid_cores, 0.0, math.inf, rules),
        _nodes("druid-historical", load, queries, rules.druid_cores, segments, rules.historical_bytes, rules),
    )


def _nodes(
    name: str, load: Load, cores: float, node_cores: float, data: float, node_bytes: float, rules: Rules
) -> Nodes:
    cores *= load.cpu_factor
    for_cores, for_data = _number_for(cores / node_cores, 0, load, rules), math.ceil(data / node_bytes)
    return Nodes(name, max(rules.replication, for_cores, for_data), for_cores, for_data, cores, data)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
