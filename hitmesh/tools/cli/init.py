"""`hitmesh init`: show which schema changes a mesh's servers need, and apply the changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import CommandFailed, Exit
from hitmesh.tools.cli.options import CommandT, examples
from hitmesh.tools.cli.output import echo, note, print_table
from hitmesh.tools.cli.stack import find_stack_home, stack_errors, stack_home_option

if TYPE_CHECKING:
    from hitmesh.adapters.schema_plan import Change
    from hitmesh.adapters.servers import Servers

STACK: Final = "stack"
# The defaults are copied from SchemaOptions, because importing SchemaOptions would slow down help. A test checks that
# the copies are equal to the originals.
SIZES: Final[tuple[tuple[str, Any, click.ParamType[Any], str], ...]] = (
    (
        "--hits-partitions",
        4,
        click.IntRange(1, 4_096),
        "Number of partitions of the hits topic; it cannot change later.",
    ),
    ("--rollups-partitions", 2, click.IntRange(1, 1_024), "Number of partitions of each topic that Druid reads."),
    (
        "--replication",
        1,
        click.IntRange(1, 9),
        "Number of copies of Kafka partitions, Cassandra rows and Druid segments.",
    ),
    ("--min-insync", 1, click.IntRange(1, 9), "Replicas that must store a record before the ack."),
    ("--hits-retention-days", 7, click.IntRange(2, 3_650), "How long Kafka keeps hits for replay."),
    (
        "--rollups-retention-days",
        3,
        click.IntRange(1, 3_650),
        "How long Kafka keeps rows for Druid; Druid must read the rows within this time.",
    ),
    ("--raw-ttl-days", 0, click.IntRange(0, 7_300), "How long raw records are kept; 0 = forever."),
    ("--series-ttl-days", 0, click.IntRange(0, 7_300), "How long the partial sums of series are kept; 0 = forever."),
    (
        "--segment-granularity",
        "DAY",
        click.Choice(["HOUR", "DAY"]),
        "Time span of each segment that a Druid task writes.",
    ),
    ("--task-count", 1, click.IntRange(1, 1_024), "Number of Druid tasks per data source."),
    ("--task-minutes", 15, click.IntRange(1, 1_440), "How long a Druid task reads before it hands off its segments."),
    ("--rows-retention-days", 0, click.IntRange(0, 7_300), "How long Druid keeps rows; 0 = forever."),
)


def _schema_options(command: CommandT) -> CommandT:
    for name, default, kind, meaning in reversed(SIZES):
        command = click.option(name, type=kind, default=default, show_default=True, help=meaning)(command)
    return command


@click.command(
    short_help="Create or check topics, tables and data sources.",
    epilog=examples(
        "hitmesh init --backend stack --yes",
        "hitmesh init --backend 'servers:?kafka=k1:9092,k2:9092&cassandra=c1:9042&broker=http://b:8082"
        "&coordinator=http://o:8081' --replication 3 --min-insync 2 --hits-partitions 64",
        "hitmesh init --backend stack --check",
    ),
)
@click.option(
    "--backend",
    required=True,
    metavar="URL|stack",
    help="Store URL (servers:?…), or `stack` for the servers of `hitmesh stack`, started if needed.",
)
@stack_home_option("--stack-home", needs=" of `--backend stack`")
@click.option("--yes", is_flag=True, help="Apply the changes without asking.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 7 if changes are pending.")
@click.option(
    "--bootstrap-token",
    "token_wanted",
    is_flag=True,
    help="Print a bootstrap token even if the mesh has an operator. Earlier tokens become invalid.",
)
@_schema_options
def init(backend: str, stack_home: Path | None, yes: bool, check: bool, token_wanted: bool, **options: Any) -> None:
    """Create or check topics, tables and data sources of a mesh.

    The command shows existing parts and pending changes, and asks before it applies the changes. A second run changes
    nothing. If the mesh has no operator, the command prints a bootstrap token, with which the first operator gets a key
    (`hitmesh operators claim`). A token works once, and for an hour.
    """
    from hitmesh.adapters.schema_plan import SchemaOptions
    from hitmesh.tools.dev.schema import apply, planned

    servers = _servers(backend, stack_home)
    changes = planned(servers, SchemaOptions(**options))
    show(changes)
    pending = [change for change in changes if change.action != "keep"]
    if not pending:
        if not check:
            apply(changes, note)
        note("everything is up to date")
        if not check:
            offer_token(servers.url, wanted=token_wanted)
        return
    if check:
        raise CommandFailed(
            Exit.PROBLEMS_FOUND,
            f"{len(pending)} of {len(changes)} topics, tables and other parts of the schema are missing or different: "
            "run the command without --check to create or change these parts",
            reason=LocalReason.SCHEMA_DIFFERS,
        )
    if not yes:
        click.confirm(f"Make these {len(pending)} changes?", abort=True, err=True)
    apply(changes, note)
    note(f"done: the store URL is {servers.url}")
    offer_token(servers.url, wanted=token_wanted)


def offer_token(store: str, *, wanted: bool) -> None:
    """Print a bootstrap token if the mesh has no operator, or if a token is wanted.

    Args:
        store: the store URL.
        wanted: whether to print a token in every case.
    """
    from hitmesh.access.bootstrap import TOKEN_MS, has_operator, new_bootstrap_token
    from hitmesh.adapters.directories import open_directory
    from hitmesh.runtime.clock import SystemClock

    clock = SystemClock()
    directory = open_directory(store, clock)
    try:
        if wanted or not has_operator(directory.port):
            echo(f"bootstrap token: {new_bootstrap_token(directory.port, clock.now())}")
            note(
                f"the token works once, within {TOKEN_MS // 60_000} minutes: when the mesh runs, get the first "
                "operator's key with `hitmesh operators claim --key-file FILE`"
            )
    finally:
        directory.close()


def show(changes: Sequence[Change]) -> None:
    """Print a plan."""
    rows = [(change.server, change.thing, str(change.action), change.description) for change in changes]
    print_table(("server", "thing", "action", "what"), rows, right_from=4)


def _servers(backend: str, stack_home: Path | None) -> Servers:
    from hitmesh.adapters.servers import SCHEME, parse_servers

    if backend == STACK:
        from hitmesh.tools.stack import commands

        with stack_errors():
            return parse_servers(commands.ensure_up(find_stack_home(stack_home), note))
    if not backend.startswith(SCHEME):
        raise RefusedError(
            f"backend {backend!r} has no topics or tables to create: write a URL {SCHEME}?kafka=…, or {STACK}",
            field="backend",
            reason=LocalReason.INVALID_BACKEND,
        )
    return parse_servers(backend)
