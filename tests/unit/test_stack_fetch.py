"""Test that the cache of jars is complete or fetched again, and that Java's version is read from Java's output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hitmesh.tools.stack import fetch, layout, programs, versions
from hitmesh.tools.stack.errors import StackError


def a_cache(root: Path) -> Path:
    cache = root / "servers"
    (cache / "lib").mkdir(parents=True)
    (cache / "lib" / "one.jar").write_bytes(b"12345")
    (cache / fetch.STAMP).write_text(json.dumps({"lib/one.jar": 5}))
    return cache


def test_a_complete_cache_is_used_as_it_is(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    lines: list[str] = []
    assert fetch.fetch(cache, lines.append) == cache
    assert lines == []


@pytest.mark.parametrize("damage", ["gone", "shorter", "no stamp", "half a stamp"])
def test_a_cache_that_was_damaged_is_not_complete(damage: str, tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    jar, stamp = cache / "lib" / "one.jar", cache / fetch.STAMP
    if damage == "gone":
        jar.unlink()
    elif damage == "shorter":
        jar.write_bytes(b"1234")
    elif damage == "no stamp":
        stamp.unlink()
    else:
        stamp.write_text('{"lib')
    assert not fetch.is_complete(cache)


def test_the_cache_is_named_for_the_versions_and_shared_by_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"servers-{versions.digest()}"
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/cache")
    assert layout.cache_dir() == Path("/srv/cache/hitmesh") / name
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert layout.cache_dir() == Path.home() / ".cache/hitmesh" / name


def test_the_home_of_the_servers_is_the_option_then_its_variable_then_the_home_of_the_mesh() -> None:
    both = {"HITMESH_STACK_HOME": "/srv/stack", "HITMESH_HOME": "/srv/mesh"}
    assert layout.stack_home(Path("/srv/option"), both) == Path("/srv/option")
    assert layout.stack_home(None, both) == Path("/srv/stack")
    assert layout.stack_home(None, {"HITMESH_HOME": "/srv/mesh"}) == Path("/srv/mesh")


def test_a_free_lock_is_taken_without_a_message(tmp_path: Path) -> None:
    lines: list[str] = []
    with layout.held(tmp_path / "lock", lines.append):
        pass
    with layout.held(tmp_path / "lock", lines.append):
        assert lines == []


def test_a_home_that_cannot_be_created_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="give another --home"):
        layout.StackHome(tmp_path / "file").prepare()


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_392"', 1),
        ("java: not found", None),
    ],
)
def test_the_version_of_java_is_read_from_its_output(output: str, version: int | None) -> None:
    assert programs.major_version(output) == version
