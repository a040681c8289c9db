"""Write the tables of docs/capacity.md.

`python -m hitmesh.tools.capacity.page docs/capacity.md` writes the sizes, the limits and the simulations of four loads
into the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hitmesh.tools.capacity.load import REPORTS_PER_SITE, Load
from hitmesh.tools.capacity.simulation import Outcome, scenarios
from hitmesh.tools.capacity.sizes import Sizes, sizes_for
from hitmesh.tools.capacity.verdicts import drivers, limits

BEGIN: Final = "<!-- the tables begin: python -m hitmesh.tools.capacity.page docs/capacity.md -->"
END: Final = "<!-- the tables end -->"
LOADS: Final = tuple(
    Load(hits, sites, 400, reports_per_day=REPORTS_PER_SITE * sites)
    for hits, sites in ((1e8, 1e4), (1e9, 3e5), (2e9, 1e6), (1e10, 3e6))
)
"""The loads of the page. Each load has a retention of 400 days, a peak of 3, and three zones."""


def tables() -> str:
    """Return the Markdown tables of all loads."""
    sizes = [sizes_for(load) for load in LOADS]
    return "\n".join(("", *_sizes(sizes), "", *_drivers(sizes), "", *_limits(sizes), "", *_simulations(sizes[1:]), ""))


def with_tables(page: str) -> str:
    """Return the page, with the current tables between its BEGIN and END comments."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _heads(sizes: Sequence[Sizes], first: str) -> Iterator[str]:
    names = " | ".join(f"{each.load.hits_per_day / 1e9:g} billion, {each.load.sites:,.0f} sites" for each in sizes)
    yield f"| {first} | {names} |"
    yield "|---" * (len(sizes) + 1) + "|"


def _sizes(sizes: Sequence[Sizes]) -> Iterator[str]:
    yield from _heads(sizes, "hits per day")
    yield _row("hits/s: mean · peak", [f"{z.load.mean_hits_s:,.0f} · {z.load.peak_hits_s:,.0f}" for z in sizes])
    yield _row("hits partitions · partitions of rows", [f"{z.hits_partitions} · {z.rollups_partitions}" for z in sizes])
    yield _row("spread of a site with 2 % of the hits", [str(z.spread) for z in sizes])
    for index, pods in enumerate(sizes[0].pods):
        cells = [f"{z.pods[index].pods} ({z.pods[index].cores:,.1f} cores)" for z in sizes]
        yield _row(f"pods: {pods.name}", cells)
    memory = [(z.pods_of("processor").memory_bytes / 2**30, z.pods_of("processor").cache_bytes / 2**30) for z in sizes]
    yield _row("memory · disk of a processor", [f"{each:.1f} · {disk:.0f} GiB" for each, disk in memory])
    for index, nodes in enumerate(sizes[0].nodes):
        cells = [f"{z.nodes[index].nodes} ({z.nodes[index].data_bytes / 1e12:,.1f} TB)" for z in sizes]
        yield _row(f"servers: {nodes.name}", cells)
    yield _row("deep storage", [f"{z.deep_storage_bytes / 1e12:,.1f} TB" for z in sizes])


def _drivers(sizes: Sequence[Sizes]) -> Iterator[str]:
    yield from _heads(sizes, "what costs most")
    for unit in ("cores", "TB"):
        ranked = [[driver for driver in drivers(z) if driver.unit == unit][:3] for z in sizes]
        for place in range(3):
            cells = [f"{each[place].name} {each[place].share:.0%}" for each in ranked]
            yield _row(f"{place + 1}. of all {unit}", cells)


def _limits(sizes: Sequence[Sizes]) -> Iterator[str]:
    yield from _heads(sizes, "what ends first, and at which load")
    for place in range(3):
        found = [limits(z)[place] for z in sizes]
        yield _row(f"{place + 1}.", [f"{limit.growth:.2g} ×: {limit.name}" for limit in found])


def _simulations(sizes: Sequence[Sizes]) -> Iterator[str]:
    yield from _heads(sizes, "simulated hour at the peak")
    runs = [list(scenarios(each).values()) for each in sizes]
    names = ("no fault", "16 times the hits partitions", "an overloaded broker", "a lost zone")
    for name, *found in zip(names, *runs, strict=True):
        yield _row(name, [outcome_text(run()) for run in found])


def outcome_text(outcome: Outcome) -> str:
    """Return what happened in a simulated hour."""
    recovered = f", over after {outcome.recovered_s:,.0f} s" if outcome.recovered_s else ""
    if outcome.recovered_s < 0:
        recovered = ", not over in the hour"
    return f"ack {outcome.ack_s:,.2f} s, lag {outcome.lag_s:,.0f} s{recovered}, refused {outcome.refused:.1%}"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
