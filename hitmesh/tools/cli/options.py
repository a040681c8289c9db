"""Options that several commands share, and the mesh they name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hitmesh.client.home import (
    ENDPOINT_VARIABLE,
    START_TIMEOUT_S,
    check_reachable,
    home_dir,
    server_key,
    wait_until_started,
)
from hitmesh.client.home import endpoint as resolve_endpoint
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import site_name
from hitmesh.tools.cli.output import note

if TYPE_CHECKING:
    from hitmesh.client.mesh import Mesh

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def full_name_of_site(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Returns the full name of a site written as `m/s` or in full."""
    try:
        return None if value is None else site_name(value)
    except RefusedError as error:
        raise click.BadParameter(error.message, param=param) from error


def currency_code(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Returns three letters in upper case. Whether the code exists is for the mesh to say."""
    if value is None or (len(value) == 3 and value.isascii() and value.isalpha()):
        return None if value is None else value.upper()
    raise click.BadParameter(f"{value!r} is not an ISO 4217 code: write three letters, for example EUR", param=param)


def examples(*lines: str) -> str:
    """Returns lines as the examples of a command's help, kept as they are."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def mesh_options(command: CommandT) -> CommandT:
    """Adds --endpoint and --home."""
    command = click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Home of the mesh; else HITMESH_HOME, else hitmesh/ in the XDG data directory. Its server key is used "
        "where neither HITMESH_KEY holds one nor HITMESH_KEY_FILE names a file with one.",
    )(command)
    return click.option(
        "--endpoint",
        metavar="HOST:PORT",
        help="Address of the mesh; else HITMESH_ENDPOINT, else what ready.json in the home says.",
    )(command)


def site_option(*, required: bool = True) -> Callable[[CommandT], CommandT]:
    """Adds --site."""
    return click.option(
        "--site",
        callback=full_name_of_site,
        required=required,
        metavar="MERCHANT/SITE",
        help="The site, for example demo/example.",
    )


def currency_option(meaning: str) -> Callable[[CommandT], CommandT]:
    """Adds --currency."""
    return click.option("--currency", callback=currency_code, metavar="CODE", help=meaning)


def output_option(*choices: str) -> Callable[[CommandT], CommandT]:
    """Adds -o; without it the first choice on a terminal, the last when piped."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(choices),
        callback=lambda _ctx, _param, value: value or (choices[0] if sys.stdout.isatty() else choices[-1]),
        help=f"Form of the output; {choices[0]} on a terminal, else {choices[-1]}.",
    )


def find_home(home: Path | None) -> Path:
    """Returns the home that the options and the environment name."""
    return home_dir(home, os.environ)


def find_endpoint(endpoint: str | None, home: Path) -> str:
    """Returns `host:port` of the mesh that the options and the environment name; waits for one that is starting.

    Raises:
        NoMesh: none is running there.
        RefusedError: an address or file is wrong.
    """
    if not (endpoint or os.environ.get(ENDPOINT_VARIABLE)):
        wait_until_started(home, START_TIMEOUT_S, note)
    return resolve_endpoint(endpoint, home, os.environ)


def connect(endpoint: str | None, home: Path | None, *, needs_key: bool = False) -> Mesh:
    """Returns the mesh that the options, the environment and the home name.

    Raises:
        NoMesh: none is running there.
        RefusedError: an address or file is wrong, or a needed key is missing.
    """
    place = find_home(home)
    address = find_endpoint(endpoint, place)
    key = server_key(place, os.environ)
    if needs_key:
        # Before a key is asked for or a file is read: without a mesh neither helps.
        check_reachable(address)
    from hitmesh.client.mesh import Mesh

    mesh = Mesh.connect(address, key)
    if needs_key:
        mesh.require_key()
    return mesh
