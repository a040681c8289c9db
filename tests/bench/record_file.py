"""A file of serialised records. A process under measurement reads the file's records instead of generating records."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from hitmesh.model.positions import Position
from hitmesh.model.records import LoggedRecord, Record, RecordKind

LOG: Final = "bench"
_HEADER: Final = struct.Struct("<qqqqqQQQ")


def write_record(target: BinaryIO, log_time: int, record: Record) -> None:
    """Append a record of hits to the file."""
    times = (log_time, record.min_event_time, record.max_event_time, record.max_collect_time)
    target.write(_HEADER.pack(*times, record.rows, record.sum64, record.xor64, len(record.value)))
    target.write(record.value)


def read_records(source: BinaryIO, first_offset: int = 0) -> Iterator[LoggedRecord]:
    """Yield the file's records as records of partition 0, with offsets that begin at `first_offset`."""
    offset = first_offset
    while header := source.read(_HEADER.size):
        log_time, low, high, collected, rows, sum64, xor64, length = _HEADER.unpack(header)
        record = Record(
            kind=RecordKind.HITS,
            value=source.read(length),
            rows=rows,
            min_event_time=low,
            max_event_time=high,
            max_collect_time=collected,
            hits=rows,
            sum64=sum64,
            xor64=xor64,
        )
        yield LoggedRecord(Position(LOG, 0, offset), log_time, record)
        offset += 1
