"""`hitmesh dev`: starts the mesh on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hitmesh.client.home import home_dir
from hitmesh.tools.cli.options import examples
from hitmesh.tools.cli.output import echo, note
from hitmesh.tools.cli.stack import find_stack_home, stack_home_option


@click.command(
    epilog=examples(
        "hitmesh dev",
        "hitmesh dev --no-demo-data --port 9000 --ready-file /tmp/ready.json",
        "hitmesh dev --backend stack --home /tmp/on-servers",
    )
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Data, keys and logs; else HITMESH_HOME, else hitmesh/ in the XDG data directory.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Envoy's port, strictly; else 8080 or the next free one.")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Written once everything is healthy, removed on stop; else ready.json in the home.",
)
@click.option("--no-demo-data", is_flag=True, help="Do not load the generated shop into demo/example.")
@click.option(
    "--backend",
    type=click.Choice(["embedded", "stack"]),
    help="Where data is: files in the home, or Kafka, Cassandra and Druid, started if need be. A home keeps the one it "
    "began with; a new one is embedded.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    metavar="N",
    help="How many of each service, with `--backend stack`; several have their settler apart.",
)
@click.option("--closed-reads", is_flag=True, help="Reports need a key, as everywhere but on a developer's machine.")
@click.option(
    "--hang-after",
    type=click.FloatRange(1, 3_600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="A service that answers no health check for so long is killed and started again.",
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
    hang_after: float,
) -> None:
    """Start a whole mesh on this machine: Envoy, collector, processor, reporter.

    Data is kept between starts. Ctrl-C or SIGTERM stops everything in order, but for servers that keep the data.
    """
    from hitmesh.tools.dev.backend import Backend
    from hitmesh.tools.dev.dev import DevOptions, run_dev

    options = DevOptions(
        home_dir(home, os.environ),
        port,
        ready_file,
        not no_demo_data,
        Backend(backend) if backend else None,
        stack_home,
        find_stack_home(None),
        replicas,
        closed_reads,
        hang_after,
    )
    context.exit(run_dev(options, echo, note))
