"""Standard output and standard error of the command line's process.

- A failed write to standard output raises `OutputFailed`, no matter whether click, rich or `output` writes. Only
  `hitmesh.tools.cli.__main__` handles `OutputFailed`, so every command ends in the same way.
- If the caller closed standard output, each write fails in the same way as a write to a full disk. Messages that cannot
  be written to standard error are lost.
- Characters that the encoding lacks become ASCII characters or escapes, so that every text can be written.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDOUT: Final = 1
_STDERR: Final = 2
_ENCODING_ERRORS: Final = "hitmesh.ascii"
# ASCII replacements for the typographic characters in the command line's texts. Other characters become escapes.
_ASCII: Final = {
    "·": "-",
    "–": "-",
    "−": "-",
    "…": "...",
    "×": "x",
    "≥": ">=",
    "≤": "<=",
    "→": "->",
    "┤": "|",
    "─": "-",
}


class OutputFailed(Exception):
    """A write to standard output failed.

    Attributes:
        cause: the operating system's text for the error.
        is_closed_pipe: whether the program that read the output closed the pipe.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.cause = error.strerror or str(error)
        self.is_closed_pipe = error.errno == errno.EPIPE


class _Checked(io.FileIO):
    """A file whose failed writes raise `OutputFailed` or are ignored; see `checked` and `discard`."""

    ignores_errors = False
    discards = False

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self.discards:
            return size
        try:
            return super().write(data)
        except OSError as error:
            if self.ignores_errors:
                return size
            raise OutputFailed(error) from error


def set_up_streams() -> None:
    """Replace this process's standard output and standard error with checked streams."""
    # If the caller closed a stream's descriptor, Python sets the stream to None.
    stdout: TextIO | None = sys.stdout
    stderr: TextIO | None = sys.stderr
    sys.stdout = checked(stdout or _placeholder(_STDOUT, os.O_RDONLY))
    sys.stderr = checked(stderr or _placeholder(_STDERR, os.O_WRONLY), ignores_errors=True)


def checked(stream: TextIO, *, ignores_errors: bool = False) -> TextIO:
    """Return a stream that writes to the same file descriptor as `stream`.

    A failed write to the returned stream raises `OutputFailed`.

    If `ignores_errors` is true, failed writes are ignored.
    """
    stream.flush()
    raw = _Checked(stream.fileno(), "w", closefd=False)
    raw.ignores_errors = ignores_errors
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=_ENCODING_ERRORS,
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def discard(stream: TextIO) -> None:
    """Drop all bytes in a checked stream's buffers, and all bytes that are written later.

    Without this call, Python's flush at exit would fail again. Other streams do not change.
    """
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Checked):
        raw.discards = True


def _placeholder(descriptor: int, flags: int) -> TextIO:
    """Open /dev/null under the number of a closed descriptor, and return the stream.

    Without this call, the next file or socket that the process opens would get the closed descriptor's number. If
    `flags` is O_RDONLY, every write to the stream fails.
    """
    null = os.open(os.devnull, flags)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    return open(descriptor, "w", encoding="utf-8", closefd=False)  # `Path.open` cannot open a descriptor


def _ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (_ASCII.get(char) or char.encode("ascii", "backslashreplace").decode() for char in lacking)
    return "".join(escaped), error.end


codecs.register_error(_ENCODING_ERRORS, _ascii)
