"""`hitmesh certs`: make, show and rotate the certificates with which the parts of a mesh identify themselves."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import EXIT_CODES_HELP, CommandFailed, Exit
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import examples, output_option
from hitmesh.tools.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from hitmesh.tools.certs.files import Issued

_MODULE: Final = "hitmesh.tools.cli.certs"
_LEAF_DAYS: Final = 7
_AUTHORITY_DAYS: Final = 3_650
_PARTS: Final = ("envoy", "collector", "processor", "reporter", "control", "kafka", "cassandra", "druid", "client")
_COLUMNS: Final = ("name", "identity", "days left", "expires", "serial")


def _hosts(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Return the additional host names, keyed by part."""
    hosts: dict[str, list[str]] = {}
    for value in values:
        part, _, host = value.partition("=")
        if part not in _PARTS or not host.strip() or not host.isascii():
            raise click.BadParameter(
                f"{value!r} is not PART=HOST: give for example kafka=broker-0.stores; parts are {', '.join(_PARTS)}"
            )
        hosts.setdefault(part, []).append(host.strip())
    return hosts


def _folder_argument(command: Any) -> Any:
    folder = click.Path(file_okay=False, path_type=Path)
    return click.argument("folder", type=folder, metavar="DIR")(command)


def _days_option(command: Any) -> Any:
    return click.option(
        "--days",
        type=click.FloatRange(0, 825, min_open=True),
        default=_LEAF_DAYS,
        show_default=True,
        help="Days until the certificates of the parts expire.",
    )(command)


@click.group(
    cls=LazyGroup,
    lazy={
        "make": LazyCommand(f"{_MODULE}:make", "Make an authority and all certificates of a mesh."),
        "show": LazyCommand(f"{_MODULE}:show", "Show each certificate with the days that are left."),
        "rotate": LazyCommand(f"{_MODULE}:rotate", "Replace keys and certificates; nothing restarts."),
    },
    name="certs",
    short_help="Make and rotate the certificates of a mesh (mTLS).",
    epilog=examples("hitmesh certs make certs", "hitmesh certs show certs", "hitmesh certs rotate certs")
    + "\n\n"
    + EXIT_CODES_HELP,
)
def certs_group() -> None:
    """Make and rotate the certificates with which the parts of a mesh identify themselves (mTLS).

    The authority is for development and tests: its key is a file. In production, let an issuer of your platform write
    the same three files for each part.
    """


@click.command(
    short_help="Make an authority and all certificates of a mesh.",
    epilog=examples("hitmesh certs make certs", "hitmesh certs make certs --days 1 --host kafka=broker-0.stores"),
)
@_folder_argument
@_days_option
@click.option(
    "--authority-days",
    type=click.FloatRange(0, 36_500, min_open=True),
    default=_AUTHORITY_DAYS,
    show_default=True,
    help="Days until the certificate of the authority expires.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    callback=_hosts,
    metavar="PART=HOST",
    help="Additional host name or address in the certificate of a part. Can be given several times.",
)
@output_option("table", "json")
def make(*, folder: Path, days: float, authority_days: float, hosts: Mapping[str, list[str]], output: str) -> None:
    """Make in DIR an authority, and a key and a certificate for each part of a mesh. Key files have mode 0600.

    The JSON output is that of `hitmesh certs show`.
    """
    from hitmesh.tools.certs import files

    with _file_errors():
        files.make(folder, _now(), days=days, authority_days=authority_days, hosts=hosts)
        found = files.issued(folder, _now())
    _print(found, output)
    note(f"keep {folder / files.AUTHORITY_KEY} secret: whoever has this key can be any part of the mesh")


@click.command(
    short_help="Show each certificate with the days that are left.",
    epilog=examples("hitmesh certs show certs", "hitmesh certs show certs --min-days 3 -o json"),
)
@_folder_argument
@click.option(
    "--min-days",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Exit with 7 if a certificate expires within this time.",
)
@output_option("table", "json")
def show(*, folder: Path, min_days: float, output: str) -> None:
    """Show the certificates in DIR. The exit code is 7 if a certificate has expired or expires soon."""
    from hitmesh.tools.certs import files

    with _file_errors():
        found = files.issued(folder, _now())
    _print(found, output)
    due = [each.name for each in found if each.days_left < min_days]
    if due:
        cure = f"run `hitmesh certs rotate {folder}`"
        if "ca" in due:
            cure = "make a new directory with `hitmesh certs make`, and replace the authority (docs/tls.md)"
        raise CommandFailed(
            Exit.PROBLEMS_FOUND,
            f"fewer than {min_days:g} days are left for {', '.join(due)}: {cure}",
            reason=LocalReason.NOT_HEALTHY,
        )


@click.command(
    short_help="Replace keys and certificates; nothing restarts.",
    epilog=examples("hitmesh certs rotate certs", "hitmesh certs rotate certs envoy kafka --days 1"),
)
@_folder_argument
@click.argument("parts", type=click.Choice(_PARTS), nargs=-1, metavar="[PART]…")
@_days_option
@output_option("table", "json")
def rotate(*, folder: Path, parts: tuple[str, ...], days: float, output: str) -> None:
    """Replace keys and certificates in DIR, of all parts or of each PART, with the same authority and host names.

    Envoy and the services use the new files for new connections, without a restart.
    """
    from hitmesh.tools.certs import files

    with _file_errors():
        files.rotate(folder, _now(), parts or _PARTS, days=days)
        found = files.issued(folder, _now())
    _print(found, output)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _print(found: list[Issued], output: str) -> None:
    if output == "json":
        print_json([_fields(each) for each in found])
        return
    rows = [
        (each.name, each.identity, f"{each.days_left:.1f}", _time(each.expires), each.serial[:16]) for each in found
    ]
    print_table(_COLUMNS, rows, right_from=len(_COLUMNS))


def _fields(each: Issued) -> dict[str, object]:
    return {
        "name": each.name,
        "identity": each.identity,
        "serial": each.serial,
        "expires": _time(each.expires),
        "days_left": round(each.days_left, 3),
        "hosts": list(each.hosts),
        "file": str(each.file),
    }


def _time(instant: datetime.datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandFailed(
            Exit.CONFIG,
            f"{error.filename} cannot be used ({error.strerror}): give another DIR",
            reason=LocalReason.INVALID_FILE,
        ) from error
