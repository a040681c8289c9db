"""`hitmesh stack`: real Kafka, Cassandra and Druid on this machine, for development, tests and load runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import CommandFailed, Exit
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import CommandT, examples, output_option
from hitmesh.tools.cli.output import echo, note, print_json, print_table

if TYPE_CHECKING:
    from hitmesh.tools.stack.commands import ServerStatus

_MAX_MEMBERS: Final = 5
_FOLLOW_S: Final = 0.2
_MIB: Final = 1 << 20


def stack_home_option(name: str, *, needs: str = "") -> Callable[[CommandT], CommandT]:
    """Add the option that names the servers' home directory."""
    return click.option(
        name,
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help=f"Home of the servers{needs}. Default: HITMESH_STACK_HOME, else HITMESH_HOME, else hitmesh/ in the XDG "
        "data directory.",
    )


def find_stack_home(home: Path | None) -> Path:
    """Return the servers' home directory, according to the option or the environment."""
    from hitmesh.tools.stack.layout import stack_home

    return stack_home(home, os.environ)


@contextmanager
def stack_errors() -> Iterator[None]:
    """Convert a StackError to exit code 4."""
    from hitmesh.tools.stack.errors import StackError

    try:
        yield
    except StackError as error:
        raise CommandFailed(Exit.CANNOT_START, str(error), reason=LocalReason.STACK) from error


@click.group(
    cls=LazyGroup,
    lazy={
        "fetch": LazyCommand(
            "hitmesh.tools.cli.stack:fetch", "Download Kafka, Cassandra and Druid once, for all home directories."
        ),
        "up": LazyCommand("hitmesh.tools.cli.stack:up", "Start all servers and wait until all are healthy."),
        "down": LazyCommand("hitmesh.tools.cli.stack:down", "Stop the servers in order; data is kept."),
        "status": LazyCommand(
            "hitmesh.tools.cli.stack:status", "Show each server's health; exit with 7 unless all are healthy."
        ),
        "logs": LazyCommand("hitmesh.tools.cli.stack:logs", "Show the last lines of the servers' logs."),
    },
    name="stack",
    short_help="Run real Kafka, Cassandra and Druid on this machine.",
    epilog=examples("hitmesh stack up", "hitmesh stack status", "hitmesh dev --backend stack"),
)
def stack_group() -> None:
    """Run real Kafka, Cassandra and Druid on this machine; for development, not for production.

    The servers listen only on loopback.

    The servers need Java 17, and the download needs Maven. If you are root on Debian, the command installs Java and
    Maven. All servers together take about 3 GB of memory and are healthy within a minute on two cores.
    """


@click.command(
    short_help="Download Kafka, Cassandra and Druid once, for all home directories.",
    epilog=examples("hitmesh stack fetch", "XDG_CACHE_HOME=/srv/cache hitmesh stack fetch"),
)
def fetch() -> None:
    """Download the servers' programs (about 300 MB) into the cache that all home directories share.

    The command prints the path of the folder.
    """
    from hitmesh.tools.stack import commands

    with stack_errors():
        echo(str(commands.fetch(note)))


@click.command(
    short_help="Start all servers and wait until all are healthy.",
    epilog=examples("hitmesh stack up", "hitmesh stack up --home /srv/hitmesh"),
)
@stack_home_option("--home")
@click.option(
    "--members",
    type=click.IntRange(1, _MAX_MEMBERS),
    help="Kafka brokers and Cassandra nodes of a new stack, on 127.0.0.1, 127.0.0.2, … Default: 1.",
)
def up(home: Path | None, members: int | None) -> None:
    """Start all servers and wait until all are healthy.

    The command prints the store URL. Running servers are not restarted. Ports are chosen at the first start. Later
    starts use the same ports and data. With three members, topics and rows can have three copies, and any broker and
    any Cassandra node may die (hitmesh init --replication 3 --min-insync 2).
    """
    from hitmesh.tools.stack import commands
    from hitmesh.tools.stack.members import on_loopback

    place = find_stack_home(home)
    with stack_errors():
        store = commands.ensure_up(place, note, None if members is None else on_loopback(members))
    note(f"data and logs are in {place / 'stack'}; stop everything with `hitmesh stack down{_home_option(home)}`")
    echo(store)


