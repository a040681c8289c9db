"""Count the words that make docstrings and comments hard to read, and fail if there are too many.

Limits apply per 1,000 words, over all files together. Pronouns are limited because nouns are clearer. "of" is limited
because a chain of genitives hides the actor. `python dev/words.py PATH...` prints the rates and the files with the most
words beyond the limits. Without PATH, the command counts the product's packages and the contract's protos.
"""

from __future__ import annotations

import argparse
import ast
import doctest
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("collector", "processor", "reporter", "control", "hitmesh", "dev", "proto/hitmesh")
GENERATED = ("hitmesh/api/", "hitmesh/internal/")
LIMITS = {"what": 3.0, "one": 4.0, "of": 28.0, "it": 16.0}
"""Maximum occurrences per 1,000 words."""
GROUPS = {
    "what": "what",
    "one": "one",
    "ones": "one",
    "of": "of",
    **dict.fromkeys(("it", "they", "them", "their", "its"), "it"),
}
WORD = re.compile(r"[A-Za-z]+(?:['’][a-z]+)?")
WORST = 12
EXAMPLES = doctest.DocTestParser()


def prose_of(path: Path) -> Iterator[str]:
    """Yield the prose of a file: for Python, comments and docstrings without examples; for a proto, comments."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".proto":
        yield from re.findall(r"//(.*)", text)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and "noqa" not in token.string and "type: ignore" not in token.string:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        for child in ast.iter_child_nodes(node):
            is_text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if is_text and isinstance(child.value.value, str):  # type: ignore[attr-defined]  # an ast.Expr
                parts = EXAMPLES.parse(child.value.value)  # type: ignore[attr-defined]  # a constant
                yield from (part for part in parts if isinstance(part, str))


def counted(texts: Iterable[str]) -> Counter[str]:
    """Return the number of words in each group of LIMITS.

    The key "words" has the number of all words.
    """
    words = [word.lower() for text in texts for word in WORD.findall(text)]
    groups = Counter(GROUPS[word] for word in words if word in GROUPS)
    groups["words"] = len(words)
    return groups


def files_of(paths: Iterable[str]) -> list[Path]:
    """Return the hand-written Python files and protos below the paths, sorted."""
    found = []
    for path in map(Path, paths):
        below = [path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.proto")]
        found += [file for file in below if not file.as_posix().startswith(GENERATED)]
    return sorted(set(found))


def excess(counts: Counter[str]) -> float:
    """Return the number of words beyond the limits."""
    return sum(max(0.0, counts[name] - limit * counts["words"] / 1_000) for name, limit in LIMITS.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the rates; return 1 if any rate is above its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", default=PACKAGES)
    counts = {path: counted(prose_of(path)) for path in files_of(parser.parse_args(argv).paths)}
    total = Counter[str]()
    for of_file in counts.values():
        total.update(of_file)
    rates = {name: 1_000 * total[name] / max(1, total["words"]) for name in LIMITS}
    line = ", ".join(f"{name} {rates[name]:.1f} (at most {limit:.0f})" for name, limit in LIMITS.items())
    sys.stdout.write(f"{total['words']:,} words; per 1,000: {line}\n")
    if all(rates[name] <= limit for name, limit in LIMITS.items()):
        return 0
    for path in sorted(counts, key=lambda path: -excess(counts[path]))[:WORST]:
        of_file = counts[path]
        shown = ", ".join(f"{name} {of_file[name]}" for name in LIMITS)
        sys.stdout.write(f"  {path}: {of_file['words']} words: {shown}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
