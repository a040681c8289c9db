"""A flipped bit in stored data never gives a wrong number.

The read raises StoreCorrupt, and its message names the damage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pytest

from hitmesh.adapters.embedded.segments import Segments
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.packed_sums import packed_sums
from hitmesh.adapters.shared.reprocessing_values import rebuilt_of, rebuilt_value, reprocessing_of, reprocessing_value
from hitmesh.adapters.shared.sealed_sums import opened_sums, sealed_sums
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Change, GenerationVersion, Rebuilt, Reprocessing
from hitmesh.model.rows.columns import HITS_COLUMNS, REJECTED_COLUMNS, pack_record, unpack_record
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import PARTIAL_SUMS, SERIES_COLUMNS, STREAM_COLUMNS, UNKEYED_DIGESTS
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import ARROW_STREAM, opened, sealed
from processor.rules.carry import CARRY_COLUMNS, Carry
from processor.settle.window import READ_COLUMNS, read_rows
from processor.stream.live.snapshot import packed, unpacked

FLIPS = 48
SECRET = "what-a-visitor-sent"


def filled(columns: Mapping[str, pl.DataType], rows: int, seed: int) -> pl.DataFrame:
    """Return rows with random values in columns of simple types, and null in all other columns."""
    chance = random.Random(seed)
    made = []
    for name, dtype in columns.items():
        if dtype == pl.String():
            made.append(pl.Series(name, [f"{SECRET}-{chance.randrange(500)}" for _ in range(rows)], pl.String))
        elif dtype.is_integer():
            made.append(pl.Series(name, [chance.randrange(100) for _ in range(rows)]).cast(dtype))
        elif dtype == pl.Boolean():
            made.append(pl.Series(name, [bool(chance.randrange(2)) for _ in range(rows)]))
        else:
            made.append(pl.Series(name, [None] * rows, dtype))
    return pl.DataFrame(made)


def flipped(value: bytes, seed: int, flips: int = FLIPS) -> Iterator[bytes]:
    """Yield copies of the value with one flipped bit: first each bit of its first bytes, then random bits."""
    chance = random.Random(seed)
    places = [*range(8 * 16), *(chance.randrange(8 * len(value)) for _ in range(flips))]
    for place in places:
        damaged = bytearray(value)
        damaged[place // 8] ^= 1 << place % 8
        yield bytes(damaged)


HITS = filled(HITS_COLUMNS, 60, 1)
REFUSED = filled(REJECTED_COLUMNS, 60, 2)
STREAMED = filled(STREAM_COLUMNS[RowSource.TRAFFIC], 200, 3)
SETTLED = filled(SERIES_COLUMNS, 50, 4).with_columns(pl.col(UNKEYED_DIGESTS) % 2)
SUMS = (*PARTIAL_SUMS, UNKEYED_DIGESTS)
OPEN_VISITS = filled(CARRY_COLUMNS, 20, 5)
SITE_DAY = SiteDay("merchants/m/sites/shop", 20_000)
VERSION = GenerationVersion(1, 2, {}, LedgerEntry(1, 1, 0, 0, 2**64 - 1, 7), Carry(OPEN_VISITS, 7).to_bytes())
REBUILT = Rebuilt(SITE_DAY, VERSION, VERSION, 3, {}, {SECRET: Change(1, 2)})
REPROCESSING = Reprocessing("r1", Kind.LOGIC, "v1", (SITE_DAY.site,), 1, 2, 3, 4, error=SECRET)
KINDS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "record of hits": (pack_record(HITS), lambda value: read_rows(value, READ_COLUMNS)),
    "record of refusals": (pack_record(REFUSED), lambda value: unpack_record(value, REJECTED_COLUMNS)),
    "rows of the stream": (
        pack_record(STREAMED),
        lambda value: unpack_record(value, STREAM_COLUMNS[RowSource.TRAFFIC]),
    ),
    "settled series": (pack_record(SETTLED), lambda value: unpack_record(value, SERIES_COLUMNS)),
    "snapshot": (packed({"numbers": HITS.select("event_time"), "kept": STREAMED}), unpacked),
    "carry": (Carry(OPEN_VISITS, 7).to_bytes(), Carry.from_bytes),
    "reprocessing": (reprocessing_value(REPROCESSING), lambda value: reprocessing_of("r1", value)),
    "recomputed site-day": (rebuilt_value(REBUILT), lambda value: rebuilt_of("r1", SITE_DAY, value)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_of_a_stored_value_is_served(kind: str) -> None:
    value, read = KINDS[kind]
    read(value)
    for damaged in flipped(value, seed=6):
        with pytest.raises(StoreCorrupt) as refused:
            read(damaged)
        assert SECRET not in refused.value.message


def test_no_flipped_bit_of_a_partial_or_beside_it_is_served() -> None:
    visitors = pl.Series("visitors", [bytes([number] * 40) for number in range(SETTLED.height)], pl.Binary)
    rows = SETTLED.with_columns(visitors)
    blobs = sealed_sums(rows)
    assert opened_sums(rows, blobs).equals(rows.select(SUMS))
    for damaged in flipped(blobs[7], seed=7):
        with pytest.raises(StoreCorrupt):
            opened_sums(rows, [*blobs[:7], damaged, *blobs[8:]])
    for name in ("day", "cell", "excluded", "digest", "visitors", "site"):
        others = rows.with_columns(pl.Series(name, rows[name].gather([*range(1, rows.height), 0])))
        changed = (others[name] != rows[name]).arg_true().to_list()[0]
        with pytest.raises(StoreCorrupt):
            opened_sums(others[changed : changed + 1], blobs[changed : changed + 1])


def test_partials_without_a_checksum_are_read() -> None:
    mixed = [packed_sums(SETTLED)[0], *sealed_sums(SETTLED)[1:]]
    assert opened_sums(SETTLED, mixed).equals(SETTLED.select(SUMS))


def test_values_without_a_checksum_are_read_and_none_is_taken_for_sealed() -> None:
    old = bytes(opened(pack_record(HITS), "a record", "cure"))
    assert old.startswith(ARROW_STREAM)
    assert read_rows(old, ("site",)).equals(HITS.select("site"))
    for damaged in flipped(old, seed=8):
        assert SECRET not in complaint_about(damaged)


def complaint_about(damaged: bytes) -> str:
    """Read a record that has no checksum, and return the error message.

    The read may succeed. A read that fails must raise StoreCorrupt, even after a panic.
    """
    try:
        read_rows(damaged, READ_COLUMNS)
    except StoreCorrupt as error:
        return error.message
    return ""


@pytest.mark.parametrize("value", [b"", b"\x89hm\x01", b"\x89hm\x01" + bytes(8), sealed(b"")[:-1], b"text"])
def test_truncated_or_foreign_bytes_are_refused(value: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        opened(value, "a record", "cure")


def test_no_flipped_bit_of_a_segment_is_served_and_one_of_an_older_program_is_read(tmp_path: Path) -> None:
    segments = Segments(tmp_path, Database(tmp_path / "none.db", ()))
    file = segments.save(STREAMED, RowSource.TRAFFIC)
    columns: Sequence[str] = STREAMED.columns
    assert segments.read(file, columns).equals(STREAMED)
    value = segments.path(file).read_bytes()
    for damaged in flipped(value, seed=9):
        segments.path(file).write_bytes(damaged)
        with pytest.raises(StoreCorrupt, match=file):
            segments.read(file, columns)
    segments.path("traffic-0123456789abcdef01234567.parquet").write_bytes(value)
    assert segments.read("traffic-0123456789abcdef01234567.parquet", columns).equals(STREAMED)
