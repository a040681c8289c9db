"""Options that several commands share, and functions that connect to the mesh according to these options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from hitmesh.client.home import (
    ENDPOINT_VARIABLE,
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    OPERATOR_ENDPOINT_VARIABLE,
    OPERATOR_KEY_FILE_VARIABLE,
    OPERATOR_KEY_VARIABLE,
    START_TIMEOUT_S,
    check_reachable,
    home_dir,
    operator_key,
    operator_key_source,
    operators_endpoint,
    server_key,
    server_key_source,
    wait_until_started,
)
from hitmesh.client.home import endpoint as resolve_endpoint
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import site_name
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.output import note

if TYPE_CHECKING:
    from hitmesh.client.mesh import Mesh

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_ENDPOINT_HELP: Final = "Address of the mesh. Default: HITMESH_ENDPOINT, else the address in the home's ready.json."
_OPERATORS_HELP: Final = (
    "Address of the mesh's listener for operators. Default: HITMESH_OPERATOR_ENDPOINT, else HITMESH_ENDPOINT, else the "
    "address in the home's ready.json."
)


def full_name_of_site(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return a site's full name.

    The user may write the name as `m/s` or in full.
    """
    try:
        return None if value is None else site_name(value)
    except RefusedError as error:
        raise click.BadParameter(error.message, param=param) from error


def currency_code(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check that an option's value is three letters, and return it in upper case.

    The mesh checks whether the currency code exists.
    """
    if value is None or (len(value) == 3 and value.isascii() and value.isalpha()):
        return None if value is None else value.upper()
    raise click.BadParameter(f"{value!r} is not an ISO 4217 code: write three letters, for example EUR", param=param)


def examples(*lines: str) -> str:
    """Format lines as the examples in a command's help, so that Click does not rewrap the lines."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def mesh_options(command: CommandT) -> CommandT:
    """Add --endpoint and --home."""
    return _mesh_options(command, "server key", "HITMESH_KEY", _ENDPOINT_HELP)


def operator_options(command: CommandT) -> CommandT:
    """Add --endpoint and --home for a command that calls with an operator's key."""
    return _mesh_options(command, "operator key", "HITMESH_OPERATOR_KEY", _OPERATORS_HELP)


def _mesh_options(command: CommandT, key: str, variable: str, endpoint_help: str) -> CommandT:
    command = click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Home of the mesh. Default: HITMESH_HOME, else hitmesh/ in the XDG data directory. The home's "
        f"{key} is used unless {variable} or {variable}_FILE gives a key.",
    )(command)
    return click.option("--endpoint", metavar="HOST:PORT", help=endpoint_help)(command)


def site_option(*, required: bool = True) -> Callable[[CommandT], CommandT]:
    """Add --site."""
    return click.option(
        "--site",
        callback=full_name_of_site,
        required=required,
        metavar="MERCHANT/SITE",
        help="Site, for example demo/example.",
    )


def currency_option(meaning: str) -> Callable[[CommandT], CommandT]:
    """Add --currency."""
    return click.option("--currency", callback=currency_code, metavar="CODE", help=meaning)


