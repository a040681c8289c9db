"""`hitmesh doctor`: check a whole mesh, and print each problem with cause, evidence and cure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from hitmesh.model.plurals import counted
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import CommandFailed, Exit
from hitmesh.tools.cli.init import SIZES, STACK
from hitmesh.tools.cli.options import CommandT, examples, find_home, output_option
from hitmesh.tools.cli.stack import find_stack_home

_SEVERITIES: Final = ("warning", "error")


def _size_options(command: CommandT) -> CommandT:
    """Add the sizes of `hitmesh init`, without defaults, because a size that is not given is not checked."""
    for name, _, kind, meaning in reversed(SIZES):
        command = click.option(name, type=kind, help=f"As given to `hitmesh init`: {meaning[0].lower()}{meaning[1:]}")(
            command
        )
    return command


@click.command(
    short_help="Check a whole mesh, and name cause and cure of each problem.",
    epilog=examples(
        "hitmesh doctor",
        "hitmesh doctor --home /srv/hitmesh -o json",
        "hitmesh doctor --check canary --check disks --timeout 30",
        "hitmesh doctor --fail-on error",
        "hitmesh doctor --backend stack --check topics --check tables --check sources --replication 1",
    )
    + "\n\n\b\nExit codes:\n  0    no problem was found\n  7    a problem was found, or a part did not answer in time",
)
@click.option(
    "--check", "names", multiple=True, metavar="NAME", help="Run only this check. Can be given several times."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Longest time of a check. Default: each check has its time limit, of at most 90 s.",
)
@click.option(
    "--fail-on",
    type=click.Choice(_SEVERITIES),
    default="warning",
    show_default=True,
    help="The lowest severity with which the command exits with 7.",
)
@click.option(
    "--backend", metavar="URL|stack", help="Store URL. Default: the services' setting in the environment or the home."
)
@click.option(
    "--metrics",
    multiple=True,
    metavar="NAME=HOST:PORT",
    help="Address of the metrics of a process, or of Envoy's statistics (envoy=HOST:PORT). Can be given several times. "
    "Default: HITMESH_METRICS, and the ready file of the home.",
)
@click.option(
    "--min-free-bytes",
    type=click.IntRange(min=0),
    metavar="BYTES",
    help="A disk with less room is full. Default: 2 GiB.",
)
@click.option(
    "--certificate-days",
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="A certificate that expires sooner is a problem. Default: 14.",
)
@_size_options
@click.option("--endpoint", metavar="HOST:PORT", help="Address of the mesh. Default: as for other commands.")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Home of the mesh. Default: HITMESH_HOME, else hitmesh/ in the XDG data directory.",
)
@output_option("table", "json")
def doctor(
    *,
    names: tuple[str, ...],
    timeout: float | None,
    fail_on: str,
    backend: str | None,
    metrics: tuple[str, ...],
    min_free_bytes: int | None,
    certificate_days: int | None,
    endpoint: str | None,
    home: Path | None,
    output: str,
    **sizes: Any,
) -> None:
    """Check a whole mesh: send a canary hit into a report, and examine services, stores, clocks, disks, certificates.

    All checks run side by side, and each has a time limit, so the command always ends. Each problem is printed with its
    cause, the evidence and the command that cures it. The command changes no merchant's numbers: the canary has a
    merchant of its own. docs/doctor.md describes all checks and the JSON output.
    """
    from hitmesh.tools.cli.doctor_output import print_diagnosis
    from hitmesh.tools.doctor.checks import CHECKS
    from hitmesh.tools.doctor.findings import Severity
    from hitmesh.tools.doctor.limits import Limits
    from hitmesh.tools.doctor.place import Options, find_place
    from hitmesh.tools.doctor.running import diagnose

    known = {check.name: check for check in CHECKS}
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not a check: checks are {', '.join(known)}", param_hint="--check")
    given = {"free_bytes": min_free_bytes, "certificate_days": certificate_days}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    place = find_place(
        Options(
            home,
            endpoint,
            _store(backend),
            metrics,
            {name: value for name, value in sizes.items() if value is not None},
            limits,
        ),
        find_home(home),
        os.environ,
    )
    chosen = [check for check in CHECKS if not names or check.name in names]
    found = diagnose(place, chosen, at_most_s=timeout or float("inf"))
    print_diagnosis(found, place, output)
    if found.fails(Severity(fail_on)):
        raise CommandFailed(
            Exit.PROBLEMS_FOUND,
            f"{counted(len(found.findings), 'problem')} found: docs/doctor.md describes each kind of problem",
            reason=LocalReason.PROBLEMS_FOUND,
        )


def _store(backend: str | None) -> str | None:
    """Return the store URL that an option names; `stack` stands for the servers of `hitmesh stack`."""
    if backend != STACK:
        return backend
    from hitmesh.tools.stack import commands

    url = commands.url(find_stack_home(None))
    if url is None:
        raise click.BadParameter("no server was ever started: run `hitmesh stack up`", param_hint="--backend")
    return url
