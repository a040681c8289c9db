"""Bounds the calls that a server has at once: more are refused, at once, and cost no thread of those that run.

Health checks have threads of their own, so a server that is full still answers them; reflection has a few, so that
its streams cannot keep calls waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

import grpc

from hitmesh.model.errors import RetryError
from hitmesh.runtime.logs import Complaints
from hitmesh.runtime.rpc_errors import abort
from hitmesh.runtime.telemetry.rpc import Handler

# gRPC runs a handler whose function has this attribute in that pool instead of the server's.
POOL_ATTRIBUTE = "experimental_thread_pool"
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class CallPool(ThreadPoolExecutor):
    """Threads for calls, and how many calls they have.

    Args:
        workers: calls that run at once.
        max_calls: calls that run or wait; at least `workers`.
        name: of the threads.
    """

    def __init__(self, workers: int, max_calls: int | None = None, *, name: str = "rpc") -> None:
        super().__init__(workers, thread_name_prefix=name)
        self.max_calls = max(workers, max_calls or workers)
        self._lock = threading.Lock()
        self._calls = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call, now or when a thread is free."""
        with self._lock:
            self._calls += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except BaseException:
            self._gone()
            raise
        future.add_done_callback(self._gone)
        return future

    @property
    def is_full(self) -> bool:
        """Whether one more call would be too many."""
        return self._calls >= self.max_calls

    def _gone(self, _: object = None) -> None:
        with self._lock:
            self._calls -= 1


class CallLimit(grpc.ServerInterceptor):
    """Refuses calls while the pool that would run them is full (TOO_MANY_CALLS).

    gRPC asks for a handler right before it hands the call to the pool, in the same thread, so no other call comes
    between. The first of a server's interceptors.

    Args:
        pool: of the server.
        complain_every_s: pause between two lines in the log that say how many were refused.
    """

    def __init__(self, pool: CallPool, *, complain_every_s: float = 10.0) -> None:
        self._pool = pool
        self.complaints = Complaints("calls_refused", complain_every_s)
        self._refusing = ThreadPoolExecutor(1, thread_name_prefix="rpc-refuser")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return the given handler, or one that refuses the call."""
        handler = continuation(details)
        if handler is None:
            return None
        pool = next((getattr(each, POOL_ATTRIBUTE, None) or self._pool for each in _behaviours(handler)), self._pool)
        if not isinstance(pool, CallPool) or not pool.is_full:
            return handler
        self.complaints.add("TOO_MANY_CALLS", max_calls=pool.max_calls)
        # As a stream, since a call that waits for its request would hold the thread.
        return grpc.stream_stream_rpc_method_handler(in_pool(self._refusing, lambda *call: _refuse(pool, *call)))


def in_pool(pool: ThreadPoolExecutor, behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Return a handler's function that runs in a pool of its own."""

    def run(*call: Any) -> Any:
        return behaviour(*call)

    setattr(run, POOL_ATTRIBUTE, pool)
    return run


def _behaviours(handler: Handler) -> Iterator[Callable[..., Any]]:
    return (each for each in (getattr(handler, kind) for kind in _KINDS) if each is not None)


def _refuse(pool: CallPool, _: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
    message = f"the server has {pool.max_calls} calls, which is its limit: call again in a second"
    abort(context, RetryError(message, reason="TOO_MANY_CALLS", retry_after_s=1.0))
