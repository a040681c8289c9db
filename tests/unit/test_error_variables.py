"""Test that every variable part of an error message is also in the error's metadata, under a documented key.

The tests parse the source. The tests check each call that creates an error which an RPC may return.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from hitmesh.model import cells, errors, money, zones
from hitmesh.model.errors import HitmeshError
from hitmesh.model.reasons import ErrorReason

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "proto/hitmesh/api/error/v1/error_reason.proto"
PACKAGES = ("hitmesh", "collector", "control", "processor", "reporter")
KINDS = {
    name: kind
    for module in (errors, cells, money, zones)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, HitmeshError)
}
# Arguments that every error class accepts. The arguments in STANDARD are not variables of a message.
STANDARD = {"field", "reason", "retry_after_s"}
# Names whose values are fixed texts.
FIXED = {"cure", "hint", "rule"}
# Names of values that the metadata may omit: whole texts, and lists of all known names.
WORDS = FIXED | {"complaint", "held", "why", "what", "message", "data", "METRICS", "DIMENSIONS", "READY_FILE"}
# Three kinds of values are never metadata: texts of drivers and servers, the length limits of such texts, and stored
# bytes.
WORDS |= {"error", "cql", "metadata", "_MAX_CHARS", "_MAX_SHOWN_BYTES"}


class Raised(NamedTuple):
    """A call that creates an error.

    If the call names a function that creates the error, `made` is the call of the error class inside that function.
    """

    place: str
    call: ast.Call
    kind: type[HitmeshError]
    made: ast.Call | None
    message: ast.expr
    inside: ast.AST

    @property
    def keys(self) -> set[str]:
        """The keys of the error's variables."""
        calls = [self.call] if self.made is None else [self.call, self.made]
        return {keyword.arg for call in calls for keyword in call.keywords if keyword.arg} - STANDARD

    @property
    def reason(self) -> str | None:
        """The reason of the error, or None if it is known only at run time."""
        call = self.made or self.call
        given = next((keyword.value for keyword in call.keywords if keyword.arg == "reason"), None)
        if given is None:
            return str(self.kind.reason)
        return given.attr if isinstance(given, ast.Attribute) and given.attr.isupper() else None


@cache
def raised() -> tuple[Raised, ...]:
    """Return every call of an error class in the services and their libraries, except errors of the tools."""
    return tuple(found for package in PACKAGES for path in (ROOT / package).rglob("*.py") for found in _in_file(path))


def _in_file(path: Path) -> Iterator[Raised]:
    place = path.relative_to(ROOT)
    if "tools" in place.parts or path.name.endswith("_pb2.py"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    makers = {each.name: each for each in functions if each.args.kwarg is not None and each.name != "__init__"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        around = [each for each in functions if each.lineno <= node.lineno <= (each.end_lineno or 0)]
        inside = around[-1] if around else tree
        if name in KINDS and inside not in makers.values():
            yield Raised(f"{place}:{node.lineno}", node, KINDS[name], None, node.args[0], inside)
        elif name in makers and (made := _made_by(makers[name])):
            names = [each.arg for each in makers[name].args.args if each.arg != "self"]
            at = next(index for index, each in enumerate(names) if each in ("message", "complaint"))
            kind = KINDS[ast.unparse(made.func).rpartition(".")[2]]
            yield Raised(f"{place}:{node.lineno}", node, kind, made, node.args[at], inside)


def _made_by(maker: ast.FunctionDef) -> ast.Call | None:
    """Return the call of an error class in a function that creates errors, or None."""
    calls = (node for node in ast.walk(maker) if isinstance(node, ast.Call))
    return next((call for call in calls if ast.unparse(call.func).rpartition(".")[2] in KINDS), None)


@cache
def documented() -> dict[str, set[str]]:
    """Return the metadata keys that the contract's comments document, by reason."""
    keys: dict[str, set[str]] = {}
    comment = ""
    for line in CONTRACT.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("//"):
            comment += line.strip().removeprefix("//")
            continue
        value = re.match(r"\s+ERROR_REASON_(\w+) = ", line)
        if value:
            listed = re.search(r"Metadata: ([^.]*)\.", comment)
            keys[value[1]] = set(re.findall(r"\w+", listed[1])) if listed else set()
        comment = ""
    return keys


def explained() -> set[str]:
    """Return the metadata keys that the contract explains in a table."""
    return set(re.findall(r"^//   (\w+): ", CONTRACT.read_text(encoding="utf-8"), re.MULTILINE))


def test_a_variable_has_a_key_that_its_reason_documents() -> None:
    wrong = [
        f"{each.place}: {each.reason} does not document {sorted(unknown)}"
        for each in raised()
        if each.reason in ErrorReason.__members__ and (unknown := each.keys - documented()[str(each.reason)])
    ]
    assert not wrong


def test_every_documented_key_is_used_and_explained() -> None:
    used = set().union(*(each.keys for each in raised()))
    of_tools = {"hosts"}  # the proxy's replies
    listed = set().union(*documented().values())
    assert listed - used - of_tools == set()
    assert explained() == listed | {"field"}


def test_keys_are_short_and_lower_case() -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{1,63}", key) for key in explained())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_variable_part_of_a_message_is_a_variable(package: str) -> None:
    wrong = []
    for each in raised():
        if not each.place.startswith(package) or each.reason not in {*ErrorReason.__members__, None}:
            continue
        missing = missing_in(each)
        wrong += [f"{each.place}: {sorted(missing)} of the message has no variable"] if missing else []
    assert not wrong


def missing_in(each: Raised) -> set[str]:
    """Return the names in a message that have no matching variable in the error's metadata."""
    passed = [keyword.value for keyword in each.call.keywords]
    # If a call has a positional argument after the message, the argument is the path of a field.
    passed += [argument for argument in each.call.args if argument is not each.message]
    given = set().union(*map(names_in, passed))
    return {name for part in parts_of(each.message, each, given) for name in names_in(part)} - given


def names_in(node: ast.AST) -> set[str]:
    """Return the names in an expression that stand for values.

    If the expression contains a dotted name, only the last part is returned. If the expression contains a call, only
    the names in the call's arguments are returned.
    """
    called = {id(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
    owners = {id(each.value) for each in ast.walk(node) if isinstance(each, ast.Attribute) and id(each) not in called}
    names = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and id(each) not in called}
    names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and id(each) not in called | owners}
    return {name for name in names if name not in WORDS and not name.endswith("_CURE")}


def parts_of(message: ast.AST, each: Raised, given: set[str]) -> Iterator[ast.expr]:
    """Yield the variable parts of a message. A local name to which a text was assigned is replaced by that text."""
    for node in ast.walk(message):
        if not isinstance(node, ast.FormattedValue) and node is not message:
            continue
        value = node.value if isinstance(node, ast.FormattedValue) else node
        if isinstance(value, ast.Name) and value.id not in given | FIXED:
            text = _text_in(value.id, each)
            if text is not None:
                yield from parts_of(text, each, given)
            elif value is not message:
                yield value
        elif value is not message and not (isinstance(value, ast.Name) and value.id in FIXED):
            yield value  # type: ignore[misc]  # the value of a FormattedValue is an expression


def _text_in(name: str, each: Raised) -> ast.expr | None:
    """Return the text that the function last assigned to a name before the call, or None."""
    assigned = [
        node
        for node in ast.walk(each.inside)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and node.lineno <= each.call.lineno
    ]
    value = assigned[-1].value if assigned else None
    return value if isinstance(value, ast.JoinedStr | ast.IfExp | ast.Constant) else None
