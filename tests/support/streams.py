"""A client of StreamHits that keeps the contract, but can also violate it on purpose."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import grpc
from google.protobuf.message import Message

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2

METHOD = "/hitmesh.api.collector.v1.CollectorService/StreamHits"
CALL_S = 120.0
BATCH_HITS = 400


def end_requests_with(call: grpc.RpcContext, outgoing: queue.SimpleQueue[bytes | None]) -> None:
    """End the requests of a call when the call ends.

    If the requests did not end, the thread that reads the requests would block forever.
    """
    if not call.add_callback(lambda: outgoing.put(None)):
        outgoing.put(None)


@dataclass
class Reported:
    """The content of all messages that the collector has sent to the stream's client so far, added up."""

    acked_through: int = 0
    accepted: int = 0
    issues: list[collector_pb2.HitIssue] = field(default_factory=list)
    receipts: list[collector_pb2.Receipt] = field(default_factory=list)
    acks: list[collector_pb2.Ack] = field(default_factory=list)
    credit: int = 0
    go_away: collector_pb2.GoAway | None = None


class StreamClient:
    """A client with a single stream, which can send any bytes as a message."""

    def __init__(
        self,
        channel: grpc.Channel,
        key: str,
        site: str,
        *,
        resume_from: int = 0,
        max_inflight_bytes: int | None = None,
        opening: bytes | None = None,
        timeout_s: float = CALL_S,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        stream_open = collector_pb2.StreamOpen(
            ingest_key=key, resume_from=resume_from, max_inflight_bytes=max_inflight_bytes
        )
        first = bytes_of(collector_pb2.StreamHitsRequest(open=stream_open)) if opening is None else opening
        self.raw(first)
        self.next_seq = resume_from + 1
        self.reported = Reported(acked_through=resume_from)
        self._in_flight: dict[int, int] = {}
        call: grpc.StreamStreamMultiCallable[bytes, collector_pb2.StreamHitsResponse] = channel.stream_stream(
            METHOD, request_serializer=None, response_deserializer=collector_pb2.StreamHitsResponse.FromString
        )
        named = (("hitmesh-site", site),) if site else ()
        self.call = call(iter(self._outgoing.get, None), metadata=(*named, *metadata), timeout=timeout_s)
        end_requests_with(self.call, self._outgoing)

    def __enter__(self) -> StreamClient:
        self.wait_ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._outgoing.put(None)
        self.call.cancel()

    def wait_ready(self) -> collector_pb2.StreamReady:
        """Read the answer to the opening message."""
        answer = self.next()
        assert answer.WhichOneof("kind") == "ready", answer
        self.reported.credit += answer.ready.credit_bytes
        self.reported.acked_through = answer.ready.acked_through
        return answer.ready

    def next(self) -> collector_pb2.StreamHitsResponse:
        """Read a message and remember its content.

        Raises:
            grpc.RpcError: the stream ended with an error.
            StopIteration: the stream ended.
        """
        answer: collector_pb2.StreamHitsResponse = next(self.call)
        match answer.WhichOneof("kind"):
            case "ack":
                self._note(answer.ack)
            case "credit":
                self.reported.credit += answer.credit.bytes
            case "go_away":
                self.reported.go_away = answer.go_away
        return answer

    def _note(self, ack: collector_pb2.Ack) -> None:
        reported = self.reported
        assert ack.acked_through >= reported.acked_through, "acks are cumulative"
        reported.acked_through = ack.acked_through
        reported.accepted += ack.accepted_count
        reported.issues += ack.issues
        reported.receipts += ack.receipts
        reported.acks.append(ack)

    def raw(self, message: bytes) -> None:
        """Send bytes as one message."""
        self._outgoing.put(message)

    def send(self, batch: hit_pb2.HitBatch | bytes, seq: int | None = None) -> int:
        """Wait for credit, send a batch, and return its number."""
        number = self.next_seq if seq is None else seq
        message = sequenced(number, batch)
        while self.reported.credit < len(message) and self.reported.acked_through < self.next_seq - 1:
            self.next()
        self.reported.credit -= len(message)
        self.raw(message)
        self.next_seq = max(self.next_seq, number + 1)
        return number

    def wait_acked(self, seq: int) -> None:
        """Read until all batches up to number `seq` are acknowledged."""
        while self.reported.acked_through < seq:
            self.next()

    def finish(self) -> Reported:
        """Half-close the stream and read to its end. The status must be OK."""
        self._outgoing.put(None)
        for _ in self.answers():
            pass
        assert self.call.code() is grpc.StatusCode.OK
        return self.reported

    def answers(self) -> Iterator[collector_pb2.StreamHitsResponse]:
        """Yield all answers until the stream ends."""
        while True:
            try:
                yield self.next()
            except StopIteration:
                return


def bytes_of(message: Message) -> bytes:
    """Return a message in its wire format."""
    return message.SerializeToString()


def sequenced(batch_seq: int, batch: hit_pb2.HitBatch | bytes) -> bytes:
    """Return the bytes of a StreamHitsRequest with a numbered batch. The batch may be any bytes."""
    inner = batch if isinstance(batch, bytes) else bytes_of(batch)
    return length_delimited(2, bytes([1 << 3]) + varint(batch_seq) + length_delimited(2, inner))


def length_delimited(number: int, value: bytes) -> bytes:
    """Return an encoded protobuf field of type bytes."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Return a number as a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def in_batches(hits: Sequence[hit_pb2.Hit], prefix: str, size: int = BATCH_HITS) -> list[hit_pb2.HitBatch]:
    """Return the hits in batches, each with an id that starts with `prefix`."""
    return [
        hit_pb2.HitBatch(batch_id=f"{prefix}-{start}", hits=hits[start : start + size])
        for start in range(0, len(hits), size)
    ]


def send_all(channel: grpc.Channel, key: str, site: str, batches: Sequence[hit_pb2.HitBatch]) -> Reported:
    """Send batches on a stream until all are acknowledged, and return the collector's messages."""
    with StreamClient(channel, key, site) as stream:
        for batch in batches:
            stream.send(batch)
        reported = stream.finish()
    assert reported.acked_through == len(batches)
    return reported
