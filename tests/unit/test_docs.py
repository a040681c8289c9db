"""Test that documents name only paths, functions, links, targets, commands and tables that exist.

Documents contain no paths that exist only on a developer's machine. The tests import only the command line and the
tables of the stores. All other code is parsed, but not imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from hitmesh.adapters.embedded import leases, raw_schema, schema
from hitmesh.tools.cli.__main__ import root as hitmesh

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "envoy/README.md", "k8s/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
PACKAGES = ("hitmesh", "collector", "processor", "reporter", "control", "tests", "dev")
TOP = "|".join((*PACKAGES, "envoy", "proto", "docs", "k8s", "requirements"))

# A path in backticks that begins in the repository's root. After the path, `:name` may name a definition in the file.
# `*` and `**` match as in shell globs.
PATH = re.compile(rf"`((?:{TOP})/[\w./*-]*)(?::([A-Za-z_][\w.]*))?`")
# A Python file in backticks, with only the end of its path, such as `cli/exits.py`.
PYTHON_FILE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py)(?::[\w.]+)?`")
MODULE = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")

# Each pattern is written in pieces, because an unbroken pattern would match this file's own source.
MACHINES = re.compile("/" + r"(?:work|root|Users|mnt|home/\w+|tmp/w)/")
REGISTRIES = re.compile(r"pypi[.]org|python[h]osted|proxy[.]golang|repo1?[.]maven|registry[.]npm|index-url[ =]+http")
SOURCES = {".md", ".py", ".pyi", ".proto", ".toml", ".yaml", ".tmpl", ".txt", ".in", ".sh", ".json", ""}


def names(pages: Iterable[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def files() -> tuple[str, ...]:
    """Return every file in the repository except those in hidden directories, caches and builds."""
    made = re.compile(r"(?:^|/)(?:\.(?!ci/)[^/]*|__pycache__|build|dist)/")
    found = (str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file())
    return tuple(sorted(name for name in found if name != ".git" and not made.search(name)))


def commands_in(page: str, program: str) -> Iterator[list[str]]:
    """Yield the arguments of each command in a document's code that runs the given program.

    A backslash at a line's end continues the line.
    """
    for code in CODE.findall(text_of(page)):
        for line in code.strip("`").replace("\\\n", " ").splitlines():
            found = re.match(rf"(?:\$ )?(?:\.venv/bin/)?{program}((?: +[^#&|]+)?)", line.strip())
            if found:
                yield found[1].split()


@pytest.mark.parametrize("page", names(PAGES))
def test_every_path_that_is_named_exists_and_holds_what_is_named(page: str) -> None:
    wrong = []
    for path, name in PATH.findall(text_of(page)):
        found = [ROOT / path] if "*" not in path else list(ROOT.glob(path))
        if not found or not found[0].exists() or (name and not _holds(found[0], name)):
            wrong.append(f"{path}:{name}" if name else path)
    known = "\n".join(f"/{name}" for name in files()) + "\n"
    wrong += [path for path in PYTHON_FILE.findall(text_of(page)) if f"/{path}\n" not in known]
    assert not wrong


@pytest.mark.parametrize("page", names(PAGES))
def test_every_module_that_is_named_exists(page: str) -> None:
    # `hitmesh.acknowledged_hits` is an Envoy statistic, not a module.
    named = set(MODULE.findall(text_of(page))) - {"hitmesh.acknowledged_hits"}
    assert not [module for module in sorted(named) if not _is_module_or_in_one(module)]


def test_every_attribute_of_a_class_of_ours_that_is_named_exists() -> None:
    members = _members()
    wrong = []
    for page in names(PAGES):
        for owner, name in re.findall(r"`([A-Z]\w*[a-z]\w*)\.(\w+)`", text_of(page)):
            if name not in members.get(owner, frozenset()):
                wrong.append(f"{page}: {owner}.{name}")
    assert not wrong


@pytest.mark.parametrize("page", names(PAGES))
def test_every_link_leads_somewhere(page: str) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(text_of(page))]
    outside = [link for link in links if link and "://" not in link]
    assert not [link for link in outside if not ((ROOT / page).parent / link).exists()]


@pytest.mark.parametrize("page", names(PAGES))
def test_every_make_target_that_is_named_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of("Makefile"), re.MULTILINE))
    named = {words[0] for words in commands_in(page, "make") if words}
    assert named <= targets


@pytest.mark.parametrize("page", names(PAGES))
def test_every_command_that_is_named_exists_and_has_the_options_that_are_named(page: str) -> None:
    wrong = []
    for words in commands_in(page, "hitmesh"):
        if words and not re.match(r"[a-z-]", words[0]):
            continue  # this is program output, such as `hitmesh 0.1.0`
        wrong += [f"hitmesh {' '.join(words)}: {word}" for word in _unknown_words(words)]
    assert not wrong


def test_every_table_of_the_stores_is_in_the_walk() -> None:
    walk = text_of("docs/walk.md")
    schemas = (
        schema.LOG_SCHEMA,
        raw_schema.RAW_SCHEMA,
        schema.SETTLED_SCHEMA,
        schema.STATE_SCHEMA,
        schema.DIRECTORY_SCHEMA,
        leases.LEASES_SCHEMA,
    )
    statements = "\n".join(statement for each in schemas for migration in each for statement in migration)
    tables = re.findall(r"CREATE TABLE (\w+)", statements)
    assert tables
    assert not [table for table in tables if f"`{table}`" not in walk]


def test_every_decision_is_in_the_index_under_its_title() -> None:
    index = text_of("docs/decisions/README.md")
    for page in sorted((ROOT / "docs/decisions").glob("0*.md")):
        number, _, title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").partition(" ")
        row = f"| [{number.rstrip(':')}]({page.name}) | {title} | "
        assert row in index, f"write a row for it: {row}"


def test_every_decision_has_a_number_of_its_own_in_its_name_and_its_title() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("0*.md"))
    numbers = [page.name.partition("-")[0] for page in pages]
    assert numbers == sorted(set(numbers)), "two pages have the same number: give one of them a free one"
    assert numbers == [page.read_text(encoding="utf-8")[2:6] for page in pages]
    listed = re.findall(r"^\| \[(\d+)\]", text_of("docs/decisions/README.md"), re.MULTILINE)
    assert listed == numbers, "the index lists pages by number"


@pytest.mark.parametrize(
    "vector", sorted(set(re.findall(r"\b[SZMODL]-[a-z]\b", text_of("docs/rules.md").partition("## 11. ")[2])))
)
def test_every_vector_of_the_rules_has_its_test_named(vector: str) -> None:
    tests = text_of("docs/tests.md")
    ranges = re.findall(r"\b([SZMODL])-([a-z]) to \1-([a-z])\b", tests)
    within = any(vector[0] == kind and first <= vector[2] <= last for kind, first, last in ranges)
    assert within or re.search(rf"\b{vector}\b", tests)


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for name in files():
        if Path(name).suffix in SOURCES and not name.startswith("tests/golden/"):
            text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
            found += [f"{name}: {match[0]}" for match in (MACHINES.search(text), REGISTRIES.search(text)) if match]
    assert not found


def test_locked_requirements_name_no_address() -> None:
    for name in ("requirements/run.txt", "requirements/dev.txt", "requirements/image.txt", "requirements/build.txt"):
        assert "://" not in text_of(name)
    assert not re.search(r"index[-_]url|\.index\]\]", text_of("pyproject.toml"))


def _holds(path: Path, name: str) -> bool:
    """Return whether a Python file defines a name or an attribute of a class."""
    if path.suffix != ".py":
        return False
    owner, _, attribute = name.partition(".")
    defined = _defined(path)
    return owner in defined and (not attribute or attribute in defined[owner])


@cache
def _defined(path: Path) -> dict[str, frozenset[str]]:
    """Return the top-level names of a module, with the attributes of each class."""
    return {
        name: frozenset(_names(node.body) if isinstance(node, ast.ClassDef) else ())
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for name in _names([node])
    }


def _names(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            if node.name == "__init__":
                yield from re.findall(r"self\.(\w+)", ast.unparse(node))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _is_module_or_in_one(dotted: str) -> bool:
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    module = path.parent.with_suffix(".py")
    return module.exists() and path.name in _defined(module)


@cache
def _members() -> dict[str, frozenset[str]]:
    """Return the attributes of every class in the repository and the fields of every message in the contract."""
    members: dict[str, frozenset[str]] = {}
    for name in files():
        if name.endswith(".py") and "_pb2" not in name and name.split("/")[0] in PACKAGES:
            for owner, attributes in _defined(ROOT / name).items():
                members[owner] = members.get(owner, frozenset()) | attributes
        if name.startswith("proto/hitmesh/"):
            for owner, body in re.findall(r"^message (\w+) \{(.*?)^\}", text_of(name), re.DOTALL | re.MULTILINE):
                members[owner] = members.get(owner, frozenset()) | set(re.findall(r" (\w+) = \d+[ ;]", body))
    return members


def _unknown_words(words: list[str]) -> list[str]:
    """Return the words that name no command, and the options that the command does not have."""
    command: click.Command = hitmesh
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest.pop(0))
        if found is None:
            return words[: len(words) - len(rest)]
        command = found
    known = {
        option
        for parameter in command.get_params(click.Context(command))
        for option in parameter.opts + parameter.secondary_opts
    }
    options = [word.partition("=")[0] for word in rest if re.match(r"-{1,2}[a-z]", word)]
    return [option for option in options if option not in known]


def test_table_of_ports_names_every_port_and_method() -> None:
    page = text_of("docs/architecture.md")
    table = page[page.index("## 3. Ports") : page.index("## 4.")]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| ", table, re.MULTILINE)
    documented = {port: set(re.findall(r"`(\w+)[(`]", methods)) for port, methods in rows}
    assert documented == _ports()


def _ports() -> dict[str, set[str]]:
    """Return the methods of each protocol in `hitmesh/ports`, by name."""
    found = {}
    for file in sorted((ROOT / "hitmesh" / "ports").glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
                found[node.name] = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return found
