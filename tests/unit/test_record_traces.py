"""Test the trace context of a record in Kafka: a header beside the record's header, which other versions ignore."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import Message

from hitmesh.adapters.kafka.records import HEADER, TRACE, header_of, record_of
from hitmesh.model.records import Record, RecordKind

CONTEXT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RECORD = Record(RecordKind.HITS, b"value", 1, 1, 2, 3, hits=1)


def a_message(headers: list[tuple[str, str | bytes | None]]) -> Message:
    return Message(topic="hits", partition=0, offset=0, value=RECORD.value, headers=headers)


def test_context_is_read_back_and_the_record_is_unchanged() -> None:
    traced = replace(RECORD, trace=CONTEXT)
    assert record_of(a_message(header_of(traced))) == traced
    assert header_of(traced)[0] == header_of(RECORD)[0], "the record's own header has the same bytes with a context"
    assert [name for name, _ in header_of(traced)] == [HEADER, TRACE]


def test_record_without_context_has_no_further_header() -> None:
    assert [name for name, _ in header_of(RECORD)] == [HEADER]
    assert record_of(a_message(header_of(RECORD))) == RECORD


@pytest.mark.parametrize("value", [b"", b"x" * 10_000, CONTEXT.encode() + b"0", None])
def test_header_that_is_no_context_is_ignored(value: bytes | None) -> None:
    assert record_of(a_message([*header_of(RECORD), (TRACE, value)])) == RECORD
