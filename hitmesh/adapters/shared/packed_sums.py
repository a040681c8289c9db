"""Pack a partial's sums into a blob, so that rows stay small and a new sum needs no new column.

The narrow layout is a version byte, followed by the sums as little-endian int64 in PARTIAL_SUMS order. The wide layout
is used if an amount exceeds int64. In the wide layout, the sums contain the lower 64 bits of each amount. The upper 64
bits of all amounts follow the sums, in AMOUNT_MEASURES order. The version byte states the layout, and whether the
partial's digest was computed with the mesh secret. In versions 1 (narrow) and 2 (wide), digests were computed without
the mesh secret. In versions 3 (narrow) and 4 (wide), digests were computed with the mesh secret. A change of the sums
or of the order requires a new version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.amounts import fits
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.money import INT64_MAX, INT64_MIN
from hitmesh.model.rows.rollup_rows import AMOUNT_MEASURES, AMOUNT_SUM
from hitmesh.model.rows.stream_columns import PARTIAL_SUMS, UNKEYED_DIGESTS
from hitmesh.model.stored import COPY_CURE

_SUMS: Final = ("sums", "<i8", (len(PARTIAL_SUMS),))
_PACKED: Final = {
    1: np.dtype([("version", "u1"), _SUMS]),
    2: np.dtype([("version", "u1"), _SUMS, ("upper", "<i8", (len(AMOUNT_MEASURES),))]),
}
_KEYED: Final = 2  # this number is added to the layout's version if the digest includes the mesh secret
_UPPER: Final = 1 << 64
_NAMES_OF_UPPER: Final = {name: f"{name}_upper" for name in AMOUNT_MEASURES}


def packed_sums(rows: pl.DataFrame) -> list[bytes]:
    """Return each row's sums as a blob; rows must include UNKEYED_DIGESTS."""
    amounts = rows.select(AMOUNT_MEASURES)
    if all(fits(amount) is not None for amount in amounts):
        return _blobs(1, rows, rows.select(pl.col(PARTIAL_SUMS).cast(pl.Int64)))
    does_fit = rows.select(
        pl.all_horizontal(pl.col(name).is_between(INT64_MIN, INT64_MAX) for name in AMOUNT_MEASURES)
    ).to_series()
    narrow, wide = iter(packed_sums(rows.filter(does_fit))), iter(_wide(rows.filter(~does_fit)))
    return [next(narrow if is_narrow else wide) for is_narrow in does_fit]


def _wide(rows: pl.DataFrame) -> list[bytes]:
    upper = {name: pl.col(name) // pl.lit(_UPPER, AMOUNT_SUM) for name in AMOUNT_MEASURES}
    lower = {name: pl.col(name) - high * pl.lit(_UPPER, AMOUNT_SUM) for name, high in upper.items()}
    return _blobs(
        2,
        rows,
        rows.select(
            lower[name].cast(pl.UInt64).reinterpret(signed=True).alias(name) if name in lower else pl.col(name)
            for name in PARTIAL_SUMS
        ),
        rows.select(high.cast(pl.Int64).alias(name) for name, high in upper.items()),
    )


def _blobs(layout: int, rows: pl.DataFrame, sums: pl.DataFrame, upper: pl.DataFrame | None = None) -> list[bytes]:
    packed = _PACKED[layout]
    blobs = np.empty(sums.height, packed)
    blobs["version"] = np.where(rows[UNKEYED_DIGESTS].to_numpy() == 0, layout + _KEYED, layout)
    blobs["sums"] = sums.to_numpy()
    if upper is not None:
        blobs["upper"] = upper.to_numpy()
    whole, size = blobs.tobytes(), packed.itemsize
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def unpacked_sums(blobs: Sequence[bytes]) -> pl.DataFrame:
    """Return the sums as columns. UNKEYED_DIGESTS is 1 if the stored digest was computed without the mesh secret.

    Raises:
        StoreCorrupt: a blob has an unknown version or a wrong size.
    """
    versions = np.array([blob[0] if blob else 0 for blob in blobs], np.int64)
    unknown = versions[(versions < 1) | (versions > 2 * _KEYED)]
    if len(unknown):
        cure = "use a newer version" if unknown[0] else COPY_CURE
        raise StoreCorrupt(
            f"the sums of a partial have version {unknown[0]}, but this hitmesh knows only 1 to {2 * _KEYED}: {cure}",
            newest=2 * _KEYED,
            version=int(unknown[0]),
        )
    unkeyed = pl.Series(UNKEYED_DIGESTS, (versions <= _KEYED).astype(np.int64))
    wide = (versions % _KEYED == 0).tolist()
    parts = {
        1: [blob for blob, is_wide in zip(blobs, wide, strict=True) if not is_wide],
        2: [blob for blob, is_wide in zip(blobs, wide, strict=True) if is_wide],
    }
    if not parts[2]:
        return _unpacked(1, parts[1]).with_columns(unkeyed)
    both = pl.concat([_unpacked(version, part) for version, part in parts.items()])
    order = np.argsort(np.argsort(np.array(wide), kind="stable"), kind="stable")
    return both[order].with_columns(unkeyed)


def _unpacked(version: int, blobs: Sequence[bytes]) -> pl.DataFrame:
    packed = _PACKED[version]
    if any(len(blob) != packed.itemsize for blob in blobs):
        raise StoreCorrupt(f"the sums of a partial are not {packed.itemsize} bytes; {COPY_CURE}", size=packed.itemsize)
    unpacked = np.frombuffer(b"".join(blobs), packed)
    sums = pl.DataFrame(np.ascontiguousarray(unpacked["sums"]), schema=dict.fromkeys(PARTIAL_SUMS, pl.Int64))
    typed = sums.cast(dict.fromkeys(AMOUNT_MEASURES, AMOUNT_SUM))
    if version == 1:
        return typed
    upper = pl.DataFrame(
        np.ascontiguousarray(unpacked["upper"]), schema=dict.fromkeys(_NAMES_OF_UPPER.values(), pl.Int64)
    )
    whole = typed.hstack(upper).with_columns(
        pl.when(pl.col(name) < 0).then(pl.col(name) + pl.lit(_UPPER, AMOUNT_SUM)).otherwise(pl.col(name)).alias(name)
        for name in AMOUNT_MEASURES
    )
    return whole.select(
        pl.col(name) + pl.col(_NAMES_OF_UPPER[name]) * pl.lit(_UPPER, AMOUNT_SUM)
        if name in _NAMES_OF_UPPER
        else pl.col(name)
        for name in PARTIAL_SUMS
    )
