"""Stored bytes: the checksum in front of them, and the error for damaged bytes.

A sealed value is a four-byte format name, the value's XXH3-64, and the value. The producer seals a value and the
decoder opens the seal, so that no store, network or disk alters a value unseen. Values from before seals existed are
read unsealed: they begin with their own format's bytes, and no flipped bit in a seal produces those bytes.

Any failure in a decoder, including a panic, is treated as damaged bytes, not as a bug. The error message names the
damaged value and the remedy; it never repeats the decoder's message, which may contain stored values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import polars as pl
import xxhash

from hitmesh.model.errors import HitmeshError, StoreCorrupt

_DECODER_ERRORS: Final = (Exception, pl.exceptions.PanicException)
_SEAL: Final = b"\x89hm\x01"
_SEALED: Final = struct.Struct("<4sQ")
COPY_CURE: Final = "restore the store from a backup"
"""The remedy for damage that is not repaired automatically."""
SETTLED_CURE: Final = f"a late hit for the day rebuilds the day from raw hits; otherwise {COPY_CURE}"
"""The remedy for damage to settlement results."""
ARROW_STREAM: Final = b"\xff\xff\xff\xff"
"""The first bytes of an Arrow IPC stream."""


def sealed(value: bytes) -> bytes:
    """Return the value behind its checksum.

    Example:
        >>> value = ARROW_STREAM + b"rows"
        >>> bytes(opened(sealed(value), "a record", COPY_CURE)) == value
        True
    """
    return _SEALED.pack(_SEAL, xxhash.xxh3_64_intdigest(value)) + value


def opened(value: bytes, subject: str, cure: str, unsealed: bytes = ARROW_STREAM) -> memoryview:
    r"""Return the sealed value; a value that begins with `unsealed` is older than seals and returned unchanged.

    Raises:
        StoreCorrupt: the value is damaged.

    Example:
        >>> bytes(opened(ARROW_STREAM + b"rows", "a record", COPY_CURE))  # from before seals existed
        b'\xff\xff\xff\xffrows'
        >>> opened(sealed(b"rows")[:-1], "a record", "read the log")
        Traceback (most recent call last):
            ...
        hitmesh.model.errors.StoreCorrupt: a record of 15 bytes is damaged: its checksum does not match; read the log
    """
    if value.startswith(_SEAL) and len(value) >= _SEALED.size:
        inner = memoryview(value)[_SEALED.size :]
        if _SEALED.unpack_from(value) == (_SEAL, xxhash.xxh3_64_intdigest(inner)):
            return inner
    elif value.startswith(unsealed):
        return memoryview(value)
    raise StoreCorrupt(
        f"{subject} of {len(value)} bytes is damaged: its checksum does not match; {cure}",
        place=subject,
        size=len(value),
    )


@contextmanager
def decoding(subject: str, cure: str) -> Iterator[None]:
    """Turn any failure inside the `with` into StoreCorrupt.

    Args:
        subject: the value that is decoded, with its place or size: `a snapshot of 12 bytes`.
        cure: how to recover: `the log is read instead`.

    Example:
        >>> with decoding("a carry of 3 bytes", "settle the day again"):
        ...     int(b"abc")
        Traceback (most recent call last):
            ...
        hitmesh.model.errors.StoreCorrupt: a carry of 3 bytes does not decode (ValueError): settle the day again
    """
    try:
        yield
    except HitmeshError:
        raise
    except _DECODER_ERRORS as error:
        raise StoreCorrupt(
            f"{subject} does not decode ({type(error).__name__}): {cure}", place=subject, cause=type(error).__name__
        ) from None
