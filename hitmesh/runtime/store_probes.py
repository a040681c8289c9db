"""Probes a process's stores at intervals, each store in a thread of its own.

A check of health never waits for a store: the check only reads when the store has answered last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from hitmesh.runtime.vitals import Pulse, Vitals

EVERY_S: Final = 1.0
END_S: Final = 1.0

Probe = Callable[[], None]
"""Returns when the store has answered. Raises any error if the store cannot take work."""


class StoreProbes:
    """The threads that probe between `start` and `stop`, also as a context manager.

    Args:
        probes: a function for each store, by the store's name in causes.
        vitals: gets the answers.
        every_s: seconds between an answer and the next probe.
    """

    def __init__(self, probes: Mapping[str, Probe], vitals: Vitals, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._stop = threading.Event()
        # The threads are daemons, because a probe of a store that is away may never return.
        self._threads = [
            threading.Thread(target=self._run, args=(probe, vitals.store(name)), name=f"probe {name}", daemon=True)
            for name, probe in probes.items()
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the threads, which probe at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads. A thread whose store does not answer ends with the process."""
        self._stop.set()
        for thread in self._threads:
            thread.join(END_S)

    def _run(self, probe: Probe, pulse: Pulse) -> None:
        while not self._stop.is_set():
            try:
                probe()
                pulse.work()
            except BaseException as error:  # the thread must go on after every error, also after a Rust panic
                pulse.fail(error)
            self._stop.wait(self._every_s)
