"""The lines of a file, plain or gzip, in bounded pieces; damage of a gzip file is an error with a remedy.

Decides how many bytes of a line are read. Importers decide which lines are skipped.
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
# Bytes of a line that are not counted: the byte order mark of the first line, and the line end.
_UNCOUNTED_BYTES: Final = len(b"\xef\xbb\xbf" + b"\r\n")


def lines_of(file: BinaryIO, *, consequence: str, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    r"""Yield the lines of a file, with their ends.

    A line that is longer than the limit is cut, but what is yielded is still longer than the limit, so that importers
    recognize the line as too long. The remainder is read in pieces and dropped.

    Args:
        file: the file at its beginning; can seek.
        consequence: clause for the message about damage; says whether hits were sent.
        max_line_bytes: maximum bytes of a line, without byte order mark, `\n` or `\r\n`.

    Raises:
        RefusedError: the gzip data is cut short or damaged (INVALID_FILE). All lines before the damage were yielded.
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
    """Yield lines; never read more than the limit plus the uncounted bytes at a time."""
    size = max_line_bytes + _UNCOUNTED_BYTES
    while line := file.readline(size):
        rest = line
        while len(rest) == size and not rest.endswith(b"\n"):
            rest = file.readline(size)
        yield line


def _damage(error: EOFError | zlib.error | gzip.BadGzipFile) -> str:
    if isinstance(error, EOFError):
        return "is cut short"
    if str(error).startswith("Not a gzipped file"):  # the first bytes are gzip, so these bytes follow complete data
        return "is followed by other bytes"
    return f"is damaged ({error})"
