"""Calls of a client library that may never come back, whatever time-out they are given.

Decides that such a call is left behind with its thread: it can neither be ended nor be waited for. librdkafka's
send_offsets_to_transaction waits for good for a coordinator that died at the wrong moment.
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
    """A call did not come back; what it did is not known, and what it was made on must not be used any more."""


class BoundedCalls:
    """Makes calls in a thread of its own, one after the other. After CallHangs it takes no more.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        # A call that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, within_s: float, function: Callable[..., T], *arguments: Any) -> T:
        """Returns what the function does, or raises what it raises.

        Raises:
            CallHangs: it did not come back in time.
        """
        done: Future[T] = Future()
        self._queue.put((function, arguments, done))
        if wait([done], within_s).not_done:
            self.end()
            raise CallHangs(f"{getattr(function, '__name__', function)} did not come back in {within_s:g} s")
        return done.result()

    def end(self) -> None:
        """Lets the thread end, once what it does has come back. A second call changes nothing."""
        self._queue.put(_END)

    def _run(self) -> None:
        while (work := self._queue.get()) is not _END:
            function, arguments, done = work
            try:
                done.set_result(function(*arguments))
            except BaseException as error:  # told to whoever asked
                done.set_exception(error)