def output_option(*choices: str) -> Callable[[CommandT], CommandT]:
    """Add -o. The default is the first choice on a terminal, and the last choice for a pipe or file."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(choices),
        callback=lambda _ctx, _param, value: value or (choices[0] if sys.stdout.isatty() else choices[-1]),
        help=f"Output format. Default: {choices[0]} on a terminal, else {choices[-1]}.",
    )


def find_home(home: Path | None) -> Path:
    """Return the home directory, according to the option or the environment."""
    return home_dir(home, os.environ)


def find_endpoint(endpoint: str | None, home: Path) -> str:
    """Return the mesh's `host:port`, according to the options and the environment.

    If the mesh is starting, the function waits.

    Raises:
        NoMesh: no mesh is running at this address.
        NotStarted: a mesh is starting in the home directory, and was not ready in time.
        RefusedError: an address or a file is invalid.
    """
    if not (endpoint or os.environ.get(ENDPOINT_VARIABLE)):
        wait_until_started(home, START_TIMEOUT_S, note)
    return resolve_endpoint(endpoint, home, os.environ)


def find_operators_endpoint(endpoint: str | None, home: Path) -> str:
    """Return `host:port` of the mesh's listener for operators, according to the options and the environment.

    If the mesh is starting, the function waits.

    Raises:
        NoMesh: no mesh is running at this address.
        NotStarted: a mesh is starting in the home directory, and was not ready in time.
        RefusedError: an address or a file is invalid.
    """
    if not (endpoint or os.environ.get(OPERATOR_ENDPOINT_VARIABLE) or os.environ.get(ENDPOINT_VARIABLE)):
        wait_until_started(home, START_TIMEOUT_S, note)
    return operators_endpoint(endpoint, home, os.environ)


def connect(endpoint: str | None, home: Path | None, *, needs_key: bool = False) -> Mesh:
    """Return the mesh, according to the options, the environment and the home directory.

    Raises:
        NoMesh: no mesh is running at this address.
        NotStarted: a mesh is starting in the home directory, and was not ready in time.
        RefusedError: an address or a file is invalid, or a required key is missing.
    """
    place = find_home(home)
    address = find_endpoint(endpoint, place)
    key = server_key(place, os.environ)
    if needs_key:
        # Check first whether the mesh is reachable, because a key or an input file is useless without a mesh.
        check_reachable(address)
    from hitmesh.client.mesh import Mesh

    mesh = Mesh.connect(address, key, server_key_source(place, os.environ))
    if needs_key:
        mesh.require_key()
    return mesh


def connect_as_operator(endpoint: str | None, home: Path | None, *, needs_key: bool = False) -> Mesh:
    """Return the mesh's listener for operators with an operator's key.

    Address and key come from the options, the environment or the home directory.

    Raises:
        NoMesh: no mesh is running at this address.
        RefusedError: an address or a file is invalid, or a required key is missing.
    """
    place = find_home(home)
    address = find_operators_endpoint(endpoint, place)
    key = operator_key(place, os.environ)
    if needs_key:
        check_reachable(address)
        if key is None:
            raise RefusedError(
                "no operator's key was found: set HITMESH_OPERATOR_KEY or HITMESH_OPERATOR_KEY_FILE, or give as --home "
                "the home of a mesh that `hitmesh dev` started",
                reason=LocalReason.NO_KEY,
            )
    from hitmesh.client.mesh import Mesh

    return Mesh.connect(address, key, operator_key_source(place, os.environ))


def connect_to_operators(endpoint: str | None, home: Path | None) -> Mesh:
    """Return the mesh's listener for operators, without a key.

    Raises:
        NoMesh: no mesh is running at this address.
        RefusedError: an address or a file is invalid.
    """
    address = find_operators_endpoint(endpoint, find_home(home))
    check_reachable(address)
    from hitmesh.client.mesh import Mesh

    return Mesh.connect(address, None)


def connect_as_operator_or_merchant(endpoint: str | None, home: Path | None, *, needs_key: bool = False) -> Mesh:
    """Return the mesh with an operator's key or a server key.

    A key that a variable gives is preferred to the keys in the home directory, so that no command uses another key than
    the one that its user chose. If variables give both keys, or none, an operator's key is preferred.

    Raises:
        NoMesh: no mesh is running at this address.
        RefusedError: an address or a file is invalid, or a required key is missing.
    """
    if _uses_server_key(find_home(home)):
        return connect(endpoint, home, needs_key=needs_key)
    return connect_as_operator(endpoint, home, needs_key=needs_key)


def _uses_server_key(home: Path) -> bool:
    gives_server = any(os.environ.get(name) for name in (KEY_VARIABLE, KEY_FILE_VARIABLE))
    gives_operator = any(os.environ.get(name) for name in (OPERATOR_KEY_VARIABLE, OPERATOR_KEY_FILE_VARIABLE))
    if gives_server != gives_operator:
        return gives_server
    return operator_key(home, os.environ) is None and server_key(home, os.environ) is not None
