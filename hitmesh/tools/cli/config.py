"""`hitmesh config`: show the settings that the command line and the services use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.client.home import home_dir
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import EXIT_CODES_HELP, CommandFailed, Exit
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import examples, output_option
from hitmesh.tools.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from hitmesh.tools.cli.config_parts import Shown

# The names are copied from hitmesh.tools.dev.instances and config_parts, whose imports would slow down help. A test
# checks that the copies are equal to the originals.
PARTS = ("collector", "processor", "reporter", "control", "cli")


@click.group(
    cls=LazyGroup,
    lazy={"show": LazyCommand("hitmesh.tools.cli.config:show", "Show the settings in use, with their origins.")},
    name="config",
    short_help="Show the settings of services and commands.",
    epilog=examples(
        "hitmesh config show",
        "hitmesh config show processor --origin",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def config_group() -> None:
    """Show the settings of the services and of the command line.

    All settings are environment variables with the prefix HITMESH_. The page docs/settings.md lists all settings.
    """


@click.command(
    short_help="Show the settings in use, with their origins.",
    epilog=examples(
        "hitmesh config show",
        "hitmesh config show collector --origin",
        "hitmesh config show --home /tmp/on-servers --origin -o json",
    ),
)
@click.argument("service", type=click.Choice(PARTS), required=False)
@click.option("--origin", is_flag=True, help="Also show where each value comes from. JSON always has the origin.")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Show the settings that a running `hitmesh dev` gave to its services. Default: show the settings in the "
    "environment of this command.",
)
@output_option("table", "json")
def show(service: str | None, origin: bool, home: Path | None, output: str) -> None:
    """Show the settings that SERVICE would use in the environment of this command.

    `cli` stands for the settings of the command line. Without SERVICE, the command shows the settings of the command
    line, and of each service that has a variable in the environment. Secrets are hidden. If the service would refuse a
    value or a variable, or if a variable with the prefix HITMESH_ is unknown, the command names value, rule and cure,
    and exits with 3, as the service would do.
    """
    from hitmesh.tools.cli.config_parts import of_environment, of_mesh

    if home is None:
        shown = of_environment(service, os.environ)
        if service is None and len(shown.parts) == 1:
            note("no service has a variable in the environment: name a service to see its defaults")
    else:
        shown = of_mesh(service, home_dir(home, os.environ), os.environ)
    if output == "json":
        print_json({"parts": _parts(shown), "unknown": [asdict(each) for each in shown.unknown]})
    else:
        _print(shown, with_origin=origin, with_part=home is not None)
    for warning in shown.warnings():
        note(f"warning: {warning}")
    problems = shown.problems()
    if problems:
        raise CommandFailed(Exit.CONFIG, "\nerror: ".join(problems), reason=LocalReason.INVALID_CONFIG)


def _parts(shown: Shown) -> list[dict[str, Any]]:
    return [
        {"part": part, "settings": report["settings"], "problems": report["problems"]}
        for part, report in shown.parts.items()
    ]


def _print(shown: Shown, *, with_origin: bool, with_part: bool) -> None:
    headers = (*(("process",) if with_part else ()), "setting", "value", "unit", *(("origin",) if with_origin else ()))
    rows = [
        (
            *((part,) if with_part else ()),
            setting["name"],
            _value(setting["value"]),
            setting["unit"],
            *((setting["origin"] or "",) if with_origin else ()),
        )
        for part, setting in _settings(shown)
    ]
    print_table(headers, rows, right_from=len(headers))


def _settings(shown: Shown) -> Iterator[tuple[str, dict[str, Any]]]:
    for part, report in shown.parts.items():
        yield from ((part, setting) for setting in report["settings"])


def _value(value: str | None) -> str:
    return "(not set)" if value is None else value or "(empty)"
