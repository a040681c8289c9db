"""`hitmesh dev`: start the mesh on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import click

from hitmesh.client.home import home_dir
from hitmesh.model.logic import CURRENT, LOGICS
from hitmesh.tools.cli.exits import Exit
from hitmesh.tools.cli.options import examples
from hitmesh.tools.cli.output import echo, note
from hitmesh.tools.cli.stack import find_stack_home, stack_home_option
from hitmesh.tools.dev.home import Home

_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}")
_SETTING: Final = re.compile(r"[A-Za-z_]{1,64}=.*")


def _settings(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    """Return the settings, keyed by their names in upper case."""
    for value in values:
        if not _SETTING.fullmatch(value):
            raise click.BadParameter(f"{value!r} is not NAME=VALUE: give for example keep_superseded_ms=1000")
    return {name.upper(): value for name, _, value in (value.partition("=") for value in values)}


def _collector(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """Return the host and the port."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not _HOST.fullmatch(host) or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise click.BadParameter(f"{value!r} is not HOST:PORT: give for example 127.0.0.1:4317")
    return host, int(port)


@click.command(
    epilog=examples(
        "hitmesh dev",
        "hitmesh dev --no-demo-data --port 9000 --ready-file /tmp/ready.json",
        "hitmesh dev --backend stack --home /tmp/on-servers",
        "hitmesh dev --jwks jwks.json --issuer https://issuer.example/ --audience hitmesh",
    )
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Directory of data, keys and logs. Default: HITMESH_HOME, else hitmesh/ in the XDG data directory.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of Envoy; if the port is in use, the command fails. Default: 8080 or the next free port.",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File to write when every service is healthy; removed on stop. Default: ready.json in the home.",
)
@click.option("--no-demo-data", is_flag=True, help="Do not load the generated shop into demo/example.")
@click.option(
    "--backend",
    type=click.Choice(["embedded", "stack"]),
    help="Where data is stored: in files of the home (embedded), or in Kafka, Cassandra and Druid (stack), which are "
    "started if needed. A home keeps its first back end; the default of a new home is embedded.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    metavar="N",
    help="Instances of each service, with `--backend stack`. If N > 1, N additional processes settle days.",
)
@click.option("--closed-reads", is_flag=True, help="Require a key for reports, as in production.")
@click.option(
    "--jwks",
    metavar="FILE|URL",
    help="Accept the tokens (JWT) of an issuer whose public keys (JWKS) are in this file or at this https URL. Reads "
    "then need a key or a token. Needs --issuer and --audience.",
)
@click.option("--issuer", metavar="URL", help="The issuer of tokens: the claim iss. Needs --jwks.")
@click.option(
    "--audience",
    "audiences",
    multiple=True,
    metavar="NAME",
    help="An accepted audience of tokens: the claim aud. Can be given several times. Needs --jwks.",
)
@click.option(
    "--tls",
    is_flag=True,
    help="Encrypt the connections between Envoy and the services, and check both sides (mTLS), with certificates in "
    "certs/ of the home, which are renewed while the mesh runs.",
)
@click.option(
    "--hang-after",
    type=click.FloatRange(1, 3_600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="A service that answers no health check for this long is killed and restarted.",
)
@click.option(
    "--logic",
    type=click.Choice([logic.name for logic in LOGICS]),
    help="Logic version for the live stream and for days that were never settled, to rehearse a change of the "
    f"logic. Default: {CURRENT.name}.",
)
@click.option(
    "--settlers",
    type=click.IntRange(1, 32),
    default=1,
    show_default=True,
    metavar="N",
    help="Settler threads in each process that settles days.",
)
@click.option(
    "--processor-setting",
    "settings",
    multiple=True,
    callback=_settings,
    metavar="NAME=VALUE",
    help="Setting of the processor, for example keep_superseded_ms=1000, to try features with small values. Can be "
    "given several times.",
)
@click.option(
    "--otlp",
    callback=_collector,
    metavar="HOST:PORT",
    help="Send metrics and traces of all processes to the OpenTelemetry Collector whose gRPC receiver listens here.",
)
@click.option(
    "--trace-ratio",
    type=click.FloatRange(0, 1),
    default=0.001,
    show_default=True,
    metavar="SHARE",
    help="Share of requests without a trace context whose traces are recorded, with `--otlp`.",
)
@stack_home_option("--stack-home", needs=" of `--backend stack`")
@click.pass_context
def dev(
    context: click.Context,
    home: Path | None,
    port: int | None,
    ready_file: Path | None,
    no_demo_data: bool,
    backend: str | None,
    stack_home: Path | None,
    replicas: int,
    closed_reads: bool,
    jwks: str | None,
    issuer: str | None,
    audiences: tuple[str, ...],
    tls: bool,
    hang_after: float,
    logic: str | None,
    settlers: int,
    settings: Mapping[str, str],
    otlp: tuple[str, int] | None,
    trace_ratio: float,
) -> None:
    """Start a whole mesh on this machine, with Envoy, collector, processor, reporter and control.

    The home directory keeps all data between starts. Ctrl-C or SIGTERM stops every service in order; Kafka, Cassandra
    and Druid keep running. If a process dies, the command prints the last lines of that process, stops all other
    processes and exits with 1. With `--replicas 2` or more, the command restarts a service that has died, and does not
    exit. A service that hangs is restarted (`--hang-after`).
    """
    if (bool(jwks), bool(jwks)) != (bool(issuer), bool(audiences)):
        raise click.UsageError("tokens need --jwks, --issuer and --audience: give all three, or none")
    if not all(name.strip() and "," not in name for name in audiences):
        raise click.UsageError("an --audience is empty or has a comma: give each audience with an option of its own")
    # Acquire the lock before the slow imports, so that other commands of the same script find a mesh that is starting.
    place = Home(home_dir(home, os.environ).resolve())
    lock = _lock(place)
    if lock is None:
        context.exit(Exit.CANNOT_START)
    from hitmesh.tools.dev.backend import Backend
    from hitmesh.tools.dev.dev import run_dev
    from hitmesh.tools.dev.dev_options import DevOptions
    from hitmesh.tools.dev.envoy_tokens import TokenDoor
    from hitmesh.tools.dev.envoy_traces import TracedDoor

    options = DevOptions(
        port,
        ready_file,
        not no_demo_data,
        Backend(backend) if backend else None,
        stack_home,
        find_stack_home(None),
        replicas,
        closed_reads or bool(jwks),
        hang_after,
        {
            **settings,
            **({"LOGIC": logic} if logic else {}),
            **({"SETTLERS": str(settlers)} if settlers > 1 else {}),
        },
        TokenDoor(_place(jwks), issuer, audiences, place.run / "tokens.json") if jwks and issuer else None,
        tls,
        TracedDoor(*otlp, trace_ratio) if otlp else None,
    )
    context.exit(run_dev(place, lock, options, echo, note))


def _place(jwks: str) -> str:
    """Return a URL unchanged, and the path of a file as an absolute path."""
    return jwks if "://" in jwks else str(Path(jwks).expanduser().absolute())


def _lock(home: Home) -> IO[str] | None:
    """Create the directories below the home directory, acquire the lock, and remove a killed mesh's ready file.

    If the home directory cannot be used or locked, print the reason and return None.
    """
    try:
        home.prepare()
        lock = home.lock()
        if lock is not None:
            home.ready_file.unlink(missing_ok=True)
            return lock
    except OSError as error:
        note(f"the home {home.root} cannot be used ({error.strerror}: {error.filename}): give another --home")
        return None
    note(f"a mesh already runs on {home.root} (pid {home.lock_holder()}): stop that mesh, or give another --home")
    return None
