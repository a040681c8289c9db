"""Functions that delete or damage values in the files of embedded stores."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from hitmesh.model.sites import SiteDay


def run(file: Path, sql: str, values: tuple[object, ...] = ()) -> None:
    """Run an SQL statement, which must change at least one row."""
    with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
        assert connection.execute(sql, values).rowcount > 0, sql


def flip(file: Path, table: str, column: str, where: str, values: tuple[object, ...] = ()) -> None:
    """Flip a bit in the middle of each chosen value."""
    with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
        found = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {where}", values).fetchall()
        assert found, f"{table}.{column}"
        for (value,) in found:
            connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE {where} AND {column} = ?", (flipped(value), *values, value)
            )


def flipped(value: bytes) -> bytes:
    """Return a value with a flipped bit in its middle."""
    middle = len(value) // 2
    return value[:middle] + bytes([value[middle] ^ 0x10]) + value[middle + 1 :]


def segments(home: Path) -> list[Path]:
    """Return the segment files, of which at least one must exist."""
    found = sorted((home / "segments").glob("*.parquet"))
    assert found
    return found


_OF_DAY = "site = ? AND day = ?"
_RECORDS = "record IN (SELECT record FROM raw_index WHERE site = ? AND day = ?)"


def _segments_lost(home: Path, _: SiteDay) -> None:
    for file in segments(home):
        file.unlink()


def _segments_flipped(home: Path, _: SiteDay) -> None:
    for file in segments(home):
        file.write_bytes(flipped(file.read_bytes()))


def _stream_rows_lost(home: Path, _: SiteDay) -> None:
    run(home / "raw.db", "DELETE FROM stream_chunks")


def _stream_series_lost(home: Path, of: SiteDay) -> None:
    run(home / "raw.db", f"DELETE FROM settled_series WHERE {_OF_DAY}", of)
    run(home / "raw.db", f"DELETE FROM series_partials WHERE {_OF_DAY}", of)


LOSSES: Mapping[str, Callable[[Path, SiteDay], None]] = {
    "rows": lambda home, of: run(home / "settled.db", f"DELETE FROM manifest WHERE {_OF_DAY}", of),
    "segments": _segments_lost,
    "settled series": lambda home, of: run(home / "raw.db", f"DELETE FROM settled_series WHERE {_OF_DAY}", of),
    "raw records": lambda home, of: run(home / "raw.db", f"DELETE FROM raw_records WHERE {_RECORDS}", of),
    "raw index": lambda home, of: run(home / "raw.db", f"DELETE FROM raw_index WHERE {_OF_DAY}", of),
    "a bit of a segment": _segments_flipped,
    "a bit of a series": lambda home, of: flip(home / "raw.db", "settled_series", "value", _OF_DAY, of),
    "a bit of a raw record": lambda home, of: flip(home / "raw.db", "raw_records", "value", _RECORDS, of),
    "stream rows": _stream_rows_lost,
    "stream rows with a flipped bit": lambda home, _: flip(home / "raw.db", "stream_chunks", "value", "batch > 0"),
    "stream series": _stream_series_lost,
    "a bit of a carry": lambda home, of: flip(home / "settled.db", "generations", "carry", _OF_DAY, of),
}
"""Functions that delete or damage values of a settled site-day, by name.

The functions that delete the stream's rows need a day on which settlement has confirmed these rows.
"""
