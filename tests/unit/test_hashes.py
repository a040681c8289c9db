"""Test that docs/decisions/0038-hashes.md covers every use of a 64-bit hash in the product (rule D0)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).parents[2]
PAGE = REPO / "docs" / "decisions" / "0038-hashes.md"
PACKAGES = ("hitmesh", "collector", "processor", "reporter", "control")
OURS = frozenset({"hash64", "hash64_column", "campaign_hashes", "id_hashes", "hit_ids", "timeline_keys"})
OF_LIBRARIES = frozenset({"hash", "hash_rows", "crc32", "adler32"})


def is_hash(called: ast.expr) -> bool:
    """Return whether the called function returns a hash of at most 64 bits."""
    match called:
        case ast.Name(name) | ast.Attribute(attr=name):
            return (
                name in OURS or name.startswith("xxh") or (isinstance(called, ast.Attribute) and name in OF_LIBRARIES)
            )
    return False


def uses(tree: ast.AST, name: str = "") -> Iterator[str]:
    """Yield, for each call of a hash, the name of the function or method that contains the call."""
    for node in ast.iter_child_nodes(tree):
        inner = name
        if isinstance(node, ast.ClassDef) or (
            isinstance(node, ast.FunctionDef) and not isinstance(tree, ast.FunctionDef)
        ):
            inner = f"{name}.{node.name}".lstrip(".")
        if isinstance(node, ast.Call) and is_hash(node.func):
            yield name
        yield from uses(node, inner)


def test_the_page_of_hashes_lists_every_use() -> None:
    page = PAGE.read_text()
    found = {
        f"{path.relative_to(REPO)}:{use}"
        for package in PACKAGES
        for path in sorted((REPO / package).rglob("*.py"))
        for use in uses(ast.parse(path.read_text()))
    }
    assert len(found) > 20
    missing = sorted(use for use in found if f"`{use}`" not in page)
    assert not missing, f"{PAGE.name} does not say why a collision is harmless in {missing}"


def test_a_use_is_found_wherever_it_stands() -> None:
    source = (
        "class A:\n def b(self):\n  def c():\n   return [lambda: keys.hash64('x')]\ndef d():\n xxhash.xxh3_64(b'')\n"
    )
    assert list(uses(ast.parse(source))) == ["A.b", "d"]
