"""Test that the commands in findings exist, and that docs/doctor.md lists all checks and kinds of findings."""

from __future__ import annotations

import ast
import re
import shlex
import string
from pathlib import Path

import click
import pytest

from hitmesh.tools.cli.__main__ import root
from hitmesh.tools.doctor import kinds
from hitmesh.tools.doctor.checks import CHECKS
from hitmesh.tools.doctor.findings import Kind
from hitmesh.tools.doctor.page import with_table

ROOT = Path(__file__).resolve().parents[2]
KINDS = {kind.code: kind for check in CHECKS for kind in (kinds.NO_ANSWER, kinds.STORE_NO_ANSWER, *check.kinds)}
OTHER_PROGRAMS = {"kubectl", "du", "openssl", "chronyc", "nodetool", "kafka-topics.sh", "kafka-reassign-partitions.sh"}
"""Programs of the machine or of the cluster, for problems that are outside of hitmesh."""
COMMON = {"home": " --home /srv/hitmesh", "init": " --backend 'servers:?kafka=k:9092' --replication 3"}
SERVICES = ("collector", "processor", "reporter", "control")


def commands_of(kind: Kind) -> list[str]:
    return list(filter(None, (kind.command, kind.in_cluster)))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_command_exists_with_its_options(kind: Kind) -> None:
    for template in commands_of(kind):
        names = {name for _, name, _, _ in string.Formatter().parse(template) if name}
        command = template.format_map({**dict.fromkeys(names, "demo/example"), **COMMON})
        program, *arguments = shlex.split(command)
        if program != "hitmesh":
            assert program in OTHER_PROGRAMS
            continue
        assert_is_command(arguments)


def assert_is_command(arguments: list[str]) -> None:
    """Assert that the command line has this command with these options."""
    command: click.Command = root
    context = click.Context(root)
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[0])
        assert found is not None, arguments
        command, arguments = found, arguments[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {argument for argument in arguments if argument.startswith("--")}
    assert given <= options
    required = {parameter.opts[0] for parameter in command.params if parameter.required and parameter.opts}
    assert {name for name in required if name.startswith("--")} <= given


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_has_a_meaning_and_a_cure_in_sentences(kind: Kind) -> None:
    assert re.fullmatch(r"[A-Z][A-Z_]+", kind.code)
    for text in (kind.meaning, kind.cure):
        assert text[0].isupper() or text.startswith("`")
        assert text.endswith(".")


def test_checks_have_unique_names_and_codes() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(KINDS[kind.code] is kind for check in CHECKS for kind in check.kinds)


def test_every_time_limit_is_at_most_the_documented_90_seconds() -> None:
    assert max(check.deadline_s for check in CHECKS) == 90.0


def test_the_page_lists_the_checks_of_the_table() -> None:
    page = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    assert page == with_table(page), "run: python -m hitmesh.tools.doctor.page docs/doctor.md"


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_the_doctor(service: str) -> None:
    for path in (ROOT / service).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [module for module in modules if module.startswith("hitmesh.tools")], path
