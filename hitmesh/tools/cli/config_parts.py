"""Collects the effective settings of the command line and of services, for `hitmesh config show`.

Each service reports its settings in a separate process, because tools import no service.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hitmesh.adapters.urls import check_store_url
from hitmesh.client.home import endpoint
from hitmesh.model.errors import RefusedError
from hitmesh.runtime.variables import PREFIX, nearest_name
from hitmesh.tools.cli.variables import COMMAND_LINE, DEFAULT, TESTS, command_line_report, problem_of
from hitmesh.tools.dev.given_settings import Given, read_given
from hitmesh.tools.dev.instances import SERVICES

CLI: Final = "cli"
BY_DEV: Final = "hitmesh dev"
BY_OPTION: Final = "option of hitmesh dev"

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A variable with the prefix HITMESH_ that nothing reads; `similar` is the nearest known name, if any is near."""

    variable: str
    similar: str | None

    @property
    def message(self) -> str:
        """The problem and the cure."""
        cure = f"did you mean {self.similar}?" if self.similar else "`hitmesh config show SERVICE` lists the settings"
        return f"environment variable {self.variable} is not a setting; {cure}"


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything that the command shows.

    Attributes:
        parts: a report per part, keyed by service or process name, or CLI
            (hitmesh.runtime.config_report.report describes a report).
        unknown: unknown variables that belong to none of the parts.
    """

    parts: Mapping[str, Report]
    unknown: Sequence[Unknown]

    def problems(self) -> list[str]:
        """Return the messages of all problems, except unknown variables of services that are not shown."""
        found = [problem["message"] for report in self.parts.values() for problem in report["problems"]]
        return found + [each.message for each in self.unknown if service_of(each.variable) is None]

    def warnings(self) -> list[str]:
        """Return the messages about unknown variables of services that are not shown."""
        return [each.message for each in self.unknown if service_of(each.variable) is not None]


def service_of(variable: str) -> str | None:
    """Return the service whose prefix a variable has; None for all other variables."""
    return next((service for service in SERVICES if variable.startswith(f"{PREFIX}{service.upper()}_")), None)


def of_environment(part: str | None, environment: Mapping[str, str]) -> Shown:
    """Return the settings in an environment.

    Args:
        part: a service, or CLI; None means the command line and all services that have a variable in the environment.
        environment: the environment variables.
    """
    configured = [service for service in SERVICES if service in map(service_of, environment)]
    wanted = configured if part is None else [part] if part in SERVICES else []
    parts: dict[str, Report] = {}
    if part in (None, CLI):
        parts[CLI] = command_line_report(None, environment)
    parts |= _reports({service: (service, environment) for service in wanted})
    return Shown(parts, _unknown(environment, wanted))


def of_mesh(part: str | None, home: Path, environment: Mapping[str, str]) -> Shown:
    """Return the settings for the mesh that `hitmesh dev` runs in a home directory, and for commands with this home.

    Args:
        part: a service, or CLI; None means all.
        home: the home directory.
        environment: the command line's environment variables. Services of `hitmesh dev` do not read variables with
            the prefix HITMESH_ from this environment.

    Raises:
        NoMesh: no mesh runs in the home directory.
    """
    endpoint(None, home, {})  # raises NoMesh if no mesh runs
    processes = [each for each in read_given(home / "run") if part in (None, each.service)]
    inherited = _without_settings(environment)
    reports = _reports({each.process: (each.service, {**inherited, **each.variables}) for each in processes})
    parts = {each.process: _with_origins(reports[each.process], each) for each in processes}
    if part in (None, CLI):
        parts = {CLI: command_line_report(home, environment), **parts}
    return Shown(parts, _unknown(environment, []))


def _with_origins(report: Report, given: Given) -> Report:
    """Return a report in which `hitmesh dev` is the origin of the values from the environment."""

    def origin(setting: Mapping[str, Any]) -> str | None:
        if setting["origin"] in (None, DEFAULT):
            return setting["origin"]  # type: ignore[no-any-return]  # a JSON value
        return BY_OPTION if setting["name"] in given.options else BY_DEV

    return {**report, "settings": [{**setting, "origin": origin(setting)} for setting in report["settings"]]}


def _reports(wanted: Mapping[str, tuple[str, Mapping[str, str]]]) -> dict[str, Report]:
    """Return the reports of services, keyed like `wanted`, whose values are pairs of a service and its environment."""
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", f"{service}.settings"],
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name, (service, environment) in wanted.items()
    }
    outputs = {name: (process.communicate(), process.returncode) for name, process in running.items()}
    for name, ((_, errors), code) in outputs.items():
        if code != 0:
            raise RuntimeError(f"{name} cannot report its settings:\n{errors.decode(errors='backslashreplace')}")
    return {name: _with_store_checked(json.loads(output)) for name, ((output, _), _) in outputs.items()}


def _with_store_checked(report: Report) -> Report:
    """Return a report in which a store URL that the service would refuse is a problem."""
    store = f"{report['prefix']}STORE"
    for setting in report["settings"]:
        if setting["name"] != store or setting["value"] is None:
            continue
        try:
            check_store_url(setting["value"])
        except RefusedError as error:
            problem = problem_of(store, setting["value"], error)
            return {**report, "problems": [*report["problems"], problem]}
    return report


def _unknown(environment: Mapping[str, str], shown: Sequence[str]) -> list[Unknown]:
    """Return the unknown variables, except those of services that are shown, whose reports contain them."""
    known = {variable.name for variable in (*COMMAND_LINE, *TESTS)}
    suspects = [
        name
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known and service_of(name) not in shown
    ]
    if not suspects:
        return []
    reports = _reports({service: (service, _without_settings(environment)) for service in SERVICES})
    known |= {setting["name"] for report in reports.values() for setting in report["settings"]}
    return [Unknown(name, nearest_name(name, known)) for name in suspects if name not in known]


def _without_settings(environment: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
