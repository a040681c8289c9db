"""Runs unary calls: identifies the caller, checks the caller's rights, and passes the caller to the call's function."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message
from google.type.date_pb2 import Date

from hitmesh.access.callers import Caller, TokenReader, caller_of
from hitmesh.access.checks import authorise
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.dates import date_text_of
from hitmesh.model.errors import HitmeshError, StoreCorrupt, Unauthenticated, Unavailable
from hitmesh.ports import Clock, SiteDirectory
from hitmesh.runtime.call_checkpoints import checkpoint_of
from hitmesh.runtime.call_limits import recount
from hitmesh.runtime.known_callers import KnownCallers
from hitmesh.runtime.logs import Seldom, bound_to, logger
from hitmesh.runtime.rpc_errors import translating
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.telemetry.kinds import Counter

# Minimum interval in seconds between two log lines about the same damage.
DAMAGE_EVERY_S: Final = 10.0
# A longer text names no site, so log lines leave the text out.
_MAX_SITE_CHARS: Final = 200

_DATE_FIELDS: Final = ("first_date", "last_date", "first_utc_date", "last_utc_date", "last")

AnswerT = TypeVar("AnswerT")
ResponseT = TypeVar("ResponseT", bound=Message)
Call = Callable[[Caller | None, Checkpoint], AnswerT]


class Calls:
    """Runs a service's calls. Counts calls that fail because of a store, and logs damaged values (StoreCorrupt).

    Args:
        directory: source of the callers' keys.
        metrics: the metrics of the process.
        store_errors: counter for the store errors of this service.
        max_s: time limit of a call in seconds; a call that takes longer is abandoned at its next checkpoint.
        open_reads: whether every caller may read (hitmesh.access.rights).
        tokens: reads the tokens of callers; None if tokens are refused.
        clock: judges whether a key has expired.
        callers: gets each accepted credential, and forgets a credential that is refused.
    """

    def __init__(
        self,
        directory: SiteDirectory,
        metrics: Metrics,
        store_errors: Counter[...],
        max_s: float,
        *,
        open_reads: bool,
        tokens: TokenReader | None = None,
        clock: Clock,
        callers: KnownCallers | None = None,
    ) -> None:
        self._callers = callers
        self._directory = directory
        self._metrics = metrics
        self._store_errors = store_errors
        self._max_s = max_s
        self._open_reads = open_reads
        self._tokens = tokens
        self._clock = clock
        self._seldom = Seldom(DAMAGE_EVERY_S)

    def run(self, call: Call[ResponseT], request: Message, context: grpc.ServicerContext) -> ResponseT:
        """Return the response of a unary call; an error ends the call with the gRPC status of the error."""
        return translating(partial(self.answer, call))(request, context)

    def answer(self, call: Call[AnswerT], request: Message, context: grpc.ServicerContext) -> AnswerT:
        """Call `call` for an authorised caller, with a checkpoint, and return the result of `call`.

        Raises:
            HitmeshError: the caller's key or token is not valid, the caller may not make this call, the caller has
                cancelled the call, the merchant has too many calls, or the function failed.
        """
        checkpoint = checkpoint_of(context, self._max_s)
        checkpoint()  # the caller may have cancelled while the call waited for a thread
        try:
            caller = self._caller_of(context)
            authorise(caller, request, self._open_reads)
            site = str(getattr(request, "site", ""))
            with bound_to(site=site) if 0 < len(site) <= _MAX_SITE_CHARS else nullcontext():
                return call(caller, checkpoint)
        except (StoreCorrupt, Unavailable) as error:
            self._note_store_error(error, request)
            raise

    def _caller_of(self, context: grpc.ServicerContext) -> Caller | None:
        metadata = context.invocation_metadata()
        try:
            caller = caller_of(self._directory, metadata, self._tokens, now=self._clock.now())
        except Unauthenticated:
            if self._callers is not None:
                self._callers.forget(metadata)
            raise
        if caller is not None and self._callers is not None:
            self._callers.note(metadata, caller.merchant)
            recount(caller.merchant)
        return caller

    def _note_store_error(self, error: HitmeshError, request: Message) -> None:
        """Count a store error, and for StoreCorrupt log the request, at a limited rate."""
        self._metrics.add(self._store_errors, 1, reason=error.reason)
        calls = self._seldom.due(error.message) if isinstance(error, StoreCorrupt) else 0
        if calls:
            logger().error(
                "store_damaged",
                damage=error.message,
                site=str(getattr(request, "site", "")),
                **_dates_in(request),
                request=request.DESCRIPTOR.name,
                calls=calls,
            )


def _dates_in(request: Message) -> dict[str, str]:
    """Return the dates in a request as text, keyed by field name."""
    return {
        field.name: date_text_of(value) if isinstance(value, Date) else str(value)
        for field, value in request.ListFields()
        if field.name in _DATE_FIELDS
    }
