"""Converts a partition's state to bytes and back (journey step 6, architecture A5).

A snapshot contains the whole state except the kept hits and their ids, which are read from the log again. For kept
hits, a snapshot states only which hits are copies and which hits wait for settlement. The snapshot of a partition that
is handed over also has the kept hits and the ids, so that the next owner reads nothing from the log. A snapshot of hits
is used only under the logic version that built the state. A snapshot in an unknown format is ignored, because the state
can be rebuilt from the log.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from typing import Final

import numpy as np
import orjson
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.positions import PartitionId
from hitmesh.model.rows.columns import as_int64_where_they_fit
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.rows.stream_columns import SERIES_COLUMNS, UNKEYED_DIGESTS
from hitmesh.model.stored import decoding, opened, sealed
from processor.stream.live.batch import epoch_of
from processor.stream.live.epochs import EpochSums
from processor.stream.live.kept import KEPT_COLUMNS, Spill
from processor.stream.live.limits import PRODUCTION, Limits
from processor.stream.live.refusals import RefusalsState
from processor.stream.live.sites import Sites
from processor.stream.live.state import LiveState
from processor.stream.live.visit_table import VisitColumns

_FORMAT: Final = b"HMS3"  # format 2 added sums by currency; format 3 added row digests that are keyed with a secret
_READ: Final = (_FORMAT, b"HMS2")
_LENGTH: Final = struct.Struct("<Q")
_NUMBERS: Final = ("next_offset", "log_time", "ended_through", "written", "horizon")
_PLACES: Final[dict[str, pl.DataType]] = {"offset": pl.Int64(), "row": pl.Int64()}
_KEPT_LOG_TIME: Final = "kept_log_time"
_IDS: Final = "ids"
KEPT_PREFIX: Final = "kept/"
"""Prefix of the names of tables with kept hits."""

ErasedRows = Callable[[pl.DataFrame], BoolArray]
"""Returns for each hit whether the hit's visitor is erased."""


def state_tables(state: LiveState) -> dict[str, pl.DataFrame]:
    """Return the state as tables."""
    timelines = state.timelines
    kept = list(state.kept.columns("offset", "row", "is_copy", "waits"))
    codes = state.interned.tuples.all()
    return {
        "numbers": pl.DataFrame(
            {
                **{name: [getattr(state, name)] for name in _NUMBERS},
                "epoch": [state.sums.epoch],
                _KEPT_LOG_TIME: [state.kept.first_log_time() or state.log_time],
            }
        ),
        "sites": pl.DataFrame({"name": state.sites.names}, schema={"name": pl.String}),
        "texts": state.interned.texts.all().to_frame(),
        "tuples": pl.DataFrame({str(place): codes[:, place] for place in range(codes.shape[1])}),
        "now": timelines.now.to_frame().with_columns(
            pl.Series("seen", timelines.seen), pl.Series("base", timelines.base)
        ),
        "bases": timelines.bases.to_frame(),
        "closing": state.closing.to_frame(),
        "pinned": state.pinned,
        "cells": state.sums.cells,
        "counts": state.sums.counts,
        "folded": state.texts.to_frame(),
        "copies": _places(rows.filter("is_copy") for rows in kept),
        "waiting": _places(rows.filter("waits") for rows in kept),
    }


def kept_tables(state: LiveState) -> dict[str, pl.DataFrame]:
    """Return the kept hits and the ids as additional tables for a snapshot that is handed over."""
    pieces = {f"{KEPT_PREFIX}{number}": rows for number, rows in enumerate(state.kept.pieces())}
    return {**pieces, _IDS: state.ids.to_frame()}


def restore_kept(tables: Mapping[str, pl.DataFrame], state: LiveState, erased: ErasedRows) -> bool:
    """Load the kept hits and the ids. Return False if the snapshot has none, so that they must be read from the log.

    Args:
        tables: the snapshot's tables.
        state: the state from `restored`.
        erased: tells which rows belong to erased visitors; these rows are left out.
    """
    if _IDS not in tables:
        return False
    for name, rows in tables.items():
        if name.startswith(KEPT_PREFIX):
            kept = _as_kept(rows.filter(~pl.Series(erased(rows))))
            if kept.height:
                state.kept.add(kept, epoch_of(int(rows["log_time"][0])))
    state.ids.restore(tables[_IDS])
    return True


def restored(
    tables: Mapping[str, pl.DataFrame],
    partition: PartitionId,
    spill: Spill,
    limits: Limits = PRODUCTION,
    digest: RowDigest | None = None,
) -> LiveState:
    """Return the state that the tables contain, without kept hits and ids."""
    numbers = tables["numbers"].row(0, named=True)
    codes = np.ascontiguousarray(tables["tuples"].to_numpy().astype(np.int32))
    state = LiveState(
        partition,
        spill,
        limits,
        digest or RowDigest(),
        **{name: numbers[name] for name in _NUMBERS},
        sites=Sites(tables["sites"]["name"].to_list()),
        closing=VisitColumns.of_frame(tables["closing"]),
        pinned=_as_kept(tables["pinned"]),
    )
    state.sums = _sums_of(tables, numbers["epoch"], limits.lg_k)
    state.intern(tables["texts"]["text"], codes)
    if "folded" in tables:  # snapshots of older versions have no folded texts
        state.texts.restore(tables["folded"])
    now = tables["now"]
    state.timelines.replace(
        VisitColumns.of_frame(now),
        now["seen"].to_numpy().copy(),
        now["base"].to_numpy().copy(),
        VisitColumns.of_frame(tables["bases"]),
    )
    return state


