"""Test that files are read line by line in bounded pieces. If a gzip file is damaged, the error states the remedy."""

from __future__ import annotations

import gzip
import io
from itertools import product

import pytest

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.import_lines import lines_of
from hitmesh.tools.importers import access_log, shop_csv
from hitmesh.tools.importers.lines import MAX_LINE_BYTES, SkipReason, Tally, read_lines

MARK = "\ufeff".encode()
GOOD = b'1.2.3.4 - - [17/May/2015:10:05:00 +0000] "GET /a HTTP/1.1" 200 203 "-" "Firefox"\n'
HEADER = b"event_time,event_type,product_id,price,user_id\n"
VIEW = b"2019-10-01 00:00:00 UTC,view,1,35.79,7\n"
SENT = "and nothing was sent"


class CountingFile(io.BytesIO):
    """A file that remembers the largest read. A read without a limit is an error."""

    largest = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0, "an unbounded request"
        self.largest = max(self.largest, size)
        return super().readline(size)


def lines(content: bytes, limit: int = MAX_LINE_BYTES) -> list[bytes]:
    return list(lines_of(io.BytesIO(content), consequence=SENT, max_line_bytes=limit))


def a_log(pages: int = 2_000) -> bytes:
    return b"".join(GOOD.replace(b"/a", b"/%d" % number) for number in range(pages))


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_longer_than_the_limit_stay_longer_and_all_other_lines_are_whole(limit: int, packed: bool) -> None:
    texts = [b"", b"a", b"ab", b"abc", b"a" * 8, b"a" * 9, b"a\r", b"a" * 500]
    for mark, first, second, end in product((b"", MARK), texts, texts, (b"\n", b"\r\n")):
        content = mark + first + end + second + end + b"z"
        whole = list(read_lines([mark + first + end, second + end, b"z"], max_line_bytes=limit))
        read = lines(gzip.compress(content) if packed else content, limit)
        found = list(read_lines(read, max_line_bytes=limit))
        assert [line.is_too_long for line in found] == [line.is_too_long for line in whole], content
        assert [line for line in found if not line.is_too_long] == [line for line in whole if not line.is_too_long]


def test_the_reader_never_requests_more_than_the_limit() -> None:
    file = CountingFile(b"a\n" + b"\0" * 10_000 + b"\nb\n")
    read = list(lines_of(file, consequence=SENT, max_line_bytes=1))
    assert (read[0], read[2], len(read)) == (b"a\n", b"b\n", 3)
    assert len(read[1]) <= file.largest <= 1 + len(MARK + b"\r\n")


@pytest.mark.parametrize("end", [b"", b"\n" + GOOD])
def test_a_line_that_is_too_long_is_skipped_with_its_number(end: bytes) -> None:
    packed = gzip.compress(GOOD + b"\0" * (3 * MAX_LINE_BYTES) + end)
    tally = Tally()
    hits = list(access_log.read(lines(packed), tally))
    assert (len(hits), tally.skipped) == (len(end.splitlines()[1:]) + 1, {SkipReason.UNPARSABLE: 1})
    assert [(line.number, line.complaint) for line in tally.unread] == [(2, "the line is longer than 1,048,576 bytes")]


def test_a_row_that_is_too_long_is_skipped_with_its_number_though_it_has_fewer_characters() -> None:
    long = VIEW.replace(b",1,", b"," + "é".encode() * (MAX_LINE_BYTES // 2) + b",")
    tally = Tally()
    hits = list(
        shop_csv.read(
            lines(HEADER + VIEW + long + b'"' * (2 * MAX_LINE_BYTES + 1) + b"\n" + VIEW), tally, currency="USD"
        )
    )
    assert len(hits) == 2
    complaint = "the line is longer than 1,048,576 bytes"
    assert [(line.number, line.complaint) for line in tally.unread] == [(3, complaint), (4, complaint)]


def test_a_log_of_nothing_but_lines_that_are_too_long_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"every line is longer than 1,048,576 bytes: import a log with") as caught:
        list(access_log.read(lines(b"\0" * (2 * MAX_LINE_BYTES)), Tally()))
    assert caught.value.reason is LocalReason.INVALID_FILE


@pytest.mark.parametrize(
    ("damaged", "damage"),
    [
        (gzip.compress(a_log())[:-9], "is cut short after line"),
        (gzip.compress(a_log())[:-3], "is cut short after line 2,000, and nothing was sent: get an intact copy"),
        (gzip.compress(a_log())[:5], "is cut short after line 0"),
        (gzip.compress(a_log())[:-8] + b"\0" * 8, r"is damaged \(CRC check failed .*\) after line 2,000"),
        (gzip.compress(a_log())[:-4] + b"\0" * 4, r"is damaged \(Incorrect length .*\) after line 2,000"),
        (gzip.compress(a_log()) + b"junk", "is followed by other bytes after line 2,000"),
        (gzip.compress(a_log())[:200] + b"\xff" * 500, r"is damaged \(Error -3 .*\) after line"),
        (b"\x1f\x8b\x07" + b"\0" * 20, r"is damaged \(Unknown compression method\) after line 0"),
    ],
)
def test_damage_of_a_gzip_file_is_an_error_after_the_lines_before_it(damaged: bytes, damage: str) -> None:
    read: list[bytes] = []
    with pytest.raises(RefusedError, match=damage) as caught:
        read.extend(lines_of(io.BytesIO(damaged), consequence=SENT))
    assert caught.value.reason is LocalReason.INVALID_FILE


def test_gzip_files_in_sequence_and_padded_with_zeros_are_intact() -> None:
    assert lines(gzip.compress(b"a\n") + gzip.compress(b"b\n") + b"\0" * 9) == [b"a\n", b"b\n"]
