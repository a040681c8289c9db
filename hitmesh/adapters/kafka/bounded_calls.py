"""Run calls of the client library with a deadline, because some calls hang forever despite their own time-outs.

If a call hangs, nothing can interrupt the call. The caller stops waiting and abandons the call together with its
thread. For example, librdkafka's send_offsets_to_transaction can wait forever if the coordinator dies during the call.
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
    """A call did not return in time. The call's effect is unknown, and its client object must not be used again."""


class BoundedCalls:
    """Runs calls one after another in a dedicated thread.

    After CallHangs was raised, the object must not be used again.

    Args:
        name: thread name.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        # The thread is a daemon thread, so that a call that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, within_s: float, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the dedicated thread; return its result, or raise its exception.

        Raises:
            CallHangs: the call did not return within `within_s` seconds.
        """
        done: Future[T] = Future()
        self._queue.put((function, arguments, done))
        if wait([done], within_s).not_done:
            self.end()
            raise CallHangs(f"{getattr(function, '__name__', function)} did not return within {within_s:g} s")
        return done.result()

    def end(self) -> None:
        """Let the thread end when its current call has returned. A second call changes nothing."""
        self._queue.put(_END)

    def _run(self) -> None:
        while (work := self._queue.get()) is not _END:
            function, arguments, done = work
            try:
                done.set_result(function(*arguments))
            except BaseException as error:  # `call` raises this error again
                done.set_exception(error)
