"""Test that pages which describe an order of steps name the steps in the order of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from processor.stream.commit import CommitStep

ROOT = Path(__file__).resolve().parents[2]
WALK = (ROOT / "docs/walk.md").read_text(encoding="utf-8")
SETTLER = "processor/settle/settler.py"

# The effects of a publication. Each effect is a tuple: the page's words, the docstring's words, and the call in the
# code.
PUBLICATION = (
    ("rows", "write the rows", "_rows.write"),
    ("series", "write the series", "series.put_settled"),
    ("collisions", "write the collisions", "rejected.put"),
    ("marks on other closed days", "mark the days", "dirty.mark"),
    ("publication", "publish generation", "generations.publish"),
    ("an intent", "store an intent", "dirty.mark"),
    ("flags of claims", "set duplicate flags", "claims.set_duplicates"),
    ("clears the dirty marks", "clear the dirty marks", "dirty.clear"),
)
# The effects of a reprocessing on a site-day. Each effect is a tuple: the docstring's words, and the call in the code.
RECOMPUTED = (
    ("write the rows of all site-days", "_rows.write"),
    ("write the series", "series.put_settled"),
    ("store the recomputed", "_reprocessings.put"),
)
MOVED = (
    ("mark the days", "dirty.mark"),
    ("publish the generation", "generations.publish"),
    ("restore a generation", "generations.restore"),
    ("store an intent", "_marks.intent"),
    ("duplicate flags", "claims.set_duplicates"),
    ("the new entry's sequence", "_reprocessings.put"),
)
# The functions of a step of the stream, in the order of `apply`. docs/walk.md names the same functions.
STREAM_STEP = ("advance", "with_wins", "folded_traffic", "folded_visits", "ledger_of")


def section(title: str) -> str:
    """Return the text of a section of docs/walk.md."""
    return WALK.partition(f"## {title}")[2].partition("\n## ")[0]


def functions_in(path: str) -> dict[str, ast.FunctionDef]:
    """Return a module's functions and methods by name."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def calls_of(name: str, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """Yield the calls in a function, in the order in which they stand in the source.

    A call of a function in the same module is replaced by the calls in that function.
    """
    calls = [node for node in ast.walk(functions[name]) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        called = ast.unparse(call.func)
        callee = called.rpartition(".")[2]
        if (
            callee in functions
            and callee != name
            and called in (callee, f"self.{callee}")
            and callee != "_publish_apart"
        ):
            yield from calls_of(callee, functions)
        else:
            yield ".".join(called.split(".")[-2:])


def places(text: str, words: Sequence[str]) -> list[int]:
    """Return the positions of the words in the text. The search for each word begins after the previous word."""
    found: list[int] = []
    for word in words:
        at = text.find(word, found[-1] + 1 if found else 0)
        assert at >= 0, f"{word!r} is missing, or stands before {words[: len(found)]}"
        found.append(at)
    return found


def test_the_walk_names_the_steps_of_a_commit_in_their_order() -> None:
    named = re.findall(r"\*\*(\w+)\*\*", section("6 "))
    assert named == [step.value for step in CommitStep]


def test_the_table_of_crashes_has_every_step_of_a_commit_in_order() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section("A redo or a crash"), re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == [step.value for step in CommitStep]


@pytest.mark.parametrize("place", ["page", "docstring"])
def test_a_publication_is_described_in_the_order_of_the_code(place: str) -> None:
    if place == "page":
        item = section("S ").partition("Settler._publish_wave")[2]
        places(item, [page for page, _, _ in PUBLICATION])
    else:
        docstring = ast.get_docstring(functions_in(SETTLER)["_publish_wave"]) or ""
        places(docstring, [words for _, words, _ in PUBLICATION])


def test_a_publication_takes_its_steps_in_that_order() -> None:
    effects = [call for _, _, call in PUBLICATION]
    taken = [call for call in calls_of("_publish_wave", functions_in(SETTLER)) if call in effects]
    assert taken == effects


@pytest.mark.parametrize(
    ("path", "name", "steps"),
    [
        ("processor/reprocess/rebuilder.py", "store", RECOMPUTED),
        ("processor/reprocess/moving.py", "_move", MOVED),
    ],
)
def test_a_reprocessing_takes_its_steps_in_the_order_of_the_docstring(
    path: str, name: str, steps: Sequence[tuple[str, str]]
) -> None:
    functions = functions_in(path)
    places(ast.get_docstring(functions[name]) or "", [words for words, _ in steps])
    effects = [call for _, call in steps]
    assert list(dict.fromkeys(call for call in calls_of(name, functions) if call in effects)) == effects


def test_the_walk_names_the_parts_of_a_stream_step_in_the_order_of_the_code() -> None:
    item = section("5 ").partition("live/step.py:apply")[2]
    places(item, [f":{name}`" for name in STREAM_STEP])
    taken = [call for call in calls_of("apply", functions_in("processor/stream/live/step.py")) if call in STREAM_STEP]
    assert taken == list(STREAM_STEP)
