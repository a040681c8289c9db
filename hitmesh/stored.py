"""Bytes that were stored: what may go wrong when they are decoded, and what is said of it.

Decides that anything which fails in a decoder, a panic too, means the bytes and not the program. The message names what
is damaged and how to get it back; it never repeats what a decoder says, which may show stored values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import polars as pl

from hitmesh.errors import HitmeshError, StoreCorrupt

_DECODER_ERRORS: Final = (Exception, pl.exceptions.PanicException)


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
