"""The environment variables of the command line and of the tests, and their values in an environment.

docs/settings.md lists the variables. `hitmesh config show` prints the values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from hitmesh.client.home import (
    DEV_KEY_FILE,
    DEV_OPERATOR_KEY_FILE,
    ENDPOINT_VARIABLE,
    HOME_VARIABLE,
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    METRICS_VARIABLE,
    OPERATOR_ENDPOINT_VARIABLE,
    OPERATOR_KEY_FILE_VARIABLE,
    OPERATOR_KEY_VARIABLE,
    READY_FILE,
    NoMesh,
    endpoint,
    home_dir,
    operator_key,
    operator_key_source,
    operators_endpoint,
    server_key,
    server_key_source,
)
from hitmesh.model.errors import RefusedError
from hitmesh.runtime.variables import HIDDEN, Variable, without_password
from hitmesh.tools.stack.layout import HOME_VARIABLE as STACK_HOME_VARIABLE
from hitmesh.tools.stack.layout import stack_home

# The last colon or semicolon of a message stands before the cure.
_BEFORE_CURE: Final = re.compile(r"[:;] (?!.*[:;] )", re.DOTALL)
ENVIRONMENT: Final = "environment"
DEFAULT: Final = "default"

COMMAND_LINE: Final = (
    Variable(
        HOME_VARIABLE,
        "text",
        "",
        "",
        "hitmesh/ in the XDG data directory",
        "Directory of a mesh on this machine, with data, keys and logs. The option `--home` takes precedence",
    ),
    Variable(
        ENDPOINT_VARIABLE,
        "text",
        "",
        "HOST:PORT or http://HOST:PORT",
        f"the address in {READY_FILE} of the home",
        "Address of the mesh. The option `--endpoint` takes precedence",
    ),
    Variable(
        OPERATOR_ENDPOINT_VARIABLE,
        "text",
        "",
        "HOST:PORT or http://HOST:PORT",
        f"the value of {ENDPOINT_VARIABLE}, else the operators' address in {READY_FILE} of the home",
        "Address of the mesh's listener for operators. The option `--endpoint` takes precedence",
    ),
    Variable(
        KEY_VARIABLE,
        "text",
        "",
        "",
        f"the key in the file of {KEY_FILE_VARIABLE}",
        "Key of a merchant, with which commands authenticate",
        is_secret=True,
    ),
    Variable(
        KEY_FILE_VARIABLE,
        "text",
        "",
        "path of a readable file",
        f"{DEV_KEY_FILE} in the home",
        f"File with the key of a merchant, used if {KEY_VARIABLE} is not set",
    ),
    Variable(
        OPERATOR_KEY_VARIABLE,
        "text",
        "",
        "",
        f"the key in the file of {OPERATOR_KEY_FILE_VARIABLE}",
        "Key of an operator, with which the commands of operators authenticate",
        is_secret=True,
    ),
    Variable(
        OPERATOR_KEY_FILE_VARIABLE,
        "text",
        "",
        "path of a readable file",
        f"{DEV_OPERATOR_KEY_FILE} in the home",
        f"File with the key of an operator, used if {OPERATOR_KEY_VARIABLE} is not set",
    ),
    Variable(
        STACK_HOME_VARIABLE,
        "text",
        "",
        "",
        f"the value of {HOME_VARIABLE}",
        "Directory of the Kafka, Cassandra and Druid servers that `hitmesh stack` runs",
    ),
    Variable(
        METRICS_VARIABLE,
        "text",
        "",
        "NAME=HOST:PORT, separated by commas",
        f"the addresses in {READY_FILE} of the home",
        "Addresses of the metrics of processes, and of Envoy's statistics (`envoy=HOST:PORT`), for `hitmesh doctor`",
    ),
)

TESTS: Final = (
    Variable(
        "HITMESH_TEST_SERVERS",
        "text",
        "",
        "servers:?kafka=…",
        "",
        "Store URL of existing servers for the tests on Kafka, Cassandra and Druid; empty = the tests start servers",
    ),
    Variable(
        "HITMESH_TEST_STACK_HOME",
        "text",
        "",
        "",
        ".stack/ in the repository, or a directory in memory",
        "Home of the servers that the tests start",
    ),
    Variable(
        "HITMESH_KUBE_APISERVER",
        "text",
        "",
        "path of a file",
        "",
        "A kube-apiserver that checks k8s/; dev/kube/build.sh builds one; empty = the tests on it are skipped",
    ),
    Variable(
        "HITMESH_HELM",
        "text",
        "",
        "path of a file",
        "",
        "A Helm that renders k8s/chart; dev/kube/tools.sh builds one; empty = the Helm on the path or of Go, if any",
    ),
    Variable(
        "HITMESH_PROMTOOL",
        "text",
        "",
        "path of a file",
        "promtool on the path",
        "A promtool that runs the alerts of observability/; without promtool, the test is skipped",
    ),
)


def command_line_report(home: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the command line's variables, in the same form as hitmesh.runtime.config_report.report.

    Args:
        home: the value of the option `--home`.
        environment: the environment variables.
    """
    place = home_dir(home, environment)
    problems: list[dict[str, Any]] = []
    entries = []
    for variable in COMMAND_LINE:
        try:
            value, origin = _value(variable.name, home, place, environment)
        except RefusedError as error:
            value, origin = environment.get(variable.name), ENVIRONMENT
            problems.append(problem_of(variable.name, HIDDEN if variable.is_secret else value, error))
        shown = HIDDEN if variable.is_secret and value else value
        entries.append({**asdict(variable), "value": shown, "origin": origin})
    return {"prefix": "", "settings": entries, "problems": problems}


