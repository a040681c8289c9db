"""Limits the concurrent calls of a server. Excess calls are refused at once, in a separate thread.

Health checks have their own threads, so that a server at its limit still answers health checks. Reflection has its own
threads, so that reflection streams cannot delay other calls.

Calls are limited in total and per caller. A service that knows which credentials were accepted
(hitmesh.runtime.known_callers) also limits the calls of each merchant, and the calls without an accepted credential. No
merchant and no client that guesses keys can therefore take the places of other merchants. The check before a call gets
a thread needs no store. A running call whose credential is accepted then counts as a call of its merchant (`recount`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

import grpc

from hitmesh.model.errors import RetryError
from hitmesh.model.reasons import ErrorReason
from hitmesh.runtime.handlers import KINDS, Handler
from hitmesh.runtime.known_callers import ANYONE, KnownCallers
from hitmesh.runtime.logs import Complaints
from hitmesh.runtime.rpc_errors import abort

# If a handler function has an attribute with this name, the attribute's value is a thread pool. gRPC then runs the
# function in this pool instead of the server's pool.
POOL_ATTRIBUTE = "experimental_thread_pool"
# Metadata that name a caller, the most exact first. Nobody has checked these values.
_CALLER_METADATA = ("authorization", "hitmesh-site")
# The last entry is the client's address, which Envoy adds.
_FORWARDED = "x-forwarded-for"
# Part of a pool that must be taken before a single caller is refused.
_CROWDED = 0.75
# A smaller pool has no room to keep free.
_MIN_SHARED_CALLS = 8
# The caller of calls without an accepted credential.
_UNKNOWN: Final = "unknown"


class Refused(NamedTuple):
    """The limit that a call would exceed: why, in a sentence without its end, and the number of the limit."""

    why: str
    limit: int


class _Running(threading.local):
    """The pool and the place of the call that this thread runs."""

    pool: CallPool | None = None
    place: _Place | None = None


_RUNNING: Final = _Running()


class _Place:
    """The place of a call in a pool, with the caller for whom the call is counted."""

    __slots__ = ("caller",)

    def __init__(self, caller: str) -> None:
        self.caller = caller


class CallPool(ThreadPoolExecutor):
    """A thread pool for calls that counts the running and waiting calls, in total and per caller.

    Args:
        workers: number of threads, which is the maximum number of running calls.
        max_calls: maximum number of calls that run or wait. The minimum is `workers`, which is also the default.
        name: prefix of the thread names.
        per_merchant: maximum number of calls of a merchant that run or wait; None = no limit.
        unknown: maximum number of calls without an accepted credential that run or wait; None = no limit.
    """

    def __init__(
        self,
        workers: int,
        max_calls: int | None = None,
        *,
        name: str = "rpc",
        per_merchant: int | None = None,
        unknown: int | None = None,
    ) -> None:
        super().__init__(workers, thread_name_prefix=name)
        self.max_calls = max(workers, max_calls or workers)
        self._per_merchant, self._unknown = per_merchant, unknown
        self._lock = threading.Lock()
        self._calls = 0
        self._of_callers: Counter[str] = Counter()
        self._next_caller = ""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call at once or as soon as a thread is free."""
        with self._lock:
            place, self._next_caller = _Place(self._next_caller), ""
            self._calls += 1
            self._count(place.caller)
        try:
            future = super().submit(self._run, place, fn, *args, **kwargs)
        except BaseException:
            self._gone(place)
            raise
        future.add_done_callback(lambda _: self._gone(place))
        return future

    def expect(self, caller: str) -> None:
        """Name the caller of the next call that is submitted."""
        with self._lock:
            self._next_caller = caller

    def refusal(self, caller: str) -> Refused | None:
        """Return the limit that another call of this caller would exceed, or None if the pool takes the call.

        Args:
            caller: the caller's name; "" for calls that are not counted per caller.
        """
        if self.is_full:
            return Refused(f"the server has {self.max_calls} calls, which is the limit", self.max_calls)
        return self._refusal_of(caller) if caller else None

    def _refusal_of(self, caller: str) -> Refused | None:
        limit = self._unknown if caller == _UNKNOWN else self._per_merchant
        if limit is not None and self._of_callers[caller] >= limit:
            return Refused(f"the server has {limit} calls {_of(caller, caller)}, which is the limit", limit)
        if self.is_crowded_by(caller):
            # A caller may be named by a key, which no message shows.
            half = f"calls {_of(caller, 'the same caller')} have half of them"
            return Refused(f"few of the server's {self.max_calls} places are free, and {half}", self.max_calls)
        return None

    def recount(self, place: _Place, merchant: str) -> Refused | None:
        """Count a running call for a merchant, or return the limit that the merchant's calls would exceed.

        Calls without a caller stay uncounted.
        """
        if place.caller in ("", merchant):
            return None
        with self._lock:
            refused = self._refusal_of(merchant)
            if refused is None:
                self._uncount(place.caller)
                place.caller = merchant
                self._count(merchant)
            return refused

    def is_crowded_by(self, caller: str) -> bool:
        """Whether little room is left, and this caller has half of the pool: the rest is for other callers."""
        if self.max_calls < _MIN_SHARED_CALLS or self._calls < _CROWDED * self.max_calls:
            return False
        return self._of_callers[caller] >= self.max_calls / 2

    @property
    def is_full(self) -> bool:
        """Whether the pool has no room for another call."""
        return self._calls >= self.max_calls

    def _run(self, place: _Place, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        _RUNNING.pool, _RUNNING.place = self, place
        try:
            return fn(*args, **kwargs)
        finally:
            _RUNNING.pool = _RUNNING.place = None

    def _gone(self, place: _Place) -> None:
        with self._lock:
            self._calls -= 1
            self._uncount(place.caller)

    def _count(self, caller: str) -> None:
        if caller:
            self._of_callers[caller] += 1

    def _uncount(self, caller: str) -> None:
        if caller:
            self._of_callers[caller] -= 1
            if not self._of_callers[caller]:
                del self._of_callers[caller]


def recount(merchant: str) -> None:
    """Count the call that this thread runs as a call of a merchant, because its credential was accepted.

    Raises:
        RetryError: the merchant has as many calls as a merchant may have (TOO_MANY_CALLS).
    """
    pool, place = _RUNNING.pool, _RUNNING.place
    refused = None if pool is None or place is None else pool.recount(place, merchant)
    if refused is not None:
        raise _too_many_calls(refused)


class CallLimit(grpc.ServerInterceptor):
    """Refuses calls while the pool that would run them is full (TOO_MANY_CALLS).

    If three quarters of a pool are taken, a caller with half of the pool is refused too, so that a caller that never
    backs off leaves room for others. A caller is the merchant of an accepted credential. In a service without such a
    list, a caller is a client's address, together with the key in the metadata, or with the site if the key is in the
    message. A client at another address that names the same key or site is therefore another caller; calls that stream
    their requests are then not counted by caller.

    A single gRPC thread calls the interceptors and submits the calls to the pool. Between the check of the pool by this
    interceptor and the submission of the checked call, no other call can therefore enter the pool. This interceptor
    must be the server's first interceptor.

    Args:
        pool: the server's pool.
        callers: the callers whose credentials were accepted; None if the service keeps no such list.
        complain_every_s: minimum interval in seconds between two log lines that count refused calls.
    """

    def __init__(self, pool: CallPool, callers: KnownCallers | None = None, *, complain_every_s: float = 10.0) -> None:
        self._pool = pool
        self._callers = callers
        self.complaints = Complaints("calls_refused", complain_every_s)
        self._refusing = ThreadPoolExecutor(1, thread_name_prefix="rpc-refuser")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return the handler from `continuation`, or a handler that refuses the call if the pool is full."""
        handler = continuation(details)
        if handler is None:
            return None
        pool = next((getattr(each, POOL_ATTRIBUTE, None) or self._pool for each in _behaviours(handler)), self._pool)
        if not isinstance(pool, CallPool):
            return handler
        caller = self._caller_of(handler, details)
        refused = pool.refusal(caller)
        if refused is None:
            pool.expect(caller)
            return handler
        self.complaints.add(ErrorReason.TOO_MANY_CALLS, max_calls=refused.limit)
        # The handler that refuses is a stream handler. A unary handler would wait for the request, and meanwhile would
        # block the only thread that refuses calls.
        return grpc.stream_stream_rpc_method_handler(in_pool(self._refusing, partial(_refuse, refused)))

    def _caller_of(self, handler: Handler, details: grpc.HandlerCallDetails) -> str:
        if self._callers is not None:
            return self._callers.merchant_of(details.invocation_metadata or ()) or _UNKNOWN
        return "" if handler.request_streaming else _caller_of(details)


def in_pool(pool: ThreadPoolExecutor, behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Return a handler function that runs in the given pool."""

    def run(*call: Any) -> Any:
        return behaviour(*call)

    setattr(run, POOL_ATTRIBUTE, pool)
    return run


def _of(caller: str, name: str) -> str:
    return "without a known key or token" if caller in (_UNKNOWN, ANYONE) else f"of {name}"


def _caller_of(details: grpc.HandlerCallDetails) -> str:
    found = {str(name): str(value) for name, value in details.invocation_metadata or ()}
    claimed = next((found[name] for name in _CALLER_METADATA if name in found), "")
    return f"{found.get(_FORWARDED, '').rpartition(',')[2].strip()} {claimed}" if claimed else ""


def _behaviours(handler: Handler) -> Iterator[Callable[..., Any]]:
    return (each for each in (getattr(handler, kind) for kind in KINDS) if each is not None)


def _refuse(refused: Refused, _: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
    abort(context, _too_many_calls(refused))


def _too_many_calls(refused: Refused) -> RetryError:
    why = refused.why
    message = f"{why}: call again in a second"
    return RetryError(message, reason=ErrorReason.TOO_MANY_CALLS, retry_after_s=1.0, limit=refused.limit)
