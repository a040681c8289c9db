"""`hitmesh operators`: get the first operator's key for the bootstrap token that `hitmesh init` printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

import click

from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.key_files import create_key_file
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import connect_to_operators, examples, operator_options, output_option
from hitmesh.tools.cli.output import note, print_json

# Maximum number of characters that are read; tokens are much shorter.
_MAX_CHARS = 1_000


@click.group(
    cls=LazyGroup,
    lazy={"claim": LazyCommand("hitmesh.tools.cli.operators:claim", "Exchange a bootstrap token for a key.")},
    name="operators",
    short_help="Get the first operator's key.",
    epilog=examples(
        "hitmesh operators claim --endpoint 127.0.0.1:8081 --key-file operator.key",
        "hitmesh operators claim --key-file operator.key --token-file token",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def operators_group() -> None:
    """Get the key of the first operator. `hitmesh init` prints the bootstrap token that the command needs."""


@click.command(
    short_help="Exchange a bootstrap token for a key.",
    epilog=examples(
        "hitmesh operators claim --endpoint 127.0.0.1:8081 --key-file operator.key",
        "hitmesh operators claim --key-file operator.key --token-file token -o json",
    ),
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="File for the operator's key; must not exist. Only its owner can read the file.",
)
@click.option(
    "--token-file",
    type=click.File("r"),
    metavar="FILE",
    help="File with the bootstrap token. Default: ask on a terminal, else read standard input.",
)
@output_option("table", "json")
@operator_options
def claim(*, key_file: Path, token_file: TextIO | None, output: str, endpoint: str | None, home: Path | None) -> None:
    """Exchange the bootstrap token that `hitmesh init` printed for the key of an operator, and write the key to a file.

    A token works once, and for an hour. The token is not an argument, because other users of the machine can read the
    arguments of a process.
    """
    token = _token(token_file)
    with connect_to_operators(endpoint, home) as mesh:
        from hitmesh.client.operators import exchange_token

        # Create the file first, because a token is used up even if the key is lost.
        with create_key_file(key_file) as write:
            answer = exchange_token(mesh, token)
            write(answer.secret)
    if output == "json":
        print_json({"key_id": answer.key_id, "key_file": str(key_file)})
    else:
        note(f"key {answer.key_id} is in {key_file}: export HITMESH_OPERATOR_KEY_FILE={key_file.absolute()}")


def _token(file: TextIO | None) -> str:
    """Return the token from a file, a hidden prompt or standard input."""
    if file is None and sys.stdin.isatty():
        return str(click.prompt("bootstrap token", hide_input=True, err=True)).strip()
    token = (file or sys.stdin).read(_MAX_CHARS).strip()
    if not token or len(token.split()) != 1:
        raise click.BadParameter(
            "no bootstrap token: give the token that `hitmesh init` printed", param_hint="--token-file"
        )
    return token