def problem_of(variable: str, value: str | None, error: RefusedError) -> dict[str, Any]:
    """Return a problem with the fields of hitmesh.runtime.config.Problem; the message names the rule, then the cure."""
    text = without_password(error.message)
    rule, cure = _BEFORE_CURE.split(text, 1) if _BEFORE_CURE.search(text) else (text, "")
    message = f"setting {variable}: {text}"
    return {"variable": variable, "value": value, "rule": rule, "cure": cure, "message": message}


def _value(name: str, home: Path | None, place: Path, environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the value that commands use, and the value's origin; both are None without a value."""
    origin = ENVIRONMENT if environment.get(name) else DEFAULT
    if name == HOME_VARIABLE:
        return str(place), origin if home is None else "--home"
    if name == STACK_HOME_VARIABLE:
        return str(stack_home(None, environment)), origin
    if name == METRICS_VARIABLE:
        return environment.get(name), origin
    if name == ENDPOINT_VARIABLE:
        return _endpoint(endpoint, (ENDPOINT_VARIABLE,), place, environment)
    if name == OPERATOR_ENDPOINT_VARIABLE:
        named = (OPERATOR_ENDPOINT_VARIABLE, ENDPOINT_VARIABLE)
        return _endpoint(operators_endpoint, named, place, environment)
    if name == KEY_VARIABLE:
        return _key(server_key, server_key_source, place, environment, name)
    if name == OPERATOR_KEY_VARIABLE:
        return _key(operator_key, operator_key_source, place, environment, name)
    default = DEV_KEY_FILE if name == KEY_FILE_VARIABLE else DEV_OPERATOR_KEY_FILE
    return environment.get(name) or str(place / default), origin


def _endpoint(
    read: Callable[[None, Path, Mapping[str, str]], str],
    variables: Sequence[str],
    place: Path,
    environment: Mapping[str, str],
) -> tuple[str | None, str | None]:
    try:
        found = read(None, place, environment)
    except NoMesh:
        return None, None
    return found, ENVIRONMENT if any(map(environment.get, variables)) else str(place / READY_FILE)


def _key(
    read: Callable[[Path, Mapping[str, str]], str | None],
    source: Callable[[Path, Mapping[str, str]], str],
    place: Path,
    environment: Mapping[str, str],
    name: str,
) -> tuple[str | None, str | None]:
    key, origin = read(place, environment), source(place, environment)
    return key, None if key is None else ENVIRONMENT if origin == name else origin
