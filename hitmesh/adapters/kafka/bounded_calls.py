"""Run calls of the client library with a deadline, because some calls hang forever despite their own time-outs.

A hanging call is abandoned together with its thread, because the call can be neither interrupted nor awaited. For
example, librdkafka's send_offsets_to_transaction can wait forever for a coordinator that died at the wrong moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

_Work = tuple[Callable[..., Any], tuple[Any, ...], Future[Any]]
_END: Final = None


class CallHangs(Exception):
    """A call did not return in time; its effect is unknown, and its client object must not be used again."""


class BoundedCalls:
    """Run calls one after another in a dedicated thread. Unusable after CallHangs.

    Args:
        name: thread name.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        # A daemon thread, so that a hanging call does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, within_s: float, function: Callable[..., T], *arguments: Any) -> T:
        """Return the function's result, or raise its exception.

        Raises:
            CallHangs: the call did not return in time.
        """
        done: Future[T] = Future()
        self._queue.put((function, arguments, done))
        if wait([done], within_s).not_done:
            self.end()
            raise CallHangs(f"{getattr(function, '__name__', function)} did not return within {within_s:g} s")
        return done.result()

    def end(self) -> None:
        """End the thread after its current call. A second call changes nothing."""
        self._queue.put(_END)

    def _run(self) -> None:
        while (work := self._queue.get()) is not _END:
            function, arguments, done = work
            try:
                done.set_result(function(*arguments))
            except BaseException as error:  # raised again in the caller
                done.set_exception(error)
