"""`hitmesh load`: send generated traffic at a fixed rate and check the mesh's counts."""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import CommandFailed, Exit
from hitmesh.tools.cli.options import CommandT, connect, examples, find_endpoint, find_home, mesh_options, output_option
from hitmesh.tools.cli.output import note, print_json, print_table, stderr_console
from hitmesh.tools.cli.progress import LINE_EVERY_S

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from hitmesh.tools.load.outcome import Outcome
    from hitmesh.tools.load.show import Live

OWN_TARGET: Final = "--i-own-this-target"
MAX_STREAMS: Final = 32
MAX_FRAME_HITS: Final = 1_000
DEFAULT_TIMEOUT_S: Final = 300.0
SHAPES: Final = ("shop", "wild")


def _percent(name: str, default: float, meaning: str) -> Callable[[CommandT], CommandT]:
    option = f"{name.removeprefix('--').replace('-', '_')}_percent"
    kind = click.FloatRange(0, 50)
    return click.option(name, option, type=kind, default=default, show_default=True, metavar="P", help=meaning)


def _number(
    name: str, default: float, kind: click.ParamType[Any], metavar: str, meaning: str, parameter: str | None = None
) -> Callable[[CommandT], CommandT]:
    names = (name, parameter) if parameter else (name,)
    return click.option(*names, type=kind, default=default, show_default=True, metavar=metavar, help=meaning)


@click.command(
    short_help="Send generated traffic and check the counts.",
    epilog=examples(
        "hitmesh load --rate 2000 --duration 30 --sites 100",
        "hitmesh load --rate 200 --duration 30 --sites 4 --shape wild",
        "hitmesh load --rate 12000 --duration 60 --sites 1000 --zipf 1.1 --late 1 --duplicates 1 --bots 3 -o json",
    ),
)
@click.option("--shape", type=click.Choice(SHAPES), default=SHAPES[0], show_default=True, help="Kind of traffic.")
@_number("--rate", 1_000, click.FloatRange(0.1, 1_000_000), "R", "Hits per second, copies included.")
@_number("--duration", 30, click.FloatRange(1, 86_400), "S", "Seconds to send.", "duration_s")
@_number("--sites", 100, click.IntRange(1, 100_000), "N", "Number of sites, which are named demo/load-0001 and so on.")
@_number(
    "--zipf",
    1.0,
    click.FloatRange(0, 4),
    "S",
    "The site at rank r gets a share proportional to 1 / r^S; 0 = equal shares.",
)
@_percent("--late", 0, "Percent of hits sent 61 minutes to 20 hours after their event time.")
@_percent("--out-of-order", 2, "Percent of hits sent up to 50 minutes after their event time.")
@_percent("--duplicates", 0, "Percent of hits that are sent again 3 to 60 s later.")
@_percent("--bots", 0, "Percent of visitors that are crawlers.")
@_number("--seed", 1, click.INT, "N", "Seed: the same seed generates the same hits, except for their times and ids.")
@_number("--streams", 4, click.IntRange(1, MAX_STREAMS), "N", "Concurrent streams.")
@_number(
    "--frame",
    100,
    click.IntRange(1, MAX_FRAME_HITS),
    "N",
    "Maximum number of hits in a frame (a batch on a stream).",
    "max_frame_hits",
)
@_number(
    "--timeout",
    DEFAULT_TIMEOUT_S,
    click.FloatRange(min=0),
    "S",
    "Seconds to wait until reports show all hits.",
    "timeout_s",
)
@click.option(OWN_TARGET, "own_target", is_flag=True, help="Allow a mesh that is not on this machine.")
@output_option("table", "json")
@mesh_options
def load(
    streams: int,
    timeout_s: float,
    own_target: bool,
    output: str,
    endpoint: str | None,
    home: Path | None,
    **plan: Any,
) -> None:
    """Send generated traffic at a fixed rate, then check that the mesh counted exactly the hits sent.

    A slow mesh never lowers the rate, and each latency is measured from the time at which the frame was due. The
    command prints rates, latencies, the freshness of probe hits, and the CPU and memory use of the mesh. Then the
    command compares every site's report with the sent hits, and checks every site's ledger. The exit code is 7 if a
    total differs, the ledger does not balance, a hit is refused or a probe never appears in a report.

    The command sends only to this machine, unless you confirm that the target mesh is yours.
    """
    place = find_home(home)
    address = find_endpoint(endpoint, place)
    if not (own_target or is_loopback(address)):
        raise RefusedError(
            f"{address} is not on this machine, and a load test can harm the owner's mesh: "
            f"add {OWN_TARGET} if the mesh is yours",
            field="endpoint",
            reason=LocalReason.NOT_LOOPBACK,
        )
    with connect(endpoint, home, needs_key=True) as mesh:
        from hitmesh.tools.load.plan import LoadPlan
        from hitmesh.tools.load.run import LoadOptions, run_load

        options = LoadOptions(address, place, streams, timeout_s)
        with Shown() as shown:
            outcome = run_load(LoadPlan(**_with_defaults(plan)), options, mesh, shown)
    _print(output, outcome)
    if outcome.problems:
        raise CommandFailed(Exit.PROBLEMS_FOUND, "; ".join(outcome.problems), reason=LocalReason.LOAD_MISMATCH)


def _with_defaults(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the plan; an option that was not given gets the default of the traffic shape."""
    from hitmesh.tools.load.plan import WILD, WILD_DEFAULTS

    source_of = click.get_current_context().get_parameter_source
    unasked = {name: value for name, value in WILD_DEFAULTS.items() if source_of(name) is ParameterSource.DEFAULT}
    return plan | unasked if plan["shape"] == WILD else plan


def is_loopback(address: str) -> bool:
    """Return whether the text `host:port` names this machine, without a DNS lookup."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Shown:
    """Progress display of a run on stderr: a bar on a terminal, else a line every 10 s.

    Use the display as a context manager.
    """

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._printed_at_s = time.monotonic()
        self._phase = ""

    def __enter__(self) -> Shown:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TaskProgressColumn())
            self._bar = Bar(*columns, console=stderr_console(), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase."""
        self._phase = name
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total)

    def reached(self, done: int) -> None:
        """Show how many units of the phase are finished."""
        self._show(f"{self._phase}: {done:,}", self._phase, done)

    def sending(self, live: Live) -> None:
        """Show the progress of sending."""
        line = sending_line(live)
        self._show(line, line, live.hits.acknowledged)

    def _show(self, line: str, description: str, done: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=description, completed=done)
        elif self._bar is None and time.monotonic() - self._printed_at_s >= LINE_EVERY_S:
            self._printed_at_s = time.monotonic()
            note(line)


def sending_line(live: Live) -> str:
    """Return the progress line for the sending phase."""
    elapsed_s = max(live.elapsed_s, 0.001)
    parts = [
        f"sending: offered {live.hits.offered / elapsed_s:,.0f}/s",
        f"acknowledged {live.hits.acknowledged / elapsed_s:,.0f}/s",
        f"waiting {live.waiting_bytes / 1_000_000:,.1f} MB",
        "lag ?" if live.lag_s is None else f"lag {live.lag_s:,.1f} s",
    ]
    if live.hits.shed:
        parts.append(f"not sent {live.hits.shed:,}")
    return ", ".join(parts)


def _print(output: str, outcome: Outcome) -> None:
    if output == "json":
        print_json(outcome.as_json())
    else:
        print_table(("run", outcome.run), outcome.as_rows(), right_from=2)
