"""Simulated processes whose steps a test interleaves.

Each process is a thread. Only the thread that the test has chosen runs.

A process pauses before each call of a port. A test lets a paused process make a number of calls, or kills the paused
process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar, cast

from hitmesh.ports import StreamStore

T = TypeVar("T")


class Killed(BaseException):
    """Raised in a process that the test kills.

    The class derives from BaseException, so that no `except Exception` in the process catches the error.
    """


class Process:
    """A simulated process that repeats its work.

    The process pauses at the start of each repetition and before each call of a port.

    Args:
        name: name of the process.
        work: takes the process, and returns the function that the process repeats. The repeated function must call
            ports through `view` or `views`.
    """

    def __init__(self, name: str, work: Callable[[Process], Callable[[], object]]) -> None:
        self.name = name
        self.last_call = ""
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._is_killed = False
        self._error: BaseException | None = None
        self._repeat = work(self)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._paused.acquire()

    def move(self, calls: int = 1) -> None:
        """Let the process make `calls` calls of ports, then pause again.

        Raises:
            BaseException: the error that ended the process.
        """
        for _ in range(calls):
            if not self._thread.is_alive():
                return
            self._go.release()
            self._paused.acquire()
            if self._error is not None:
                raise self._error

    def kill(self) -> None:
        """End the process before its next call. A repeated call of this function has no effect."""
        self._is_killed = True
        self._go.release()
        self._thread.join()

    def view(self, port: T) -> T:
        """Return a wrapper of the port in which the process pauses before each call."""
        return cast("T", _Paused(port, self))

    def views(self, stores: T) -> T:
        """Return a copy of `stores` in which each port is wrapped by `view`."""
        ports = {port.name: self.view(getattr(stores, port.name)) for port in fields(cast("Any", stores))}
        return type(stores)(**ports)

    def pause(self, call: str) -> None:
        """Wait until the test lets the process continue. Only the thread of the simulated process calls this function.

        Raises:
            Killed: the test killed the process.
        """
        self._paused.release()
        self._go.acquire()
        if self._is_killed:
            raise Killed
        self.last_call = call

    def _run(self) -> None:
        try:
            while True:
                self.pause("")
                self._repeat()
        except Killed:
            return
        except BaseException as error:
            self._error = error
            self._paused.release()


class _Paused:
    def __init__(self, port: Any, process: Process) -> None:
        self._port, self._process = port, process

    def __call__(self, generation: int, *, is_shadow: bool) -> StreamStore:
        """Return a stream's stores, as OneStream does.

        The process also pauses before each call to a port of the returned stores.
        """
        store: StreamStore = self._port(generation, is_shadow=is_shadow)
        view = self._process.view
        return replace(store, series=view(store.series), states=view(store.states), progress=view(store.progress))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._process.pause(name)
            return found(*arguments, **named)

        return call
