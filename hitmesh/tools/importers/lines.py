"""Functions for all importers: decode lines, derive ids for hits, and count skipped lines.

The readers of all formats use this module.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Final, NamedTuple

import xxhash

# Maximum length of a line in bytes. No supported format has longer lines, and the collector would refuse a hit from a
# longer line.
MAX_LINE_BYTES: Final = 1 << 20
# Maximum number of unparsable lines to show, and maximum number of characters to show per line.
SHOWN_LINES: Final = 5
SHOWN_CHARS: Final = 100


class SkipReason(StrEnum):
    """The reason why no hit was made from a line."""

    UNPARSABLE = "unparsable"
    METHOD = "method"
    STATUS = "status"
    STATIC = "static"


class Line(NamedTuple):
    """A line without its line break; `number` counts from 1.

    `is_too_long` is true if the line exceeds the size limit.
    """

    number: int
    text: str
    is_too_long: bool = False


class UnreadLine(NamedTuple):
    """A line that was skipped as unparsable: file name, line number, mismatch, and the beginning of the text.

    `complaint` is a clause such as "user_id is empty". `complaint` is empty if the line matches no format.
    """

    file: str
    number: int
    complaint: str
    text: str


@dataclass(slots=True)
class Tally:
    """The number of lines that could contain a hit, the number of skipped lines by reason, and the detected format.

    `file` is the name of the file that the lines come from. `unread` contains the first unparsable lines.
    """

    file: str = ""
    lines: int = 0
    skipped: Counter[SkipReason] = field(default_factory=Counter)
    format: str = ""
    unread: list[UnreadLine] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the counts from another file."""
        self.lines += other.lines
        self.skipped.update(other.skipped)
        self.unread = [*self.unread, *other.unread][:SHOWN_LINES]

    def skip(self, skipped: Skipped, number: int, text: str) -> None:
        """Count a skipped line."""
        self.skipped[skipped.reason] += 1
        if skipped.reason is SkipReason.UNPARSABLE and len(self.unread) < SHOWN_LINES:
            shown = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
            complaint = skipped.complaint or (f"the line is not in the format {self.format}" if self.format else "")
            self.unread.append(UnreadLine(self.file, number, complaint, shown))


class Skipped(Exception):
    """A parser raises this exception to skip a line; the import continues.

    `complaint` is a clause that states the mismatch, or "" if the mismatch is not known.
    """

    def __init__(self, reason: SkipReason, complaint: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.complaint = complaint


def unparsable(complaint: str = "") -> Skipped:
    """Return the exception for a line that does not match the format."""
    return Skipped(SkipReason.UNPARSABLE, complaint)


def too_long() -> Skipped:
    """Return the exception for a line that is longer than the limit."""
    return unparsable(f"the line is longer than {MAX_LINE_BYTES:,} bytes")


def read_lines(raw_lines: Iterable[bytes], *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    r"""Yield the decoded lines without `\n`, `\r\n` and byte order mark; invalid UTF-8 is replaced.

    If a line is longer than the limit, only the beginning of the line is decoded, so that messages can quote the line.
    """
    for number, raw in enumerate(raw_lines, start=1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        is_too_long = len(line) > max_line_bytes
        shown = line[: 4 * SHOWN_CHARS + 4] if is_too_long else line
        yield Line(number, shown.decode("utf-8", "replace"), is_too_long)


def hit_id(line: Line) -> str:
    """Return the id for the line's hit: 12-digit line number, `-`, 16 hex digits of the line's hash.

    The hash is the project's hash64 of a single text. hash64 is XXH3-64 over the UTF-8 text, preceded by the text's
    length as four little-endian bytes. The hash covers the decoded text without the line break.
    """
    encoded = line.text.encode("utf-8")
    hashed = xxhash.xxh3_64_intdigest(struct.pack("<I", len(encoded)) + encoded)
    return f"{line.number:012d}-{hashed:016x}"


class LineIds:
    """Ids for lines that may occur in several files.

    An id consists of the line's hash and a counter, which numbers equal lines in a file.

    The id does not depend on the line's position. Each request is therefore counted once, even if a log is imported
    while it is still growing, or in overlapping parts. Equal lines contain the same time, so equal lines are close
    together. An instance therefore remembers the counters of only the most recent distinct lines, at least `remembered`
    lines.
    """

    def __init__(self, remembered: int = 500_000) -> None:
        self._remembered = remembered
        self._counts: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def of(self, raw: bytes) -> str:
        """Return the id for the file's next line; `raw` is the line without the line break."""
        digest = blake2b(raw, digest_size=16).digest()
        number = self._counts.get(digest, self._older.get(digest, 0)) + 1
        if len(self._counts) >= self._remembered:
            self._older, self._counts = self._counts, {}
        self._counts[digest] = number
        return f"{digest.hex()}-{number}"


def epoch_s(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Convert a date and a time of day in UTC to seconds since 1970-01-01.

    Raises:
        Skipped: the time does not exist.
    """
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except (ValueError, OverflowError) as error:
        raise unparsable("the line's time does not exist") from error
