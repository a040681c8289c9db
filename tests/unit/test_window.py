"""Test reading stored records into columns. Only requested columns are read, even if a record lacks some of them."""

from __future__ import annotations

from io import BytesIO

import polars as pl
import pytest

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.rows.columns import HITS_COLUMNS
from processor.settle.window import READ_COLUMNS, read_rows
from tests.reference.hits import RefHit
from tests.support.small_mesh import hit_rows

SITE = "merchants/demo/sites/shop"
ZSTD = b"\x28\xb5\x2f\xfd"
HITS = hit_rows([RefHit(SITE, f"v{number}", f"h{number}", number, page_path=f"/{number}") for number in range(2_000)])


def a_record(rows: pl.DataFrame) -> bytes:
    """Return a record in the older stored form, which has no checksum, so that damage reaches the decoder."""
    target = BytesIO()
    rows.write_ipc_stream(target, compression="zstd", compat_level=pl.CompatLevel.newest())
    return target.getvalue()


def buffers_that_are_read(value: bytes) -> set[int]:
    """Return the numbers of the compressed buffers that settlement unpacks when it reads the record."""
    read, at, number = set(), value.find(ZSTD), 0
    while at >= 0:
        try:
            read_rows(value[:at] + b"\0\0\0\0" + value[at + 4 :], READ_COLUMNS)
        except StoreCorrupt:
            read.add(number)
        at, number = value.find(ZSTD, at + 4), number + 1
    return read


@pytest.mark.parametrize("lacking", [["refund_id"], ["refund_id", "currency"]])
def test_a_record_that_lacks_new_columns_is_read_as_narrowly_as_any(lacking: list[str]) -> None:
    whole, old = a_record(HITS), a_record(HITS.drop(lacking))
    rows = read_rows(old, READ_COLUMNS)
    filled = HITS.with_columns(pl.lit(None, HITS_COLUMNS[name]).alias(name) for name in lacking)
    assert rows.equals(filled.select(READ_COLUMNS))
    assert rows.schema == {name: HITS_COLUMNS[name] for name in READ_COLUMNS}
    assert len(buffers_that_are_read(old)) <= len(buffers_that_are_read(whole)) < old.count(ZSTD)
