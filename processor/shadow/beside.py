"""The thread that runs the shadow stream, ends shadows that nobody has ended, and removes streams that have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from hitmesh.model.errors import Fenced, HitmeshError, RetryError
from hitmesh.model.streams import Shadow, ShadowState, Stream, StreamTable
from hitmesh.ports import Clock
from hitmesh.runtime.logs import logger, traceback_of
from processor.any_error import ANY_ERROR
from processor.shadow.cleaning import CleaningStores, forget_followers, remove_gone
from processor.shadow.until import LOOK_EVERY_S, Until
from processor.stream.runner import Runner


@dataclass(frozen=True, slots=True)
class BesidePace:
    """The intervals of the thread for shadow streams.

    Attributes:
        keep_gone_ms: when new requests no longer read a stream, the stream's values remain readable for this time.
        keep_shadow_ms: if a shadow's state has not changed for this time, the shadow ends. If reports read the shadow,
            it is adopted; otherwise, it is stopped.
        retry_after_s: after this many seconds, a shadow that failed begins again.
        look_every_s: the seconds between two reads of the stream table.
    """

    keep_gone_ms: int
    keep_shadow_ms: int
    retry_after_s: float = 60.0
    look_every_s: float = LOOK_EVERY_S


MakeRunner = Callable[[Stream], Runner]
"""Returns the shadow's runner after the shadow's state has been recovered."""


class Beside:
    """Runs the shadow that the stream table names, in parallel to the live stream.

    An instance must be used by one thread only. If the shadow raises an error, the process and the live stream
    continue, and the shadow begins again later.

    Args:
        stores: the stores of all streams.
        make_runner: creates the shadow's runner.
        setting: the logic version's name in the processor's settings.
        clock: decides when a stream is removed.
        pace: the intervals.
    """

    def __init__(
        self, stores: CleaningStores, make_runner: MakeRunner, setting: str, clock: Clock, pace: BesidePace
    ) -> None:
        self._stores = stores
        self._make_runner = make_runner
        self._setting = setting
        self._clock = clock
        self._pace = pace
        self._forgot = False

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set."""
        while not stop.is_set():
            wait_s = self._pace.look_every_s
            try:
                self.run_once(stop)
            except RetryError as error:
                logger().warning("shadow_waits", reason=error.reason, message=error.message)
                wait_s = max(wait_s, error.retry_after_s)
            except Fenced as error:
                logger().info("shadow_fenced", message=error.message)
            except ANY_ERROR as error:
                cause = error.message if isinstance(error, HitmeshError) else str(error)
                logger().error("shadow_failed", message=cause, traceback=traceback_of(error))
                wait_s = self._pace.retry_after_s
            stop.wait(wait_s)

    def run_once(self, stop: threading.Event) -> None:
        """Run the shadow until the stream table no longer names the shadow.

        If there is no shadow, remove the values of streams that are no longer read.
        """
        table = self._stores.streams.read()
        if table.shadow is None:
            remove_gone(self._stores, self._clock.now() - self._pace.keep_gone_ms)
            if not self._forgot:
                forget_followers(self._stores)
                self._forgot = True
            return
        self._forgot = False
        stream = table.shadow.stream
        if not stream.replaces:
            self._stores.streams.replace(table.replacing(table.live_logic(self._setting)))
            return
        runner = self._make_runner(stream)
        try:
            runner.run(Until(stop, lambda: self._is_over(stream), self._pace.look_every_s))
        finally:
            runner.close()

    def _is_over(self, stream: Stream) -> bool:
        table = self._stores.streams.read()
        if table.shadow is None or table.shadow.stream.generation != stream.generation:
            return True
        self._end_if_forgotten(table, table.shadow)
        return False

    def _end_if_forgotten(self, table: StreamTable, shadow: Shadow) -> None:
        if self._clock.now() - shadow.changed_at <= self._pace.keep_shadow_ms:
            return
        if shadow.state is ShadowState.RUNNING:
            logger().warning("shadow_stopped", message="the shadow stream was not published in time and is stopped")
            self._stores.streams.replace(table.ended(self._clock.now()))
        elif shadow.state is ShadowState.PUBLISHED:
            logger().warning(
                "shadow_taken_over",
                message="the published shadow stream was not rolled back in time and becomes the live stream",
            )
            self._stores.streams.replace(table.moved(ShadowState.ADOPTING, self._clock.now()))
