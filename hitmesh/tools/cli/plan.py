"""`hitmesh plan`: which servers and pods a load needs."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.options import examples, output_option
from hitmesh.tools.cli.output import echo, note, print_json

_DAYS: Final = re.compile(r"([0-9]{1,6})d", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?(e[0-9]{1,2})?", re.ASCII)


def number(_ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return the value of a number such as 2000000000, 1_000_000 or 2e9."""
    if value is None:
        return None
    if _NUMBER.fullmatch(value.replace("_", "")):
        return float(value.replace("_", ""))
    raise click.BadParameter(f"{value!r} is not a number: write 2000000000, 2_000_000_000 or 2e9", param=param)


def days(_ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Return the number of days in a text such as 400d."""
    found = _DAYS.fullmatch(value)
    if found:
        return float(found[1])
    raise click.BadParameter(f"{value!r} is not a time in days: write for example 400d", param=param)


@click.command(
    short_help="Compute the servers and pods for a load.",
    epilog=examples(
        "hitmesh plan --hits-per-day 2e9 --sites 1e6 --retention 400d",
        "hitmesh plan --hits-per-day 1e10 --sites 3e6 --retention 90d --simulate",
        "hitmesh plan --hits-per-day 2e9 --sites 1e6 --retention 400d -o kustomize "
        "> k8s/overlays/shop/size/kustomization.yaml",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
@click.option("--hits-per-day", required=True, callback=number, metavar="N", help="Accepted hits of an average day.")
@click.option("--sites", required=True, callback=number, metavar="N", help="Sites that get hits on a day.")
@click.option("--retention", required=True, callback=days, metavar="DAYS", help="How long data are kept, as 400d.")
@click.option("--peak", default="3", show_default=True, callback=number, metavar="X", help="Peak rate / mean rate.")
@click.option("--reports-per-day", callback=number, metavar="N", help="Reports of an average day. Default: 10 a site.")
@click.option(
    "--largest-site", default="0.02", show_default=True, callback=number, help="Share of the hits, from 0 to 1."
)
@click.option("--zones", default=3, show_default=True, type=click.IntRange(1, 9), help="Availability zones.")
@click.option(
    "--cpu-factor",
    default="1",
    show_default=True,
    callback=number,
    metavar="X",
    help="CPU time on your cores / CPU time on the measured cores, for the same work.",
)
@click.option("--simulate", is_flag=True, help="Also simulate a busy hour of the planned mesh, with faults.")
@output_option("table", "json", "kustomize")
def plan(output: str, simulate: bool, zones: int, retention: float, **numbers: Any) -> None:
    """Compute the brokers, partitions, pods and servers that a load needs.

    The numbers come from measurements of this version (docs/performance.md), and docs/capacity.md explains the
    arithmetic. The command calls no mesh. -o kustomize prints a component with the sizes of the services.
    """
    from hitmesh.tools.capacity.load import REPORTS_PER_SITE, Load
    from hitmesh.tools.capacity.sizes import sizes_for
    from hitmesh.tools.cli import plan_output

    if numbers["reports_per_day"] is None:
        numbers["reports_per_day"] = REPORTS_PER_SITE * numbers["sites"]
    sizes = sizes_for(Load(retention_days=retention, zones=zones, **numbers))
    outcomes = plan_output.simulated(sizes, note) if simulate else {}
    if output == "json":
        print_json(plan_output.as_json(sizes, outcomes))
    elif output == "kustomize":
        echo(plan_output.as_component(sizes), nl=False)
    else:
        plan_output.show(sizes, outcomes)
