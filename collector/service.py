"""The collector's gRPC service, with the RPCs StreamHits, SendHits and SendJsonHits (collector.proto).

Messages arrive unparsed. A frame that does not decode thus affects neither the stream nor other frames. The service
decides how many streams may be open, and how a refused batch ends a unary call. Admission decides which hits are
accepted.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

import grpc
from google.api import httpbody_pb2

from collector.admission import Frame
from collector.admission.envelopes import FoundFault, hit_sizes, read_envelope
from collector.batcher import MicroBatcher
from collector.budget import ByteBudget
from collector.frames import read_unary_frame
from collector.gate import Gate, key_in_json
from collector.hit_quotas import Charged, HitQuotas
from collector.json_batches import MAX_JSON_BYTES, JsonBatch, batch_of_json, plain_body
from collector.json_split import SentJson
from collector.metering import CollectorMeter
from collector.micro_batch import Waiting
from collector.outcome import BatchOutcome, issue_messages, receipt_messages
from collector.peers import Peer, peer_of
from collector.refusal_budget import RefusalBudget
from collector.settings import CollectorSettings
from collector.slots import SlotLimits, StreamSlots, displaced
from collector.stream import Age, HitStream, start_reader
from hitmesh.api.collector.v1 import collector_pb2, json_pb2
from hitmesh.model.errors import HitmeshError, NotFound, PermissionDenied, RefusedError, RetryError, Unauthenticated
from hitmesh.model.reasons import ErrorReason
from hitmesh.ports import Clock
from hitmesh.runtime.logs import Complaints
from hitmesh.runtime.rpc_errors import abort
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.telemetry.registry import COLLECTOR_INFLIGHT_BYTES, COLLECTOR_OPEN_STREAMS
from hitmesh.runtime.telemetry.traces import active_span

SERVICE = "hitmesh.api.collector.v1.CollectorService"
JSON_SERVICE = "hitmesh.api.collector.v1.JsonCollectorService"
# The trailer of every call states the number of hits that were accepted and acknowledged in the call. Envoy adds this
# number to a counter.
ACKNOWLEDGED_TRAILER = "hitmesh-acknowledged-hits"
UNARY_TIMEOUT_S = 10.0
# The maximum size of a gRPC message in bytes. If a message is larger, the call fails. If a message is smaller, but its
# batch exceeds MAX_BATCH_BYTES, the client gets a refusal with a reason.
MAX_MESSAGE_BYTES = 8 << 20

_WHOLE_CALL: dict[ErrorReason, type[RefusedError]] = {
    ErrorReason.UNKNOWN_KEY: Unauthenticated,
    ErrorReason.KEY_REVOKED: Unauthenticated,
    ErrorReason.KEY_EXPIRED: Unauthenticated,
    ErrorReason.ORIGIN_NOT_ALLOWED: PermissionDenied,
    ErrorReason.UNKNOWN_SITE: NotFound,
    ErrorReason.PERMISSION_DENIED: PermissionDenied,
}


class CollectorService:
    """The handlers of CollectorService. The method `drain` ends all streams."""

    def __init__(
        self, batcher: MicroBatcher, clock: Clock, settings: CollectorSettings, metrics: Metrics | None = None
    ) -> None:
        self._batcher = batcher
        self._clock = clock
        self._settings = settings
        self._budget = ByteBudget(settings.inflight_bytes)
        self.complaints = Complaints("calls_refused", settings.complain_every_s)
        self._gate = Gate(batcher.directory, RefusalBudget(settings.refused_bytes_s), clock)
        self._streams: StreamSlots[HitStream] = StreamSlots(
            SlotLimits(
                settings.max_streams,
                settings.max_streams_per_merchant,
                settings.max_streams_per_key,
                settings.max_keyless_streams,
                settings.max_unproven_streams,
                settings.reserved_streams,
            )
        )
        self._no_streams = threading.Condition()
        metrics = metrics or unmeasured()
        self._meter = CollectorMeter(metrics)
        metrics.observe(COLLECTOR_OPEN_STREAMS, lambda: [COLLECTOR_OPEN_STREAMS.of(len(self._streams))])
        metrics.observe(COLLECTOR_INFLIGHT_BYTES, lambda: [COLLECTOR_INFLIGHT_BYTES.of(self._budget.taken)])

    def stream_hits(
        self, messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[collector_pb2.StreamHitsResponse]:
        """Handle a stream."""
        acknowledged = 0
        stream = HitStream(
            peer=peer_of(context, is_traced=self._batcher.traces.is_on),
            gate=self._gate,
            credit_bytes=self._settings.stream_credit_bytes,
            batcher=self._batcher,
            budget=self._budget,
            clock=self._clock,
            # After a restart, many streams are opened at the same time. The jitter prevents all streams from moving at
            # the same time.
            age=Age(self._settings.max_stream_age_s * random.uniform(0.8, 1.0), self._settings.drain_s),
        )
        try:
            self._enter(stream)
            context.add_callback(stream.end)
            start_reader(stream, messages)
            self._open(stream)
            for response in stream.responses():
                acknowledged += 0 if stream.validate_only else response.ack.accepted_count
                self._complain_of_whole(response.ack)
                yield response
            context.set_trailing_metadata(_trailers(acknowledged))
        except HitmeshError as error:
            self._meter.ended(error)
            self._complain(error)
            abort(context, error, _trailers(acknowledged))
        finally:
            stream.end()
            with self._no_streams:
                self._streams.leave(stream)
                self._no_streams.notify_all()

    def _enter(self, stream: HitStream) -> None:
        with self._no_streams:
            oldest = self._streams.enter(stream)
        if oldest is not None:
            oldest.make_room(displaced())

    def _open(self, stream: HitStream) -> None:
        """Wait for the stream's `open` and accept the stream, or raise the error that ends the stream."""
        opened = stream.opened(self._settings.open_within_s)
        key = opened.ingest_key or stream.peer.key
        if key:
            if self._gate.is_watchful:
                self._gate.check(key, stream.peer.address)
            self._gate.require(key, stream.peer.origin, stream.peer.address)
            self._prove(stream, key)
        within_s = self._settings.prove_within_s
        stream.accept(opened, prove_within_s=within_s, proved=lambda key: self._prove(stream, key, is_keyless=True))

    def _prove(self, stream: HitStream, key: str, *, is_keyless: bool = False) -> None:
        shown = self._gate.shown(key, is_keyless=is_keyless)
        with self._no_streams:
            self._streams.prove(stream, shown)

    def send_hits(self, message: bytes, context: grpc.ServicerContext) -> collector_pb2.SendHitsResponse:
        """Handle a unary call."""
        outcome = self._outcome(self._send_message, message, context)
        return collector_pb2.SendHitsResponse(
            issues=issue_messages(None, outcome),
            receipts=receipt_messages(None, outcome),
            accepted_count=outcome.accepted,
            rejected_count=outcome.rejected,
        )

    def send_json_hits(
        self, body: httpbody_pb2.HttpBody, context: grpc.ServicerContext
    ) -> json_pb2.SendJsonHitsResponse:
        """Handle a unary call with a JSON body."""
        outcome = self._outcome(self._send_json, body.data, context)
        return json_pb2.SendJsonHitsResponse(
            issues=issue_messages(None, outcome),
            receipts=receipt_messages(None, outcome),
            accepted_count=outcome.accepted,
            rejected_count=outcome.rejected,
        )

    def drain(self) -> None:
        """Send GoAway to the streams, spread over time by jitter.

        Wait up to `drain_s`, then end the remaining streams.
        """
        drain_s = self._settings.drain_s
        with self._no_streams:
            for stream in self._streams.streams:
                stream.go_away(drain_s * random.uniform(0.5, 1.0), "the collector is stopping")
            self._no_streams.wait_for(lambda: not len(self._streams), timeout=drain_s)
            left = self._streams.streams
        for stream in left:
            stream.end()

    def _outcome(
        self,
        send: Callable[[bytes, grpc.ServicerContext], BatchOutcome],
        message: bytes,
        context: grpc.ServicerContext,
    ) -> BatchOutcome:
        """Return the outcome of a unary call's batch. If the batch was refused as a whole, abort the call."""
        try:
            outcome = send(message, context)
        except HitmeshError as error:
            self._complain(error)
            abort(context, error, _trailers(0))
        try:
            _raise_refused_whole(outcome)
        except HitmeshError as error:
            self._complain(error)
            abort(context, error, _trailers(0))
        context.set_trailing_metadata(_trailers(outcome.accepted))
        return outcome

    def _complain(self, error: HitmeshError) -> None:
        """Log that whole calls, streams or batches are refused.

        At most one log line is written per reason and interval. The log line contains an error's message only if the
        error is a RetryError. The message of any other refusal may quote the client's data.
        """
        self.complaints.add(error.reason, **({"cause": error.message} if isinstance(error, RetryError) else {}))

    def _complain_of_whole(self, ack: collector_pb2.Ack) -> None:
        for issue in ack.issues:
            if not issue.HasField("index") and issue.outcome == collector_pb2.OUTCOME_REJECTED:
                self.complaints.add(collector_pb2.Reason.Name(issue.reason).removeprefix("REASON_"))

    def _send_message(self, message: bytes, context: grpc.ServicerContext) -> BatchOutcome:
        batch, peer = read_unary_frame(message), peer_of(context)
        if batch is None:
            self._gate.charge_units("", peer.address, len(message))
            raise RefusedError(
                "the request does not decode as a SendHitsRequest: send the bytes of that message",
                reason=ErrorReason.DECODE,
                field="batch",
            )
        if self._gate.is_watchful:
            self._gate.check(read_envelope(Frame(batch, peer.key, "", 0)).sender.key, peer.address)
        return self._send(_Sent(batch, context, peer))

    def _send_json(self, sent: bytes, context: grpc.ServicerContext) -> BatchOutcome:
        peer = peer_of(context)
        body = plain_body(sent, peer.encoding)
        key, address = key_in_json(body) or peer.key, peer.address
        self._batcher.quota_gate.check_unread(key, peer.site, peer.origin)
        with self._gate.held(key, address, min(len(body), MAX_JSON_BYTES)):
            try:
                read = batch_of_json(body, lambda named: self._gate.reads_hits(named or peer.key, peer.origin))
            except RefusedError:
                self._gate.charge_units(key, address, min(len(body), MAX_JSON_BYTES))
                raise
            return self._send(_Sent(read.batch, context, peer, key, read, len(body)))

    def _send(self, sent: _Sent) -> BatchOutcome:
        peer = sent.peer
        frame = Frame(sent.batch, peer.key, peer.site, self._clock.now(), sent.faults, sent.json, peer.origin)
        early = self._batcher.quota_gate.refused_early(frame)
        if early is not None:
            return early
        if not self._budget.take(len(sent.batch), sent.left_s):
            self._charge_abandoned(sent)
            raise RetryError("the collector is busy: send the batch again with the same batch_id")
        answer: Future[BatchOutcome] = Future()

        def on_outcome(outcome: BatchOutcome) -> None:
            # The call may be cancelled before the outcome is known. Only `on_outcome`, not the call, therefore returns
            # the batch's bytes to the budget and charges the sender.
            self._budget.give(len(sent.batch))
            if outcome.is_charged:
                self._charge(sent, frame, outcome)
            elif outcome.retry_s is not None and sent.is_over():
                self._charge_abandoned(sent)
            answer.set_result(outcome)

        def let_pass() -> None:
            self._gate.check_again(frame, sent.key, peer.address)

        charged, span = sent.note_charge, active_span()
        self._batcher.submit(Waiting(frame, on_outcome, let_pass, sent.is_over, on_charged=charged, span=span))
        try:
            outcome = answer.result(sent.left_s)
        except FutureTimeout as error:
            raise RetryError("the log did not answer in time: send the batch again with the same batch_id") from error
        if outcome.retry_s is None:  # otherwise the refusal has these headers
            sent.tell_quota(self._batcher.quota_gate.quotas)
        return outcome

    def _charge(self, sent: _Sent, frame: Frame, outcome: BatchOutcome) -> None:
        key = read_envelope(frame).sender.key if sent.key is None else sent.key
        sizes = hit_sizes(sent.batch) if sent.sizes is None else sent.sizes
        self._gate.charge(key, sent.peer.address, sent.size, sizes, outcome)

    def _charge_abandoned(self, sent: _Sent) -> None:
        """Charge the sender for JSON that was read, because the call ended before the batch was admitted."""
        if sent.key is not None:
            self._gate.charge_units(sent.key, sent.peer.address, sent.size)


