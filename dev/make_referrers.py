"""Step 0 of classification: derive the project's referrer table from the published lists.

Reads SearchEngines.yml, Socials.yml and AIAssistants.yml of matomo-org/searchengine-and-social-list (CC0
1.0), keeps kind, name and hosts, and writes `collector/classify/data/referrers.json` in the project's own
form: one name a line, hosts in lower case without "www.", sorted. `{}` in a host stands for a country. Knows
nothing of how the table is read.

`python dev/make_referrers.py [DIRECTORY]`; `--check` writes nothing and fails when the table differs. The
same lists give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "collector" / "classify" / "data" / "referrers.json"
DEFAULT_LISTS = ROOT.parent / "shared" / "data" / "referrers"

SOURCE = "matomo-org/searchengine-and-social-list"
STATE = "2026-07-15"
LICENCE = "CC0-1.0"

# Sites listed as search engines for a search box they once had. The list's own reader asks for a search word
# in the query too; browsers no longer send queries to other sites, so here the host alone must do.
NOT_SEARCH = frozenset({"cnn.com", "msnbc.msn.com", "cgi2.nintendo.co.jp", "facebook.com"})


def host_pattern(url: str) -> str:
    """Returns `host[/path]` of a listed URL; the package name of an app's."""
    url = url.strip().lower()
    for scheme in ("android-app://", "android-app//"):
        if url.startswith(scheme):
            return url.removeprefix(scheme).partition("/")[0]
    return url.removeprefix("www.").rstrip("/")


def _search_urls(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for entry in entries:
        yield from entry.get("urls", ())


def read_lists(directory: Path) -> dict[str, dict[str, list[str]]]:
    """Returns kind → name → sorted host patterns.

    Raises:
        FileNotFoundError: a list is missing from the directory.
    """

    def listed(file: str) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((directory / file).read_text(encoding="utf-8"))
        return loaded

    kinds: dict[str, dict[str, Iterable[str]]] = {
        "ai": listed("AIAssistants.yml"),
        "social": listed("Socials.yml"),
        "search": {name: _search_urls(entries) for name, entries in listed("SearchEngines.yml").items()},
    }
    return {
        kind: {
            unquote(name): patterns
            for name, urls in sorted(names.items())
            if (patterns := sorted({host_pattern(url) for url in urls} - (NOT_SEARCH if kind == "search" else set())))
        }
        for kind, names in kinds.items()
    }


def render(kinds: Mapping[str, Mapping[str, list[str]]]) -> str:
    """Returns the table as JSON with its source, state and licence first and one name a line."""
    header = {"source": SOURCE, "state": STATE, "licence": LICENCE, "made_by": "dev/make_referrers.py"}
    parts = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in header.items()]
    for kind, names in kinds.items():
        lines = (f"{json.dumps(n, ensure_ascii=False)}: {json.dumps(p)}" for n, p in names.items())
        parts.append(f"{json.dumps(kind)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments: list[str] | None = None) -> int:
    """Writes the table, or compares it; returns the exit code."""
    parser = argparse.ArgumentParser(description="derive the referrer table from the published lists")
    parser.add_argument("directory", nargs="?", type=Path, default=DEFAULT_LISTS, help="where the YAML files are")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the table differs")
    options = parser.parse_args(arguments)
    table = render(read_lists(options.directory))
    if options.check:
        same = TABLE.exists() and TABLE.read_text(encoding="utf-8") == table
        if not same:
            sys.stderr.write(f"{TABLE.relative_to(ROOT)} differs: run python dev/make_referrers.py\n")
        return 0 if same else 1
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
