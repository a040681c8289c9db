"""Acknowledgements of a stream in messages that every client can read: a default gRPC client takes 4 MiB.

A batch's issues come in one message with its number where they fit into one. Where they do not, its number comes with
the last of them, so that a client that has the number has them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from collector.outcome import issue_messages, receipt_messages
from collector.sequence import Progress
from hitmesh.api.collector.v1 import collector_pb2

MAX_ACK_BYTES: Final = 3 << 20
# Tag and length of a part that has up to 2 MiB.
_FRAMING_BYTES: Final = 4

_Part = collector_pb2.HitIssue | collector_pb2.Receipt


def acks(before: int, progress: Progress, *, most_bytes: int = MAX_ACK_BYTES) -> Iterator[collector_pb2.Ack]:
    """Yield what is acknowledged, in as few messages as hold it.

    Args:
        before: the number that was acknowledged last.
        progress: what can be acknowledged.
        most_bytes: of issues and receipts in one message; one that is longer is alone.
    """
    ack, size = collector_pb2.Ack(acked_through=before), 0
    for batch_seq, outcome in progress.outcomes:
        parts: list[_Part] = [*issue_messages(batch_seq, outcome), *receipt_messages(batch_seq, outcome)]
        sizes = [part.ByteSize() + _FRAMING_BYTES for part in parts]
        room = most_bytes - sum(sizes)  # for what is before it; below 0 it takes several messages
        for part, part_size in zip(parts, sizes, strict=True):
            if size and (size > room or size + part_size > most_bytes):
                yield ack
                ack, size = collector_pb2.Ack(acked_through=ack.acked_through), 0
            if isinstance(part, collector_pb2.HitIssue):
                ack.issues.append(part)
            else:
                ack.receipts.append(part)
            size, room = size + part_size, most_bytes
        ack.accepted_count += outcome.accepted
        ack.acked_through = max(ack.acked_through, batch_seq)
    ack.acked_through = progress.acked_through
    yield ack