@click.command(
    short_help="Stop the servers in order; data is kept.",
    epilog=examples("hitmesh stack down", "hitmesh stack down --home /srv/hitmesh"),
)
@stack_home_option("--home")
def down(home: Path | None) -> None:
    """Stop the servers in order and wait for each; a server that hangs is killed. Data is kept."""
    from hitmesh.tools.stack import commands

    with stack_errors():
        if not commands.down(find_stack_home(home), note):
            note("no server was running")


@click.command(
    short_help="Show each server's health; exit with 7 unless all are healthy.",
    epilog=examples("hitmesh stack status", "hitmesh stack status -o json"),
)
@stack_home_option("--home")
@output_option("table", "json")
def status(home: Path | None, output: str) -> None:
    """Check and show each server's health, with a request in the server's own protocol.

    The exit code is 7 unless all servers are healthy.
    """
    from hitmesh.tools.stack import commands

    place = find_stack_home(home)
    with stack_errors():
        found, store = commands.status(place), commands.url(place)
    if output == "json":
        print_json({"store": store, "servers": [_fields(server) for server in found]})
    else:
        print_table(("server", "state", "pid", "port", "MiB", "up"), map(_row, found), right_from=2, caption=store)
    ill = [f"{server.name} is {server.state}" for server in found if not server.is_healthy]
    if ill:
        cure = f"start the servers with `hitmesh stack up{_home_option(home)}`"
        raise CommandFailed(Exit.PROBLEMS_FOUND, f"{', '.join(ill)}: {cure}", reason=LocalReason.NOT_HEALTHY)


@click.command(
    short_help="Show the last lines of the servers' logs.",
    epilog=examples("hitmesh stack logs", "hitmesh stack logs indexer -n 200", "hitmesh stack logs kafka -f"),
)
@click.argument("name", required=False, metavar="[NAME]")
@click.option("-n", "--lines", type=click.IntRange(0, 100_000), default=20, show_default=True, help="Lines per server.")
@click.option("-f", "--follow", is_flag=True, help="Print new lines until interrupted; needs a NAME.")
@stack_home_option("--home")
def logs(name: str | None, lines: int, follow: bool, home: Path | None) -> None:
    """Show the last log lines of a server, or of all servers."""
    from hitmesh.tools.stack import commands

    place = find_stack_home(home)
    with stack_errors():
        servers = commands.names(place)
    if follow and name is None:
        raise click.UsageError(f"--follow needs a server: name one of {', '.join(servers)}")
    if name is not None and name not in servers:
        raise click.BadParameter(f"{name!r} is no server of this stack: servers are {', '.join(servers)}")
    with stack_errors():
        _show_logs(place, servers if name is None else (name,), lines)
        if follow and name is not None:
            _follow(place, name)


def _show_logs(home: Path, names: Sequence[str], lines: int) -> None:
    from hitmesh.tools.stack import commands
    from hitmesh.tools.stack.launcher import last_lines

    for name in names:
        log = commands.log_of(home, name)
        if len(names) > 1:
            echo(f"--- {name} ({log})")
        for line in last_lines(log, lines):
            echo(line)


def _follow(home: Path, name: str) -> None:
    """Print new log output until interrupted; continue with the new log after a server restart."""
    from hitmesh.tools.stack import commands

    log = commands.log_of(home, name)
    reached = log.stat().st_size
    while True:
        size = log.stat().st_size if log.exists() else 0
        reached = min(reached, size)
        if size > reached:
            with log.open("rb") as grown:
                grown.seek(reached)
                part = grown.read(size - reached)
            reached += len(part)
            echo(part.decode(errors="replace"), nl=False)
        time.sleep(_FOLLOW_S)


def _fields(server: ServerStatus) -> dict[str, object]:
    return {**asdict(server), "state": server.state}


def _row(server: ServerStatus) -> tuple[str, ...]:
    if not server.pid:
        return server.name, server.state, "", str(server.port or ""), "", ""
    return (
        server.name,
        server.state,
        str(server.pid),
        str(server.port),
        f"{server.resident_bytes // _MIB:,}",
        _time(server.uptime_s),
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _home_option(home: Path | None) -> str:
    return f" --home {home}" if home is not None else ""
