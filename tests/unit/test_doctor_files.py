"""Test the facts about embedded files: missing, damaged, older and newer files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hitmesh.adapters.embedded.file_facts import SCHEMAS, store_files
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.model.server_facts import StoreFile


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory with the files of all embedded stores."""
    for name, schema in SCHEMAS.items():
        file = Database(tmp_path / name, schema)
        file.open()
        file.close()
    return tmp_path


def facts(directory: Path, name: str) -> StoreFile:
    return next(each for each in store_files(directory) if each.name == name)


def test_files_of_this_version_have_the_newest_schema_and_no_error(directory: Path) -> None:
    assert [(each.name, each.version, each.error) for each in store_files(directory)] == [
        (name, len(schema), "") for name, schema in SCHEMAS.items()
    ]


@pytest.mark.parametrize("step", [-1, 1])
def test_another_schema_version_is_a_fact(directory: Path, step: int) -> None:
    with closing(sqlite3.connect(directory / "raw.db")) as connection, connection:
        connection.execute("UPDATE schema_version SET version = version + ?", (step,))
    assert facts(directory, "raw.db").version == len(SCHEMAS["raw.db"]) + step


def test_a_missing_file_is_an_error_and_is_not_created(directory: Path) -> None:
    (directory / "log.db").unlink()
    assert "does not exist" in facts(directory, "log.db").error
    assert not (directory / "log.db").exists()


def test_a_damaged_file_is_an_error(directory: Path) -> None:
    (directory / "state.db").write_bytes(b"x" * 8_192)
    assert "not a database" in facts(directory, "state.db").error


def test_a_file_without_tables_is_an_error(directory: Path) -> None:
    (directory / "leases.db").unlink()
    (directory / "leases.db").touch()
    assert facts(directory, "leases.db").error


def test_a_locked_file_is_not_damaged(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "log.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        (locked,) = (each for each in store_files(directory, timeout_s=0.0) if each.name == "log.db")
    assert locked.is_locked
    assert "locked" in locked.error


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b"])
def test_a_directory_may_have_any_name(directory: Path, name: str) -> None:
    inside = directory / name
    inside.mkdir()
    (directory / "log.db").rename(inside / "log.db")
    assert facts(inside, "log.db").error == ""
