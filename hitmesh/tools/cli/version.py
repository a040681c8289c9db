"""`hitmesh version`."""

from __future__ import annotations

import platform

import click

from hitmesh import __version__
from hitmesh.tools.cli.options import examples, output_option
from hitmesh.tools.cli.output import echo, print_json


@click.command(
    short_help="Print the version.",
    epilog=examples(
        "hitmesh version",
        "hitmesh version -o json",
    ),
)
@output_option("table", "json")
def version(output: str) -> None:
    """Print the version."""
    if output == "json":
        print_json({"hitmesh": __version__, "python": platform.python_version()})
    else:
        echo(f"hitmesh {__version__}")