class _Sent:
    """A batch in a unary call, with the data for charging its sender.

    Args:
        batch: the HitBatch bytes.
        context: the call's gRPC context.
        peer: the caller.
        key: the sender's key, if known without reading the batch.
        read: the result of parsing the JSON body; None for a batch that was sent as protobuf.
        size: the number of bytes that were sent; None = the size of `batch`.
    """

    def __init__(
        self,
        batch: bytes,
        context: grpc.ServicerContext,
        peer: Peer,
        key: str | None = None,
        read: JsonBatch | None = None,
        size: int | None = None,
    ) -> None:
        remaining = context.time_remaining()
        timeout_s = UNARY_TIMEOUT_S if remaining is None else min(remaining, UNARY_TIMEOUT_S)
        self._ends_s = time.monotonic() + timeout_s
        self._context = context
        self._charged: Charged | None = None
        self.batch, self.key, self.peer = batch, key, peer
        self.faults: Mapping[int, FoundFault] = {} if read is None else read.faults
        self.sizes: Sequence[int] | None = None if read is None else read.sizes
        self.json: SentJson | None = None if read is None else read.sent
        self.size = len(batch) if size is None else size

    def note_charge(self, charged: Charged | None) -> None:
        """Keep the charge, which names the quotas of the batch; None for a batch that will be refused."""
        self._charged = charged

    def tell_quota(self, quotas: HitQuotas) -> None:
        """Send the headers `ratelimit-policy` and `ratelimit`, unless the batch was not charged."""
        if self._charged is not None:
            self._context.send_initial_metadata(quotas.headers(self._charged))

    @property
    def left_s(self) -> float:
        """The number of seconds until the call's deadline, or 0 after the deadline."""
        return max(0.0, self._ends_s - time.monotonic())

    def is_over(self) -> bool:
        """Return whether the deadline has passed or the caller has left."""
        return not self.left_s or not self._context.is_active()


