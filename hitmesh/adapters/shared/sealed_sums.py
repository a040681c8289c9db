"""Store a partial's sums with a checksum over all values that readers use: sums, sketch, digest and key columns.

The checksum follows the sums inside the blob, so that no extra column is needed. The highest bit of the version byte
marks a blob with a checksum. Sums that were stored before checksums existed are read without a check.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl
import xxhash

from hitmesh.adapters.shared.packed_sums import packed_sums, unpacked_sums
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.stored import COPY_CURE

_SEALED: Final = 0x80
_DIGEST_BYTES: Final = 8
_BOUND: Final = ("site", "day", "cell", "excluded", "currency", "digest", "visitors")
_KEY: Final = struct.Struct("<qq?Q")


def sealed_sums(rows: pl.DataFrame) -> list[bytes]:
    """Return each row's sums as a blob with a checksum; `rows` must have at least SERIES_COLUMNS."""
    blobs = [bytes([blob[0] | _SEALED]) + blob[1:] for blob in packed_sums(rows)]
    return [blob + digest for blob, digest in zip(blobs, _digests(rows, blobs), strict=True)]


def opened_sums(rows: pl.DataFrame, blobs: Sequence[bytes]) -> pl.DataFrame:
    """Return the sums in the blobs as columns; `rows` has the columns that are stored beside the blobs.

    Raises:
        StoreCorrupt: a blob or a stored column has changed since it was written.
    """
    inner = [_without_seal(blob) for blob in blobs]
    if any(inner_blob is not blob for inner_blob, blob in zip(inner, blobs, strict=True)):
        signed = [blob[:-_DIGEST_BYTES] for blob in blobs]
        for number, (digest, inner_blob, blob) in enumerate(zip(_digests(rows, signed), inner, blobs, strict=True)):
            if inner_blob is not blob and blob[-_DIGEST_BYTES:] != digest:
                site, day = rows.select("site", "day").row(number)
                place = f"a partial of {site} of UTC day {day}"
                raise StoreCorrupt(f"{place} is damaged: its checksum does not match; {COPY_CURE}", place=place)
    return unpacked_sums(inner)


def _without_seal(blob: bytes) -> bytes:
    """Return a blob without its checksum; a blob that has no checksum is returned as the same object."""
    is_sealed = len(blob) > _DIGEST_BYTES and blob[0] & _SEALED
    return bytes([blob[0] ^ _SEALED]) + blob[1:-_DIGEST_BYTES] if is_sealed else blob


def _digests(rows: pl.DataFrame, blobs: Sequence[bytes]) -> Iterator[bytes]:
    for blob, (site, day, cell, excluded, currency, digest, visitors) in zip(
        blobs, rows.select(_BOUND).iter_rows(), strict=True
    ):
        key = _KEY.pack(day, cell, excluded, digest)
        yield xxhash.xxh3_64_digest(b"\0".join((blob, key, site.encode(), (currency or "").encode(), visitors or b"")))
