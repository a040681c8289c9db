"""The gRPC face of the collector: StreamHits and SendHits over raw bytes (contract, items 1-6).

Messages arrive unparsed, so that one frame that does not decode costs nothing else. Decides how many streams may be
open and how a refused batch ends a unary call; leaves hits to admission.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

import grpc
from google.api import httpbody_pb2

from collector.admission import Frame
from collector.admission.envelopes import FoundFault, read_envelope
from collector.batcher import MicroBatcher, Waiting
from collector.budget import ByteBudget
from collector.frames import read_unary_frame
from collector.gate import Gate, key_in_json
from collector.json_batches import MAX_JSON_BYTES, batch_of_json, plain_body
from collector.metering import CollectorMeter
from collector.outcome import WHOLE_BATCH, BatchOutcome, issue_messages, receipt_messages
from collector.refusal_budget import RefusalBudget
from collector.settings import CollectorSettings
from collector.slots import KEYLESS_STREAM, SlotLimits, StreamSlots, too_many_streams
from collector.stream import Age, HitStream, start_reader
from hitmesh.collector.v1 import collector_pb2, json_pb2
from hitmesh.errors import HitmeshError, NotFound, RefusedError, RetryError, Unauthenticated
from hitmesh.logs import Complaints
from hitmesh.ports import Clock
from hitmesh.rpc_errors import abort
from hitmesh.telemetry import Metrics, unmeasured
from hitmesh.telemetry.registry import COLLECTOR_INFLIGHT_BYTES, COLLECTOR_OPEN_STREAMS

SERVICE = "hitmesh.collector.v1.CollectorService"
JSON_SERVICE = "hitmesh.collector.v1.JsonCollectorService"
SITE_METADATA = "hitmesh-site"
# Trailer of every call: hits acknowledged in it. Envoy adds them up per door.
ACKNOWLEDGED_TRAILER = "hitmesh-acknowledged-hits"
UNARY_TIMEOUT_S = 10.0
# Beyond this a message breaks its call; up to it a batch that is too large is itemised.
MAX_MESSAGE_BYTES = 8 << 20

_WHOLE_CALL: dict[str, type[RefusedError]] = {
    "UNKNOWN_KEY": Unauthenticated,
    "KEY_REVOKED": Unauthenticated,
    "UNKNOWN_SITE": NotFound,
}


class CollectorService:
    """Handlers of CollectorService; `drain` ends the streams."""

    def __init__(
        self, batcher: MicroBatcher, clock: Clock, settings: CollectorSettings, metrics: Metrics | None = None
    ) -> None:
        self._batcher = batcher
        self._clock = clock
        self._settings = settings
        self._budget = ByteBudget(settings.inflight_bytes)
        self.complaints = Complaints("calls_refused", settings.complain_every_s)
        self._gate = Gate(batcher.directory, RefusalBudget(settings.refused_bytes_s))
        self._streams: StreamSlots[HitStream] = StreamSlots(
            SlotLimits(
                settings.max_streams,
                settings.max_streams_per_key,
                settings.max_keyless_streams,
                settings.max_unproven_streams,
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
        """Handles one stream."""
        acknowledged = 0
        stream = HitStream(
            site_header=_site_header(context),
            address=_address(context),
            gate=self._gate,
            credit_bytes=self._settings.stream_credit_bytes,
            batcher=self._batcher,
            budget=self._budget,
            clock=self._clock,
            # With jitter: streams that were opened together, after a restart, should not all move at once.
            age=Age(self._settings.max_stream_age_s * random.uniform(0.8, 1.0), self._settings.drain_s),
        )
        try:
            self._enter(stream)
            context.add_callback(stream.end)
            start_reader(stream, messages)
            self._open(stream)
            for response in stream.responses():
                acknowledged += response.ack.accepted_count
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
            oldest.make_room(too_many_streams("too many streams that have shown no key", self._settings.max_streams))

    def _open(self, stream: HitStream) -> None:
        """Wait for the stream's `open` and take it, or raise what ends the stream."""
        opened = stream.opened(self._settings.open_within_s)
        if opened.ingest_key:
            if self._gate.is_watchful:
                self._gate.check(opened.ingest_key, stream.address)
            self._gate.require(opened.ingest_key)
            self._prove(stream, opened.ingest_key)
        prove_within_s = self._settings.prove_within_s
        stream.accept(opened, prove_within_s=prove_within_s, proved=lambda: self._prove(stream, KEYLESS_STREAM))

    def _prove(self, stream: HitStream, key: str) -> None:
        with self._no_streams:
            self._streams.prove(stream, key)

    def send_hits(self, message: bytes, context: grpc.ServicerContext) -> collector_pb2.SendHitsResponse:
        """Handles one unary call."""
        outcome = self._outcome(self._send_message, message, context)
        return collector_pb2.SendHitsResponse(
            issues=issue_messages(0, outcome),
            receipts=receipt_messages(0, outcome),
            accepted_count=outcome.accepted,
            rejected_count=outcome.rejected,
        )

    def send_json_hits(
        self, body: httpbody_pb2.HttpBody, context: grpc.ServicerContext
    ) -> json_pb2.SendJsonHitsResponse:
        """Handles one unary call whose body is JSON."""
        outcome = self._outcome(self._send_json, body.data, context)
        return json_pb2.SendJsonHitsResponse(
            issues=issue_messages(0, outcome),
            receipts=receipt_messages(0, outcome),
            accepted_count=outcome.accepted,
            rejected_count=outcome.rejected,
        )

    def drain(self) -> None:
        """Sends GoAway to every stream with jitter, waits for what is in flight, then ends what is left."""
        drain_s = self._settings.drain_s
        with self._no_streams:
            for stream in self._streams.streams:
                stream.go_away(drain_s * random.uniform(0.5, 1.0), "the collector stops")
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
        """Returns what became of a unary call's batch, or ends the call when it was refused whole."""
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
        """Log that calls, streams and batches are refused whole: a line in a while per reason, without what was sent.

        What a refusal says may have something of it, so only the caller is told.
        """
        self.complaints.add(error.reason, **({"cause": error.message} if isinstance(error, RetryError) else {}))

    def _complain_of_whole(self, ack: collector_pb2.Ack) -> None:
        for issue in ack.issues:
            if issue.index == WHOLE_BATCH and issue.outcome == collector_pb2.OUTCOME_REJECTED:
                self.complaints.add(collector_pb2.Reason.Name(issue.reason).removeprefix("REASON_"))

    def _send_message(self, message: bytes, context: grpc.ServicerContext) -> BatchOutcome:
        batch = read_unary_frame(message)
        if batch is None:
            self._gate.charge_units("", _address(context), len(message))
            raise RefusedError("the request is not a SendHitsRequest: check the bytes", reason="DECODE", field="batch")
        if self._gate.is_watchful:
            self._gate.check(read_envelope(Frame(batch, "", "", 0)).sender.key, _address(context))
        return self._send(batch, context)

    def _send_json(self, sent: bytes, context: grpc.ServicerContext) -> BatchOutcome:
        body = plain_body(sent, _metadata(context, "content-encoding"))
        key, address = key_in_json(body), _address(context)
        if self._gate.is_watchful:
            self._gate.check(key, address)
        try:
            batch, faults = batch_of_json(body, self._gate.is_known)
        except RefusedError:
            self._gate.charge_units(key, address, min(len(body), MAX_JSON_BYTES))
            raise
        return self._send(batch, context, key, faults)

    def _send(
        self,
        batch: bytes,
        context: grpc.ServicerContext,
        charged_key: str | None = None,
        faults: Mapping[int, FoundFault] | None = None,
    ) -> BatchOutcome:
        remaining = context.time_remaining()
        timeout_s = UNARY_TIMEOUT_S if remaining is None else min(remaining, UNARY_TIMEOUT_S)
        if not self._budget.take(len(batch), timeout_s):
            raise RetryError("the collector is busy: send the batch again with the same batch_id")
        told: Future[BatchOutcome] = Future()

        def tell(outcome: BatchOutcome) -> None:
            self._budget.give(len(batch))
            told.set_result(outcome)

        frame = Frame(batch, "", _site_header(context), self._clock.now(), faults or {})
        address = _address(context)
        self._batcher.submit(Waiting(frame, tell, lambda: self._gate.check_again(frame, charged_key, address)))
        try:
            outcome = told.result(timeout_s)
        except FutureTimeout as error:
            raise RetryError("the log did not answer in time: send the batch again with the same batch_id") from error
        if outcome.is_charged:
            key = read_envelope(frame).sender.key if charged_key is None else charged_key
            self._gate.charge(key, address, len(batch), outcome)
        return outcome


def generic_handlers(service: CollectorService) -> tuple[grpc.GenericRpcHandler, ...]:
    """Returns the handlers that pass raw bytes to the service."""
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


def _site_header(context: grpc.ServicerContext) -> str:
    return _metadata(context, SITE_METADATA)


def _metadata(context: grpc.ServicerContext, wanted: str) -> str:
    for name, value in context.invocation_metadata():
        if name == wanted:
            return value if isinstance(value, str) else ""
    return ""


def _address(context: grpc.ServicerContext) -> str:
    """Return the client's address: the last that the door has added, else that of the connection."""
    forwarded = _metadata(context, "x-forwarded-for").rpartition(",")[2].strip()
    return forwarded or str(context.peer()).rpartition(":")[0]


def _raise_refused_whole(outcome: BatchOutcome) -> None:
    whole = next((issue for issue in outcome.issues if issue.index == -1), None)
    if whole is None:
        return
    if whole.outcome == "RETRY":
        raise RetryError(whole.message, reason=whole.reason, retry_after_s=outcome.retry_s or 1.0)
    if whole.outcome == "REJECTED":
        kind = _WHOLE_CALL.get(whole.reason, RefusedError)
        raise kind(whole.message, field=whole.field or "batch", reason=whole.reason)
