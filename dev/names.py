"""Find identifiers that contain a banned word, and fail if there are any.

`python dev/names.py PATH...` prints each identifier as `file:line: name`. Without PATH, the command searches the paths
in PACKAGES.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = ("collector", "processor", "reporter", "control", "hitmesh", "dev", "tests")
GENERATED = ("hitmesh/api/", "hitmesh/internal/")
BANNED = frozenset({"one", "own", "least", "stay"})
"""Words that are banned only as a whole name. A longer name, such as `own_partitions`, is allowed."""
BANNED_WORDS = frozenset({"said", "says", "told", "tells", "asked", "asks", "did", "nowhere"})
"""Words that no name may contain. For example, `is_told` and `_Asked` are banned."""
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) for each name that the code defines or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name
            case ast.Import() | ast.ImportFrom():
                yield from ((node.lineno, alias.asname) for alias in node.names if alias.asname)


def is_banned(name: str) -> bool:
    """Return whether a name is banned, or contains a banned word."""
    return name in BANNED or not BANNED_WORDS.isdisjoint(word.lower() for word in WORD.findall(name))


def banned_in(path: Path) -> list[tuple[int, str]]:
    """Return the sorted pairs (line, banned name) for a file. A banned file name is reported at line 1."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [(1, path.stem), *names_in(tree)]
    return sorted({(line, name) for line, name in found if is_banned(name)})


def main(argv: Sequence[str] | None = None) -> int:
    """Print the banned names; return 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", default=PACKAGES)
    count = 0
    for root in map(Path, parser.parse_args(argv).paths):
        for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
            if path.as_posix().startswith(GENERATED):
                continue
            for line, name in banned_in(path):
                count += 1
                sys.stdout.write(f"{path}:{line}: {name}\n")
    sys.stdout.write(f"{count} lines with a banned name\n")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
