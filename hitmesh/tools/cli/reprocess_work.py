"""`hitmesh reprocess run`, `publish`, `rollback` and `cancel`: request work, and wait until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import CommandFailed, Exit
from hitmesh.tools.cli.options import CommandT, connect_as_operator, examples, operator_options, output_option
from hitmesh.tools.cli.output import note
from hitmesh.tools.cli.progress import Progress
from hitmesh.tools.cli.reprocess import id_argument

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import reprocessing_pb2
    from hitmesh.client.mesh import Mesh

_EXITS = "\n\n\b\nExit codes:\n  0    done, or requested without --wait\n  7    the work failed, see the message"


def _wait_option(command: CommandT) -> CommandT:
    return click.option("--wait", is_flag=True, help="Wait until the settler has finished, with a progress bar.")(
        command
    )


@click.command(
    "run",
    short_help="Recompute the days of a plan; no report changes.",
    epilog=examples(
        "hitmesh reprocess run 20261129-x7k2p4 --wait",
        "hitmesh reprocess run 20261129-x7k2p4 -o json",
    )
    + _EXITS,
)
@id_argument
@_wait_option
@output_option("table", "json")
@operator_options
def run_command(id_: str, wait: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """Recompute the days of the plan ID into results that no report reads, and compare them with the reports.

    After a failure, the command continues the work. Repeating the command after success changes nothing. If a repair
    cannot restore all raw hits of a day, the exit code is 7, and the other days of the plan are recomputed.
    """
    from hitmesh.client.reprocessing import run_reprocessing
    from hitmesh.tools.cli.reprocess_output import lost_text

    found = _work(run_reprocessing, id_, output, endpoint, home, wait=wait)
    _advise(found, output, "diff", "publish")
    if lost := lost_text(found.raw_repair):
        raise CommandFailed(Exit.PROBLEMS_FOUND, lost, reason=LocalReason.HISTORY_DAMAGED)


@click.command(
    short_help="Let reports read the recomputed days.",
    epilog=examples(
        "hitmesh reprocess publish 20261129-x7k2p4 --wait",
        "hitmesh reprocess publish 20261129-x7k2p4 -o json",
    )
    + _EXITS,
)
@id_argument
@_wait_option
@output_option("table", "json")
@operator_options
def publish(id_: str, wait: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """Let reports read the recomputed days of ID; each day of a site is switched separately.

    The replaced numbers are kept for 30 days, so that `rollback` can restore the numbers. If the reprocessing is an
    erasure (`hitmesh erase`), `publish` removes the replaced numbers and the hits permanently. Repeating the command
    changes nothing.
    """
    from hitmesh.client.reprocessing import publish_reprocessing
    from hitmesh.tools.cli.reprocess_output import lost_text

    found = _work(publish_reprocessing, id_, output, endpoint, home, wait=wait)
    if lost := lost_text(found.raw_repair):
        note(lost)
    _advise(found, output, "rollback")


@click.command(
    short_help="Let reports read the previous numbers again.",
    epilog=examples(
        "hitmesh reprocess rollback 20261129-x7k2p4 --wait",
        "hitmesh reprocess rollback 20261129-x7k2p4 -o json",
    )
    + _EXITS,
)
@id_argument
@_wait_option
@output_option("table", "json")
@operator_options
def rollback(id_: str, wait: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """Undo `publish`: let reports on the days of ID read the numbers from before the publication.

    Hits that arrived after the publication remain counted.

    Repeating the command changes nothing.
    """
    from hitmesh.client.reprocessing import rollback_reprocessing

    found = _work(rollback_reprocessing, id_, output, endpoint, home, wait=wait)
    _advise(found, output, "publish")


@click.command(
    short_help="Drop a plan, or the recomputed days.",
    epilog=examples(
        "hitmesh reprocess cancel 20261129-x7k2p4",
        "hitmesh reprocess cancel 20261129-x7k2p4 -o json",
    )
    + _EXITS,
)
@id_argument
@_wait_option
@output_option("table", "json")
@operator_options
def cancel(id_: str, wait: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """Cancel the reprocessing ID: drop a plan, or remove recomputed days that were never published.

    The command also stops a `run` that is in progress.

    Repeating the command changes nothing.
    """
    from hitmesh.client.reprocessing import cancel_reprocessing

    _work(cancel_reprocessing, id_, output, endpoint, home, wait=wait)


def _work(
    request: Callable[[Mesh, str], reprocessing_pb2.Reprocessing],
    id_: str,
    output: str,
    endpoint: str | None,
    home: Path | None,
    *,
    wait: bool,
) -> reprocessing_pb2.Reprocessing:
    """Request work on a reprocessing, then print and return the reprocessing.

    If `wait` is true, first wait until the work has ended.

    Raises:
        CommandFailed: the work failed, or the settler did not begin the work.
    """
    from hitmesh.client.reprocessing import full_name
    from hitmesh.tools.cli.reprocess_output import print_reprocessing, state_name

    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        found = request(mesh, full_name(id_))
        is_awaited = wait and state_name(found) == "RUNNING"
        if is_awaited:
            with if_interrupted(f"the work continues without this command: see hitmesh reprocess status {id_}"):
                found = finished(mesh, found)
    print_reprocessing(found, output)
    if state_name(found) == "FAILED" or (is_awaited and found.error):
        raise CommandFailed(Exit.PROBLEMS_FOUND, found.error, reason=LocalReason.REPROCESSING_FAILED)
    return found


def finished(mesh: Mesh, found: reprocessing_pb2.Reprocessing) -> reprocessing_pb2.Reprocessing:
    """Wait until the work has ended, with a progress bar."""
    from hitmesh.client.reprocessing import wait_while_running
    from hitmesh.tools.cli.reprocess_output import title_of, total_of

    try:
        with Progress(unit="site-days") as progress:
            progress.phase(title_of(found).partition(" (")[0], total_of(found))
            return wait_while_running(
                mesh,
                found,
                lambda each: progress.reached(each.done_site_days, each.receipt.waiting),
                on_silence=lambda timeout_s: note(f"the mesh does not answer: waiting up to {timeout_s:g} s"),
            )
    except Exception:
        note(f"the work continues when the mesh runs again: repeat the command, or see {_status_command(found)}")
        raise


@contextmanager
def if_interrupted(advice: str) -> Iterator[None]:
    """If the command is interrupted, print `advice`, which says that the work continues, and how to show its state."""
    try:
        yield
    except KeyboardInterrupt:
        note(advice)
        raise


def _status_command(found: reprocessing_pb2.Reprocessing) -> str:
    from hitmesh.client.reprocessing import short_id

    return f"hitmesh reprocess status {short_id(found.name)}"


def _advise(found: reprocessing_pb2.Reprocessing, output: str, *verbs: str) -> None:
    """Print the next commands for a person."""
    from hitmesh.client.reprocessing import short_id
    from hitmesh.tools.cli.reprocess_output import state_name

    if output == "json" or state_name(found) in ("CANCELLED", "ERASED"):
        return
    if state_name(found) == "RUNNING":
        verbs = ("status",)
    note("next: " + ", then ".join(f"hitmesh reprocess {verb} {short_id(found.name)}" for verb in verbs))