def refusals_tables(state: RefusalsState) -> dict[str, pl.DataFrame]:
    """Return a refusals partition's state as tables."""
    numbers = {"next_offset": [state.next_offset], "log_time": [state.log_time], "written": [state.written]}
    return {
        "numbers": pl.DataFrame({**numbers, "epoch": [state.sums.epoch]}),
        "cells": state.sums.cells,
        "counts": state.sums.counts,
    }


def restored_refusals(
    tables: Mapping[str, pl.DataFrame], partition: PartitionId, digest: RowDigest | None = None
) -> RefusalsState:
    """Return the refusals partition's state that the tables contain."""
    numbers = tables["numbers"].row(0, named=True)
    sums = _sums_of(tables, numbers.pop("epoch"))
    return RefusalsState(partition, **numbers, sums=sums, digest=digest or RowDigest())


def packed(tables: Mapping[str, pl.DataFrame]) -> bytes:
    """Return tables as sealed bytes: a format mark, a list of sizes, and an Arrow IPC stream with zstd per table."""
    parts = {name: _stream_of(table) for name, table in tables.items()}
    directory = orjson.dumps({name: len(part) for name, part in parts.items()})
    return sealed(b"".join([_FORMAT, _LENGTH.pack(len(directory)), directory, *parts.values()]))


def unpacked(value: bytes) -> dict[str, pl.DataFrame]:
    """Return the tables that are in bytes from `packed`.

    Raises:
        StoreCorrupt: the bytes are not from `packed`, or have a format without sums by currency.
    """
    value = bytes(opened(value, "a snapshot", "the log is read instead", unsealed=b""))
    if not value.startswith(_READ):
        formats = " or ".join(known.decode() for known in _READ)
        raise StoreCorrupt(
            f"a snapshot of {len(value)} bytes is not of format {formats}: the log is read instead",
            size=len(value),
            newest=formats,
        )
    with decoding(f"a snapshot of {len(value)} bytes", "the log is read instead"):
        (length,) = _LENGTH.unpack_from(value, len(_FORMAT))
        begin = len(_FORMAT) + _LENGTH.size
        at = begin + length
        tables = {}
        for name, size in orjson.loads(value[begin:at]).items():
            tables[name] = pl.read_ipc_stream(BytesIO(value[at : at + size]))
            at += size
    return tables


def chunked(value: bytes, size: int = PRODUCTION.chunk_bytes) -> list[bytes]:
    """Split the bytes into pieces of at most `size` bytes."""
    return [value[start : start + size] for start in range(0, len(value), size)]


def joined(chunks: Sequence[bytes]) -> bytes:
    """Join the pieces that `chunked` returned."""
    return b"".join(chunks)


def kept_log_time(tables: Mapping[str, pl.DataFrame]) -> int:
    """Return the log time of the first record with kept hits.

    If the snapshot is too old to contain this log time, return 0.
    """
    numbers = tables["numbers"]
    return int(numbers[_KEPT_LOG_TIME][0]) if _KEPT_LOG_TIME in numbers.columns else 0


def copies_of(tables: Mapping[str, pl.DataFrame]) -> Mapping[int, I64Array]:
    """Return the kept hits that are copies: the row numbers, keyed by record offset."""
    return _by_offset(tables["copies"])


def waiting_of(tables: Mapping[str, pl.DataFrame]) -> Mapping[int, I64Array]:
    """Return the kept hits that wait for settlement: the row numbers, keyed by record offset.

    Snapshots of older versions do not list waiting hits.
    """
    return _by_offset(tables["waiting"]) if "waiting" in tables else {}


def _places(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=_PLACES), *(rows.select(*_PLACES) for rows in parts)])


def _by_offset(places: pl.DataFrame) -> Mapping[int, I64Array]:
    groups = places.group_by("offset").agg("row")
    return {offset: np.array(rows, np.int64) for offset, rows in groups.iter_rows()}


def _as_kept(rows: pl.DataFrame) -> pl.DataFrame:
    """Return hits with KEPT_COLUMNS.

    Hits in older snapshots have no ids, and none of them waits for settlement.
    """
    missing = (pl.lit(None, dtype).alias(name) for name, dtype in KEPT_COLUMNS.items() if name not in rows.columns)
    return rows.with_columns(missing).with_columns(pl.col("waits").fill_null(value=False)).select(*KEPT_COLUMNS)


def _sums_of(tables: Mapping[str, pl.DataFrame], epoch: int, lg_k: int = LG_K_CELL) -> EpochSums:
    """Return the epoch's sums.

    In format 2, row digests were computed without the mesh secret. Digests without the secret are marked, because
    settlement can confirm a day only with keyed digests.
    """
    cells = tables["cells"]
    if UNKEYED_DIGESTS not in cells.columns:
        cells = cells.with_columns(pl.lit(1, pl.Int64).alias(UNKEYED_DIGESTS))
        cells = cells.select(*SERIES_COLUMNS, pl.exclude(SERIES_COLUMNS))
    return EpochSums(epoch, cells, tables["counts"], lg_k)


def _stream_of(table: pl.DataFrame) -> bytes:
    target = BytesIO()
    as_int64_where_they_fit(table).write_ipc_stream(target, compression="zstd", compat_level=pl.CompatLevel.newest())
    return target.getvalue()