def generic_handlers(service: CollectorService) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return the gRPC handlers, which pass raw bytes to the service."""
    json_handler = grpc.unary_unary_rpc_method_handler(
        service.send_json_hits,
        httpbody_pb2.HttpBody.FromString,
        json_pb2.SendJsonHitsResponse.SerializeToString,
    )
    return (_raw_handler(service), grpc.method_handlers_generic_handler(JSON_SERVICE, {"SendJsonHits": json_handler}))


def _raw_handler(service: CollectorService) -> grpc.GenericRpcHandler:
    to_bytes = collector_pb2.StreamHitsResponse.SerializeToString
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "StreamHits": grpc.stream_stream_rpc_method_handler(service.stream_hits, None, to_bytes),
            "SendHits": grpc.unary_unary_rpc_method_handler(
                service.send_hits, None, collector_pb2.SendHitsResponse.SerializeToString
            ),
        },
    )


def _trailers(acknowledged: int) -> tuple[tuple[str, str], ...]:
    return ((ACKNOWLEDGED_TRAILER, str(acknowledged)),)


def _raise_refused_whole(outcome: BatchOutcome) -> None:
    whole = next((issue for issue in outcome.issues if issue.index == -1), None)
    if whole is None:
        return
    if outcome.exceeded is not None:
        raise outcome.exceeded
    if whole.outcome == "RETRY":
        raise RetryError(
            whole.message, reason=ErrorReason(whole.reason), retry_after_s=outcome.retry_s or 1.0, **whole.variables
        )
    if whole.outcome == "REJECTED":
        reason = ErrorReason(whole.reason)
        raise _WHOLE_CALL.get(reason, RefusedError)(
            whole.message, field=whole.field or "batch", reason=reason, **whole.variables
        )
