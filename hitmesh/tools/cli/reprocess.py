"""`hitmesh reprocess`: the command group for reprocessings, and the commands that only show reprocessings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import CommandT, connect_as_operator, examples, operator_options, output_option

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import reprocessing_pb2

_SHOW = "hitmesh.tools.cli.reprocess"
_WORK = "hitmesh.tools.cli.reprocess_work"


@click.group(
    cls=LazyGroup,
    lazy={
        "plan": LazyCommand("hitmesh.tools.cli.reprocess_plan:plan", "Store the plan of a reprocessing."),
        "run": LazyCommand(f"{_WORK}:run_command", "Recompute the days of a plan; no report changes."),
        "status": LazyCommand(f"{_SHOW}:status", "Show the state and progress of reprocessings."),
        "diff": LazyCommand("hitmesh.tools.cli.reprocess_diff:diff", "Compare the recomputed days with the reports."),
        "publish": LazyCommand(f"{_WORK}:publish", "Let reports read the recomputed days."),
        "rollback": LazyCommand(f"{_WORK}:rollback", "Let reports read the previous numbers again."),
        "cancel": LazyCommand(f"{_WORK}:cancel", "Drop a plan, or the recomputed days."),
        "list": LazyCommand(f"{_SHOW}:list_command", "List all reprocessings, the newest first."),
        "retired": LazyCommand(
            "hitmesh.tools.cli.reprocess_retired:retired", "List replaced rows and when they are removed."
        ),
        "check": LazyCommand("hitmesh.tools.cli.reprocess_check:check", "Find days whose stored values do not add up."),
    },
    name="reprocess",
    short_help="Recompute settled days, compare, publish, undo.",
    epilog=examples(
        "hitmesh reprocess plan --site demo/example --since 2026-11-01 --until 2026-11-07",
        "hitmesh reprocess run 20261129-x7k2p4 --wait",
        "hitmesh reprocess diff 20261129-x7k2p4",
        "hitmesh reprocess publish 20261129-x7k2p4 --wait",
        "hitmesh reprocess rollback 20261129-x7k2p4 --wait",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def reprocess_group() -> None:
    """Recompute settled days from the raw hits; compare, publish or roll back the result.

    Days are UTC days. The commands need an operator's key. Only `publish` and `rollback` change reports; both replace
    whole days of a site. The settler in the processor does the work.
    """


@click.command(
    short_help="Show the state and progress of reprocessings.",
    epilog=examples(
        "hitmesh reprocess status",
        "hitmesh reprocess status 20261129-x7k2p4 -o json",
    ),
)
@click.argument("id_", metavar="[ID]", required=False)
@output_option("table", "json")
@operator_options
def status(id_: str | None, output: str, endpoint: str | None, home: Path | None) -> None:
    """Show a reprocessing with its plan and progress; without ID, show all unfinished reprocessings.

    With ID, the JSON output is a single object; without ID, the JSON output is a list.
    """
    from hitmesh.tools.cli.reprocess_output import print_list, print_reprocessing

    with connect_as_operator(endpoint, home) as mesh:
        from hitmesh.client.reprocessing import full_name, get_reprocessing, list_reprocessings

        if id_ is not None:
            print_reprocessing(get_reprocessing(mesh, full_name(id_)), output)
            return
        found = [each for each in list_reprocessings(mesh) if _is_unfinished(each)]
    print_list(found, output)


@click.command(
    "list",
    short_help="List all reprocessings, the newest first.",
    epilog=examples(
        "hitmesh reprocess list",
        "hitmesh reprocess list -o json",
    ),
)
@output_option("table", "json")
@operator_options
def list_command(output: str, endpoint: str | None, home: Path | None) -> None:
    """List all reprocessings, the newest first.

    The JSON output is a single list; without reprocessings, the list is empty.
    """
    from hitmesh.tools.cli.reprocess_output import print_list

    with connect_as_operator(endpoint, home) as mesh:
        from hitmesh.client.reprocessing import list_reprocessings

        found = list(list_reprocessings(mesh))
    print_list(found, output)


def id_argument(command: CommandT) -> CommandT:
    """Add the argument ID."""
    return click.argument("id_", metavar="ID")(command)


def _is_unfinished(reprocessing: reprocessing_pb2.Reprocessing) -> bool:
    from hitmesh.api.control.v1 import reprocessing_pb2 as pb

    return reprocessing.state in (
        pb.REPROCESSING_STATE_PLANNED,
        pb.REPROCESSING_STATE_RUNNING,
        pb.REPROCESSING_STATE_DIFF_READY,
        pb.REPROCESSING_STATE_FAILED,
    )
