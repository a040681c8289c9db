"""Batches whose hits are only numbers, for tests of the send window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hitmesh.api.collector.v1 import collector_pb2 as pb


class Parcel(NamedTuple):
    """A batch of numbered hits. If a batch is divided, each part has a new `name`."""

    name: str
    members: tuple[int, ...]

    @property
    def hits(self) -> int:
        return len(self.members)

    @property
    def size(self) -> int:
        return 10 * len(self.members)

    def part(self, indexes: Sequence[int], attempt: int) -> Parcel:
        return Parcel(f"{self.name}.{attempt}", tuple(self.members[index] for index in indexes))


def ready(credit_bytes: int) -> pb.StreamHitsResponse:
    return pb.StreamHitsResponse(ready=pb.StreamReady(credit_bytes=credit_bytes))


def credit(freed_bytes: int) -> pb.StreamHitsResponse:
    return pb.StreamHitsResponse(credit=pb.Credit(bytes=freed_bytes))


def ack(through: int, *issues: pb.HitIssue, receipts: Sequence[pb.Receipt] = ()) -> pb.StreamHitsResponse:
    return pb.StreamHitsResponse(ack=pb.Ack(acked_through=through, issues=issues, receipts=receipts))


def go_away(drain_ms: int) -> pb.StreamHitsResponse:
    message = pb.GoAway()
    message.drain.FromMilliseconds(drain_ms)
    return pb.StreamHitsResponse(go_away=message)


def rejected(batch_seq: int, index: int | None, message: str = "never") -> pb.HitIssue:
    return pb.HitIssue(batch_seq=batch_seq, index=index, outcome=pb.OUTCOME_REJECTED, message=message)


def retry(batch_seq: int, index: int | None, delay_ms: int = 0, message: str = "later") -> pb.HitIssue:
    issue = pb.HitIssue(batch_seq=batch_seq, index=index, outcome=pb.OUTCOME_RETRY, message=message)
    issue.retry_delay.FromMilliseconds(delay_ms)
    return issue
