"""Derive the project's referrer tables (`collector/classify/data`) from the published lists.

- `referrers.json` is made from SearchEngines.yml, Socials.yml and AIAssistants.yml of
  matomo-org/searchengine-and-social-list (CC0 1.0). Each line of the table has a name, the kind of the name and the
  hosts of the name. Hosts are sorted, in lower case and without "www."; `{}` in a host stands for a country.
- `spammers.json` is made from spammers.txt of matomo-org/referrer-spam-list (public domain): hosts in ASCII, sorted.
  A subdomain of another listed host is left out.

`python dev/make_referrers.py [DIRECTORY]` reads the lists from DIRECTORY. `--check` writes nothing and fails if
a table differs. The output is reproducible: equal lists give equal bytes.
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

from collector.urls import ascii_host

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "collector" / "classify" / "data"
TABLE = DATA / "referrers.json"
SPAMMERS = DATA / "spammers.json"
DEFAULT_LISTS = ROOT.parent / "shared" / "data" / "referrers"

SOURCE = "matomo-org/searchengine-and-social-list"
STATE = "2026-07-15"
LICENCE = "CC0-1.0"
SPAM_SOURCE = "matomo-org/referrer-spam-list"
SPAM_STATE = "2026-08-20"
SPAM_LICENCE = "public domain"

# Sites that the published list names as search engines because the sites once had a search box. Matomo also requires a
# search word in the referrer's query. Browsers no longer send the query to other sites, so the project's tables contain
# only hosts. The tables leave out the sites in NOT_SEARCH, because a visit from these hosts does not prove that the
# visitor searched.
NOT_SEARCH = frozenset({"cnn.com", "msnbc.msn.com", "cgi2.nintendo.co.jp", "facebook.com"})


def host_pattern(url: str) -> str:
    """Return `host[/path]` for a listed web URL, or the package name for a listed app URL."""
    url = url.strip().lower()
    for scheme in ("android-app://", "android-app//"):
        if url.startswith(scheme):
            return url.removeprefix(scheme).partition("/")[0]
    return url.removeprefix("www.").rstrip("/")


def _search_urls(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for entry in entries:
        yield from entry.get("urls", ())


def read_lists(directory: Path) -> dict[str, dict[str, list[str]]]:
    """Return the sorted host patterns of each name, grouped by kind.

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
    """Return the table as JSON.

    The JSON begins with the lists' source, state and licence, followed by a line for each name.
    """
    header = {"source": SOURCE, "state": STATE, "licence": LICENCE, "made_by": "dev/make_referrers.py"}
    parts = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in header.items()]
    for kind, names in kinds.items():
        lines = (f"{json.dumps(n, ensure_ascii=False)}: {json.dumps(p)}" for n, p in names.items())
        parts.append(f"{json.dumps(kind)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read_spammers(directory: Path) -> list[str]:
    """Return the sorted hosts of spammers; hosts that are subdomains of another listed host are left out.

    Raises:
        FileNotFoundError: the list is missing from the directory.
    """
    lines = (directory / "spammers.txt").read_text(encoding="utf-8").splitlines()
    hosts = {ascii_host(host_pattern(line)) for line in lines if line.strip()}
    return sorted(host for host in hosts if not any(parent in hosts for parent in _parents(host)))


def _parents(host: str) -> Iterator[str]:
    labels = host.split(".")
    for start in range(1, len(labels)):
        yield ".".join(labels[start:])


def render_spammers(hosts: Iterable[str]) -> str:
    """Return the spammer table as JSON, a host per line."""
    header = {"source": SPAM_SOURCE, "state": SPAM_STATE, "licence": SPAM_LICENCE, "made_by": "dev/make_referrers.py"}
    parts = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in header.items()]
    parts.append('"hosts": [\n' + ",\n".join(map(json.dumps, hosts)) + "\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the tables; with `--check`, only compare the tables. Return the exit code."""
    parser = argparse.ArgumentParser(description="derive the referrer tables from the published lists")
    parser.add_argument("directory", nargs="?", type=Path, default=DEFAULT_LISTS, help="directory with the lists")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a table differs")
    options = parser.parse_args(arguments)
    tables = {
        TABLE: render(read_lists(options.directory)),
        SPAMMERS: render_spammers(read_spammers(options.directory)),
    }
    if options.check:
        return max(_differs(path, table) for path, table in tables.items())
    DATA.mkdir(parents=True, exist_ok=True)
    for path, table in tables.items():
        path.write_text(table, encoding="utf-8")
    return 0


def _differs(path: Path, table: str) -> int:
    if path.exists() and path.read_text(encoding="utf-8") == table:
        return 0
    sys.stderr.write(f"{path.relative_to(ROOT)} differs: run python dev/make_referrers.py\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
