"""What all importers share: physical lines as text, the ids of their hits, the count of what was left out.

Decides what a line is and how it names its hit. Knows no format.
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

# Nothing that long is a line of the formats read here, and its hit would be refused anyway.
MAX_LINE_BYTES: Final = 1 << 20
# Of the lines that cannot be read so many are shown, and so much of each.
SHOWN_LINES: Final = 5
SHOWN_CHARS: Final = 100


class SkipReason(StrEnum):
    """Why a line became no hit."""

    UNPARSABLE = "unparsable"
    METHOD = "method"
    STATUS = "status"
    STATIC = "static"


class Line(NamedTuple):
    """A physical line without its end; `number` counts from 1."""

    number: int
    text: str


@dataclass(slots=True)
class Tally:
    """What was read so far: lines that could have been hits, those left out by reason, the format where it is found.

    `unread` are the first lines that cannot be read.
    """

    lines: int = 0
    skipped: Counter[SkipReason] = field(default_factory=Counter)
    format: str = ""
    unread: list[Line] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Adds what was read of another file."""
        self.lines += other.lines
        self.skipped.update(other.skipped)
        self.unread = [*self.unread, *other.unread][:SHOWN_LINES]

    def skip(self, reason: SkipReason, number: int, text: str) -> None:
        """Counts a line that is left out."""
        self.skipped[reason] += 1
        if reason is SkipReason.UNPARSABLE and len(self.unread) < SHOWN_LINES:
            self.unread.append(Line(number, text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"))


class Skipped(Exception):
    """The line is left out: control flow between a parser and its loop, not an error."""

    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def unparsable() -> Skipped:
    """Returns the sign that a line has not the shape of its format."""
    return Skipped(SkipReason.UNPARSABLE)


def read_lines(raw_lines: Iterable[bytes]) -> Iterator[Line]:
    r"""Yields each line decoded with replacement, without `\n` or `\r\n`; the first without a byte order mark."""
    for number, raw in enumerate(raw_lines, start=1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        yield Line(number, raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace"))


def hit_id(line: Line) -> str:
    """Returns the id of the line's hit: 12-digit line number, `-`, 16 hex digits of the line's hash.

    The hash is the project's hash64 of one part: XXH3-64 over the length of the line's UTF-8 as four little-endian
    bytes and those bytes, so it is of the text after decoding and without the line's end.
    """
    encoded = line.text.encode("utf-8")
    hashed = xxhash.xxh3_64_intdigest(struct.pack("<I", len(encoded)) + encoded)
    return f"{line.number:012d}-{hashed:016x}"


class LineIds:
    """Ids of lines that several files may hold: the hash of a line and its number among the equal ones of its file.

    A line has the same id wherever it stands, so a log that was imported while it grew, or in overlapping parts, counts
    each request once. Equal lines stand close together, since they carry one time: of the numbers the last `remembered`
    or more distinct lines are kept.
    """

    def __init__(self, remembered: int = 500_000) -> None:
        self._remembered = remembered
        self._counts: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def of(self, raw: bytes) -> str:
        """Returns the id of the next line of the file, given without its end."""
        digest = blake2b(raw, digest_size=16).digest()
        number = self._counts.get(digest, self._older.get(digest, 0)) + 1
        if len(self._counts) >= self._remembered:
            self._older, self._counts = self._counts, {}
        self._counts[digest] = number
        return f"{digest.hex()}-{number}"


def epoch_s(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Returns the UTC seconds of a civil time.

    Raises:
        Skipped: there is no such time.
    """
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except (ValueError, OverflowError) as error:
        raise unparsable() from error
