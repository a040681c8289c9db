"""Splits a stream's acknowledgements into messages that every client can read. By default, gRPC clients accept 4 MiB.

If a batch's issues, receipts and number fit into one message, one message is sent. Otherwise, the issues and receipts
are spread over several messages, and the last message contains the batch's number. A client that has received the
batch's number has therefore received all of the batch's issues and receipts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from collector.outcome import issue_messages, receipt_messages
from collector.sequence import Progress
from hitmesh.api.collector.v1 import collector_pb2

MAX_ACK_BYTES: Final = 3 << 20
# In a message, each issue or receipt has a tag and a length in front. For an issue or receipt of up to 2 MiB, tag and
# length take at most this many bytes.
_FRAMING_BYTES: Final = 4

_Part = collector_pb2.HitIssue | collector_pb2.Receipt


def acks(before: int, progress: Progress, *, most_bytes: int = MAX_ACK_BYTES) -> Iterator[collector_pb2.Ack]:
    """Yield the acknowledgements in as few messages as possible.

    Args:
        before: the last batch number that was acknowledged before these batches.
        progress: the batches that can be acknowledged now, with their outcomes.
        most_bytes: maximum bytes of issues and receipts per message; a larger issue or receipt is sent alone.
    """
    ack, size = collector_pb2.Ack(acked_through=before), 0
    for batch_seq, outcome in progress.outcomes:
        parts: list[_Part] = [*issue_messages(batch_seq, outcome), *receipt_messages(batch_seq, outcome)]
        sizes = [part.ByteSize() + _FRAMING_BYTES for part in parts]
        room = most_bytes - sum(sizes)  # negative if the batch does not fit into a single message
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


def go_away_message(drain_s: float, reason: str) -> collector_pb2.GoAway:
    """Return the message that asks a client to open another stream within `drain_s`."""
    message = collector_pb2.GoAway(reason=reason)
    message.drain.FromMilliseconds(int(drain_s * 1000))
    return message
