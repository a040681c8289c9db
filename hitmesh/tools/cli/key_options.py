"""Options of `hitmesh keys`: merchant, expiry and overlap, and the mesh with the caller's key."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from hitmesh.model.names import MERCHANT_PATTERN
from hitmesh.tools.cli.dates import instant
from hitmesh.tools.cli.options import connect, connect_as_operator_or_merchant, find_home

if TYPE_CHECKING:
    from hitmesh.client.mesh import Mesh

CommandT = TypeVar("CommandT", bound=Callable[..., object])

NEVER: Final = "never"
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def full_merchant(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return `merchants/m` for a merchant's full or short name."""
    name = value if value is None or value.startswith("merchants/") else f"merchants/{value}"
    if name is None or MERCHANT_PATTERN.fullmatch(name):
        return name
    raise click.BadParameter(
        f"{value!r} is not a merchant: write 1 to 64 lower case letters, digits and hyphens, such as demo", param=param
    )


def merchant_option(command: CommandT) -> CommandT:
    """Add --merchant, the merchant of the key or keys."""
    return click.option(
        "--merchant", callback=full_merchant, metavar="MERCHANT", required=True, help="Merchant, for example demo."
    )(command)


def key_id_argument(command: CommandT) -> CommandT:
    """Add the argument ID and the option --merchant, which together name a key."""
    return click.argument("id_", metavar="ID")(merchant_option(command))


def expiry(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    """Return a time in UTC ms for an ISO date or time; `never` and None stay unchanged."""
    time = None if value == NEVER else instant(ctx, param, value)
    return value if time is None else int(time.timestamp() * 1_000)


def duration_s(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return a duration such as `7d`, `12h`, `30m` or `0s` in seconds."""
    if value is None:
        return None
    found = _DURATION.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a duration: write for example 7d, 12h, 30m or 0s", param=param)
    return int(found[1]) * _SECONDS[found[2]]


def connect_with_any_key(endpoint: str | None, home: Path | None) -> Mesh:
    """Return the mesh with an operator's key or a server key (connect_as_operator_or_merchant).

    Raises:
        NoMesh: no mesh is running at this address.
        RefusedError: an address or a file is invalid, or there is no key (NO_KEY).
    """
    from hitmesh.client.home import operator_key, server_key

    place = find_home(home)
    if server_key(place, os.environ) is None and operator_key(place, os.environ) is None:
        return connect(endpoint, home, needs_key=True)  # the error names the server key, which is the usual key
    return connect_as_operator_or_merchant(endpoint, home, needs_key=True)
