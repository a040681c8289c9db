"""Bytes that are stored: the checksum in front of them, and what is said where they are not what was stored.

A sealed value is four bytes that name the format, XXH3-64 of the value, and the value. It is sealed where it is made
and opened where it is decoded, so that nothing in between, store, network or disk, alters it unseen. What was stored
before there were seals is read as it is: it begins with the bytes of its own format, and no flipped bit of a seal makes
those.

Decides that anything which fails in a decoder, a panic too, means the bytes and not the program. The message names what
is damaged and how to get it back; it never repeats what a decoder says, which may show stored values.
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
COPY_CURE: Final = "put back a copy of the store from before"
"""What to do about damage that nothing mends by itself."""
SETTLED_CURE: Final = f"a late hit of its day has the day made anew from raw hits; else {COPY_CURE}"
"""What to do about damage to what settlement made."""
ARROW_STREAM: Final = b"\xff\xff\xff\xff"
"""What an Arrow IPC stream begins with."""


def sealed(value: bytes) -> bytes:
    """Return the value behind its checksum."""
    return _SEALED.pack(_SEAL, xxhash.xxh3_64_intdigest(value)) + value


def opened(value: bytes, what: str, cure: str, unsealed: bytes = ARROW_STREAM) -> memoryview:
    """Return the value that was sealed; one that begins with `unsealed` is older than seals and returned as it is.

    Raises:
        StoreCorrupt: the value is not what was stored.
    """
    if value.startswith(_SEAL) and len(value) >= _SEALED.size:
        inner = memoryview(value)[_SEALED.size :]
        if _SEALED.unpack_from(value) == (_SEAL, xxhash.xxh3_64_intdigest(inner)):
            return inner
    elif value.startswith(unsealed):
        return memoryview(value)
    raise StoreCorrupt(f"{what} of {len(value)} bytes is damaged: its checksum does not match; {cure}")


@contextmanager
def decoding(what: str, cure: str) -> Iterator[None]:
    """Turn anything that fails inside the `with` into StoreCorrupt.

    Args:
        what: is decoded, with its place or size: `a snapshot of 12 bytes`.
        cure: how to get it back: `the log is read instead`.
    """
    try:
        yield
    except HitmeshError:
        raise
    except _DECODER_ERRORS as error:
        raise StoreCorrupt(f"{what} does not decode ({type(error).__name__}): {cure}") from None
