"""Reads the lines of a plain or gzip file in bounded pieces; damaged gzip data causes an error with a remedy.

This module decides how many bytes of a line are read. The importers decide which lines are skipped.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.importers.lines import MAX_LINE_BYTES

GZIP_MAGIC: Final = b"\x1f\x8b"
# Maximum number of bytes that do not count towards a line's limit: the byte order mark and the line end.
_UNCOUNTED_BYTES: Final = len(b"\xef\xbb\xbf" + b"\r\n")


def lines_of(file: BinaryIO, *, consequence: str, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    r"""Yield the lines of a file, including the line ends.

    A line beyond the limit is cut to a piece that is still longer than the limit, so that importers recognize the line
    as too long. The rest of the line is read in pieces and dropped.

    Args:
        file: the file, positioned at its beginning; must support seek.
        consequence: clause for the error message about damage; the clause says whether hits were sent.
        max_line_bytes: maximum bytes of a line, without byte order mark, `\n` or `\r\n`.

    Raises:
        RefusedError: the gzip data is cut short or damaged (INVALID_FILE). The lines before the damage are yielded
            first.
    """
    is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    if not is_gzip:
        yield from _bounded(file, max_line_bytes)
        return
    number = 0
    try:
        with gzip.open(file) as unpacked:
            for line in _bounded(cast(BinaryIO, unpacked), max_line_bytes):
                number += 1
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RefusedError(
            f"the gzip data {_damage(error)} after line {number:,}, {consequence}: get an intact copy of the file, or "
            "import the lines before the damage from standard input with gzip -dc FILE | hitmesh import … -",
            field="file",
            reason=LocalReason.INVALID_FILE,
        ) from error


def _bounded(file: BinaryIO, max_line_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a file. Each read is at most `max_line_bytes` long, plus byte order mark and line end."""
    size = max_line_bytes + _UNCOUNTED_BYTES
    while line := file.readline(size):
        rest = line
        while len(rest) == size and not rest.endswith(b"\n"):
            rest = file.readline(size)
        yield line


def _damage(error: EOFError | zlib.error | gzip.BadGzipFile) -> str:
    if isinstance(error, EOFError):
        return "is cut short"
    # the file begins with gzip data, so this error means that other bytes follow the gzip data
    if str(error).startswith("Not a gzipped file"):
        return "is followed by other bytes"
    return f"is damaged ({error})"
