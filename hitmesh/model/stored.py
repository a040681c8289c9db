"""Checksums of stored values, and the error for damaged values.

A sealed value consists of a format mark of four bytes, the XXH3-64 of the value, and the value. The producer seals a
value, and the reader verifies the checksum. Damage by a store, network or disk is therefore detected. Values written by
versions without checksums are read unverified. Readers recognise a value without a checksum by the first bytes of its
format. A single flipped bit cannot turn a sealed value's format mark into the first bytes of a format without
checksums.

Any failure in a decoder, including a Rust panic, counts as damaged bytes. The error message names the damaged value and
the remedy. The error message never contains the decoder's message, because the decoder's message may contain stored
values.
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
"""The remedy, in error messages, for damage that is not repaired automatically."""
SETTLED_CURE: Final = (
    f"run and publish a repair (hitmesh reprocess plan --kind repair) to replace the day's value; otherwise {COPY_CURE}"
)
"""The remedy, in error messages, for damage to settlement results."""
ARROW_STREAM: Final = b"\xff\xff\xff\xff"
"""The first bytes of an Arrow IPC stream."""


def sealed(value: bytes) -> bytes:
    """Return the value with its format mark and checksum in front.

    Example:
        >>> value = ARROW_STREAM + b"rows"
        >>> bytes(opened(sealed(value), "a record", COPY_CURE)) == value
        True
    """
    return _SEALED.pack(_SEAL, xxhash.xxh3_64_intdigest(value)) + value


def opened(value: bytes, subject: str, cure: str, unsealed: bytes = ARROW_STREAM) -> memoryview:
    r"""Verify a sealed value's checksum and return the value; return a value that begins with `unsealed` unchanged.

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
    """Raise StoreCorrupt in place of any error that is raised inside the `with` block.

    Args:
        subject: the decoded value, with its location or size, for example `a snapshot of 12 bytes`.
        cure: the remedy, for example `the log is read instead`.

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
