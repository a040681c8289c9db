"""Test that each number of the rules and each type of array is defined once.

The text of a limit must cite the limit's rule.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMITS = ROOT / "hitmesh/model/limits.py"
PACKAGES = ("hitmesh", "collector", "control", "processor", "reporter")
RULE = re.compile(r"\b[Rr]ules? ([TIDSLZMP][0-9]+)")


def explained() -> dict[str, str]:
    """Return each limit and the text that explains it."""
    body = ast.parse(LIMITS.read_text(encoding="utf-8")).body
    pairs = itertools.pairwise(body)
    return {
        ast.unparse(limit.target): str(text.value.value)
        for limit, text in pairs
        if isinstance(limit, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def constants_of_rules() -> Iterator[str]:
    """Yield the constants outside limits.py that are numbers and have a comment that cites a rule."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            lines = path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines):
                value = re.match(r"([A-Z_]+)(?:: Final)? = [0-9_ *.]+(?:#.*)?$", line)
                above = lines[number - 1] if number and lines[number - 1].startswith("#") else ""
                if value and path != LIMITS and (RULE.search(line) or RULE.search(above)):
                    yield f"{path.relative_to(ROOT)}:{number + 1} {value[1]}"


def test_every_limit_cites_a_rule_that_exists() -> None:
    rules = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
    # these limits follow from a definition or a metric, so they cite no rule
    no_rules = {"CELL_MS", "LG_K_CELL", "LG_K_UNION", "UNKNOWN_KEYS_S"}
    limits = explained()
    assert set(limits) > no_rules
    for name in set(limits) - no_rules:
        cited = RULE.findall(limits[name])
        assert cited, f"{name} cites no rule"
        assert all(f"- {rule} " in rules for rule in cited), name


def test_a_number_of_a_rule_stands_in_limits_alone() -> None:
    assert not list(constants_of_rules())


def test_array_types_have_aliases_in_arrays_alone() -> None:
    spelled = re.compile(r"NDArray\[np\.(?:bool_|int32|int64|uint64)\]")
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = [path.relative_to(ROOT).as_posix() for path in files if spelled.search(path.read_text(encoding="utf-8"))]
    assert found == ["hitmesh/model/arrays.py"]
