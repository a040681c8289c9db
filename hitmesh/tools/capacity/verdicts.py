"""What a load costs most, and what breaks first when the load grows. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hitmesh.model.plurals import counted
from hitmesh.tools.capacity.measured import MEASURED, RULES, Costs, Rules
from hitmesh.tools.capacity.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Driver:
    """A part of the cores or of the data.

    Attributes:
        name: the pods or servers.
        unit: "cores" at the peak, or "TB" with all copies.
        amount: cores or TB.
        share: share of all cores or of all data, from 0 to 1.
    """

    name: str
    unit: str
    amount: float
    share: float


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that ends when the load grows and the rest of the mesh grows with it.

    Attributes:
        name: what ends.
        growth: the load may grow by this factor until it ends. Below 1, it is too small now.
        cure: what to do before.
    """

    name: str
    growth: float
    cure: str


def drivers(sizes: Sizes) -> list[Driver]:
    """Return the parts of all cores and of all data, the largest first within each unit.

    Deep storage is a part of the data.
    """
    cores = {pods.name: pods.cores for pods in sizes.pods} | {nodes.name: nodes.cores for nodes in sizes.nodes}
    data = {nodes.name: nodes.data_bytes / 1e12 for nodes in sizes.nodes if nodes.data_bytes}
    data["deep storage"] = sizes.deep_storage_bytes / 1e12
    return [*_shares("cores", cores), *_shares("TB", data)]


def _shares(unit: str, amounts: dict[str, float]) -> list[Driver]:
    total = sum(amounts.values())
    ranked = sorted(amounts.items(), key=lambda item: -item[1])
    return [Driver(name, unit, amount, amount / total if total else 0.0) for name, amount in ranked]


def limits(sizes: Sizes, costs: Costs = MEASURED, rules: Rules = RULES) -> list[Limit]:
    """Return what ends when the load grows, in the order in which it ends.

    More pods and servers do not help against these limits.
    """
    load = sizes.load
    core_hits_s = 1e6 / (costs.processor_us * load.cpu_factor)
    largest = load.largest_site * load.peak_hits_s / sizes.spread
    rows_us = load.peak_hits_s * costs.druid_larger_rows * costs.druid_row_us * load.cpu_factor
    # The partitions are dealt out to the tasks of a data source, so some tasks may read more partitions than others.
    busiest = math.ceil(sizes.rollups_partitions / sizes.task_count) / sizes.rollups_partitions
    settled = sizes.site_days_s / 86_400
    found = [
        Limit(
            f"a partition of the largest site, which has a spread of {sizes.spread}",
            core_hits_s / largest if largest else float("inf"),
            "create the site with a larger spread (at most 64): the spread of a site never changes",
        ),
        Limit(
            f"{sizes.hits_partitions} hits partitions, each with a core of a processor",
            sizes.hits_partitions * core_hits_s / load.peak_hits_s,
            "create the topic with more partitions: the number cannot change later (hitmesh init --hits-partitions)",
        ),
        Limit(
            "sites that a collector caches",
            rules.cached_sites / load.sites,
            "beyond the cache, each first hit of a site after a while costs two requests to Cassandra. Give each edge "
            "region its collectors, so that a collector sees fewer sites",
        ),
        Limit(
            f"settlement of a day within a day, by {sizes.pods_of('settler').pods} settlers",
            sizes.pods_of("settler").pods * rules.pod_cores / settled if settled else float("inf"),
            "more settlers; most of the time is a fixed cost of each site-day",
        ),
        Limit(
            f"{counted(sizes.task_count, 'Druid task')} for a data source, each with a thread",
            1e6 / (busiest * rows_us),
            "add partitions and tasks (hitmesh init --rollups-partitions, --task-count)",
        ),
    ]
    return sorted(found, key=lambda limit: limit.growth)
