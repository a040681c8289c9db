"""Test that every public function and method of `hitmesh/model` has an example that `make check` runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "hitmesh" / "model"
RUN = "--doctest-modules hitmesh/model"


def public_functions(module: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the public functions, and the public methods of public classes, with their names."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from ((f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, ast.FunctionDef))


@pytest.mark.parametrize("module", sorted(str(path.relative_to(MODEL)) for path in MODEL.rglob("*.py")))
def test_every_public_function_of_the_vocabulary_has_an_example(module: str) -> None:
    without = [
        name
        for name, node in public_functions(MODEL / module)
        if not node.name.startswith("_") and "\nExample:\n    >>> " not in (ast.get_docstring(node) or "")
    ]
    assert not without, "add a section `Example:` of one to four lines to the docstring"


@pytest.mark.parametrize("file", ["Makefile", "dev/test.sh"])
def test_the_checks_run_the_examples(file: str) -> None:
    assert RUN in (ROOT / file).read_text(encoding="utf-8")
