"""Limits the concurrent calls of a server. Excess calls are refused at once, in a separate thread.

Health checks have their own threads, so that a server at its limit still answers health checks. Reflection has its own
threads, so that reflection streams cannot delay other calls.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

import grpc

from hitmesh.model.errors import RetryError
from hitmesh.model.reasons import ErrorReason
from hitmesh.runtime.logs import Complaints
from hitmesh.runtime.rpc_errors import abort
from hitmesh.runtime.telemetry.rpc import Handler

# If a handler function has an attribute with this name, the attribute's value is a thread pool. gRPC then runs the
# function in this pool instead of the server's pool.
POOL_ATTRIBUTE = "experimental_thread_pool"
# Metadata that name a caller, the most exact first.
_CALLER_METADATA = ("authorization", "hitmesh-site")
# Part of a pool that must be taken before a single caller is refused.
_CROWDED = 0.75
# A smaller pool has no room to keep free.
_MIN_SHARED_CALLS = 8
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class CallPool(ThreadPoolExecutor):
    """A thread pool for calls that counts the running and waiting calls.

    Args:
        workers: number of threads, which is the maximum number of running calls.
        max_calls: maximum number of calls that run or wait. The minimum is `workers`, which is also the default.
        name: prefix of the thread names.
    """

    def __init__(self, workers: int, max_calls: int | None = None, *, name: str = "rpc") -> None:
        super().__init__(workers, thread_name_prefix=name)
        self.max_calls = max(workers, max_calls or workers)
        self._lock = threading.Lock()
        self._calls = 0
        self._of_callers: Counter[str] = Counter()
        self._next_caller = ""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call at once or as soon as a thread is free."""
        with self._lock:
            caller, self._next_caller = self._next_caller, ""
            self._calls += 1
            if caller:
                self._of_callers[caller] += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except BaseException:
            self._gone(caller)
            raise
        future.add_done_callback(lambda _: self._gone(caller))
        return future

    def expect(self, caller: str) -> None:
        """Name the caller of the next call that is submitted."""
        with self._lock:
            self._next_caller = caller

    def is_crowded_by(self, caller: str) -> bool:
        """Whether little room is left, and this caller has half of the pool: the rest is for other callers."""
        if self.max_calls < _MIN_SHARED_CALLS or self._calls < _CROWDED * self.max_calls:
            return False
        return self._of_callers[caller] >= self.max_calls / 2

    @property
    def is_full(self) -> bool:
        """Whether the pool has no room for another call."""
        return self._calls >= self.max_calls

    def _gone(self, caller: str) -> None:
        with self._lock:
            self._calls -= 1
            if caller:
                self._of_callers[caller] -= 1
                if not self._of_callers[caller]:
                    del self._of_callers[caller]


class CallLimit(grpc.ServerInterceptor):
    """Refuses calls while the pool that would run them is full (TOO_MANY_CALLS).

    If three quarters of a pool are taken, a caller with half of the pool is refused too, so that a caller that never
    backs off leaves room for others. A caller is the key in the metadata, or the site if the key is in the message.
    Streams are not counted by caller.

    A single gRPC thread calls the interceptors and submits the calls to the pool. Between the check of the pool by this
    interceptor and the submission of the checked call, no other call can therefore enter the pool. This interceptor
    must be the server's first interceptor.

    Args:
        pool: the server's pool.
        complain_every_s: minimum interval in seconds between two log lines that count refused calls.
    """

    def __init__(self, pool: CallPool, *, complain_every_s: float = 10.0) -> None:
        self._pool = pool
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
        caller = "" if handler.request_streaming else _caller_of(details)
        if not pool.is_full and not (caller and pool.is_crowded_by(caller)):
            pool.expect(caller)
            return handler
        self.complaints.add(ErrorReason.TOO_MANY_CALLS, max_calls=pool.max_calls)
        # The handler that refuses is a stream handler. A unary handler would wait for the request, and meanwhile would
        # block the only thread that refuses calls.
        return grpc.stream_stream_rpc_method_handler(in_pool(self._refusing, lambda *call: _refuse(pool, *call)))


def in_pool(pool: ThreadPoolExecutor, behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Return a handler function that runs in the given pool."""

    def run(*call: Any) -> Any:
        return behaviour(*call)

    setattr(run, POOL_ATTRIBUTE, pool)
    return run


def _caller_of(details: grpc.HandlerCallDetails) -> str:
    found = {name: value for name, value in details.invocation_metadata or () if name in _CALLER_METADATA}
    return next((str(found[name]) for name in _CALLER_METADATA if name in found), "")


def _behaviours(handler: Handler) -> Iterator[Callable[..., Any]]:
    return (each for each in (getattr(handler, kind) for kind in _KINDS) if each is not None)


def _refuse(pool: CallPool, _: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
    message = f"the server is at the limit of {pool.max_calls} calls: call again in a second"
    abort(context, RetryError(message, reason=ErrorReason.TOO_MANY_CALLS, retry_after_s=1.0, limit=pool.max_calls))
