"""Test that the checks on prose and names fail on bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev import names, words

PLAIN = "Return the open visits for a timeline, sorted by start. "


def a_file(home: Path, docstring: str, code: str = "") -> str:
    path = home / "module.py"
    path.write_text(f'"""{docstring}"""\n{code}\n')
    return str(path)


@pytest.mark.parametrize(
    ("word", "name"), [("what", "what"), ("ones", "one"), ("of", "of"), ("their", "it"), ("It", "it")]
)
def test_a_word_above_its_limit_fails_and_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, name: str
) -> None:
    limit = round(words.LIMITS[name])
    text = PLAIN * 100  # 1,000 words
    assert words.main([a_file(tmp_path, text + f"{word} " * limit)]) == 0
    assert words.main([a_file(tmp_path, text + f"{word} " * (limit + 2))]) == 1
    assert "module.py" in capsys.readouterr().out


def test_words_of_comments_and_protos_count_and_those_of_code_and_ignores_do_not(tmp_path: Path) -> None:
    code = "# what\nwhat = 'what what'  # noqa: E501  what\n"
    assert words.counted(words.prose_of(Path(a_file(tmp_path, "A module.", code))))["what"] == 1
    proto = tmp_path / "a.proto"
    proto.write_text("// What is it.\nmessage What {}\n")
    assert words.counted(words.prose_of(proto)) == {"words": 3, "what": 1, "it": 1}


def test_words_of_examples_do_not_count(tmp_path: Path) -> None:
    docstring = "A module.\n\nExample:\n    >>> what = 'it'  # one of them\n    >>> what\n    'it'\n\nThe end.\n"
    assert words.counted(words.prose_of(Path(a_file(tmp_path, docstring)))) == {"words": 5}


@pytest.mark.parametrize(
    "code",
    [
        "one = 1",
        "def said() -> None: ...",
        "def f(own: int) -> None: ...",
        "x.told",
        "for least in (): ...",
        "is_told = 1",
        "class _Asked: ...",
        "SAYS_YES = 1",
        "import os as own",
        "try: ...\nexcept OSError as told: ...",
        "match 1:\n    case one: ...",
    ],
)
def test_a_banned_name_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str) -> None:
    assert names.main([a_file(tmp_path, "A module.", code)]) == 1
    assert "module.py:" in capsys.readouterr().out


def test_a_banned_file_name_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_damage_is_told.py").write_text('"""A module."""\n', encoding="utf-8")
    assert names.main([str(tmp_path)]) == 1
    assert "test_damage_is_told.py:1:" in capsys.readouterr().out


def test_other_names_and_texts_pass(tmp_path: Path) -> None:
    assert names.main([a_file(tmp_path, "One.", "record = 'one'  # own\nown_partitions = sidecar\nlog(told=1)\n")]) == 0
