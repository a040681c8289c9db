"""Convert log records to Kafka messages and back.

All fields except the value are in a header (log.v1.RecordHeader).

A message with an undecodable header is treated as a record of hits. The message's value does not decode as hits. The
processor therefore stores the record as a refusal, counts the record, and continues with the partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from confluent_kafka import Message
from google.protobuf.message import DecodeError

from hitmesh.adapters.shared.log_time import log_time_of
from hitmesh.internal.log.v1 import record_pb2
from hitmesh.model.errors import FatalError
from hitmesh.model.logic import CURRENT
from hitmesh.model.positions import Position
from hitmesh.model.records import LoggedRecord, Record, RecordKind

HEADER: Final = "h"
# The W3C trace context. Instrumented tools for Kafka use the same header.
TRACE: Final = "traceparent"
_TRACE_CHARS: Final = 55
_KINDS: Final = frozenset(int(kind) for kind in RecordKind)


def header_of(record: Record) -> list[tuple[str, str | bytes | None]]:
    """Return the message headers for a record."""
    header = record_pb2.RecordHeader(
        kind=record_pb2.RecordKind.ValueType(int(record.kind)),
        schema_version=record.schema_version,
        rows=record.rows,
        min_event_time_ms=record.min_event_time,
        max_event_time_ms=record.max_event_time,
        max_collect_time_ms=record.max_collect_time,
        collector=record.collector,
        logic_version=CURRENT.number,
        classifier_version=record.classifier_version,
        hits=record.hits,
        sum64=record.sum64,
        xor64=record.xor64,
    )
    trace: list[tuple[str, str | bytes | None]] = [(TRACE, record.trace.encode())] if record.trace else []
    return [(HEADER, header.SerializeToString()), *trace]


def record_of(message: Message) -> Record:
    """Return the record in a message."""
    value = message.value() or b""
    header = _header(message)
    if header is None:
        return Record(RecordKind.HITS, value)
    return Record(
        kind=RecordKind(header.kind),
        value=value,
        rows=header.rows,
        min_event_time=header.min_event_time_ms,
        max_event_time=header.max_event_time_ms,
        max_collect_time=header.max_collect_time_ms,
        schema_version=header.schema_version,
        collector=header.collector,
        classifier_version=header.classifier_version,
        hits=header.hits if header.HasField("hits") else None,
        sum64=header.sum64,
        xor64=header.xor64,
        trace=_trace(message),
    )


def _trace(message: Message) -> str:
    """Return the trace context of a message; "" if there is none, or if the header cannot be a trace context."""
    found = dict(message.headers() or ()).get(TRACE)
    return found.decode("ascii", "replace") if isinstance(found, bytes) and len(found) == _TRACE_CHARS else ""


def logged_of(message: Message, log_id: str, last_log_time: int) -> LoggedRecord:
    """Return the log record in a message; `last_log_time` is the previous record's log time (rule L1)."""
    record = record_of(message)
    _, appended = message.timestamp()
    position = Position(log_id, *place_of(message))
    return LoggedRecord(position, log_time_of(record, appended, last_log_time), record)


def logged_behind(messages: Iterable[Message], log_id: str, log_time: int) -> Iterator[LoggedRecord]:
    """Yield the log records in a partition's messages.

    `log_time` is the log time of the record before the first message.
    """
    for message in messages:
        logged = logged_of(message, log_id, log_time)
        log_time = logged.log_time
        yield logged


def place_of(message: Message) -> tuple[int, int]:
    """Return partition and offset of a message that was read or delivered."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise FatalError("a Kafka message has no partition or no offset")
    return partition, offset


def _header(message: Message) -> record_pb2.RecordHeader | None:
    """Return a message's header; None if the header is missing, does not decode or has an unknown kind."""
    found = dict(message.headers() or ()).get(HEADER)
    if not isinstance(found, bytes):
        return None
    try:
        header = record_pb2.RecordHeader.FromString(found)
    except DecodeError:
        return None
    return header if int(header.kind) in _KINDS else None
