"""The settler's loop runs settlement passes and reprocessing portions in turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from hitmesh.model.errors import RetryError
from hitmesh.runtime.logs import logger
from hitmesh.runtime.telemetry import Metrics
from hitmesh.runtime.vitals import Pulse
from processor.stream.metering import count_store_error


def run_in_turns(
    passes: Sequence[Callable[[], int]],
    stop: threading.Event,
    metrics: Metrics,
    *,
    pause_s: float = 0.5,
    pulse: Pulse | None = None,
) -> None:
    """Run all passes in turns until `stop` is set. After a retryable error, wait at least for its `retry_after_s`.

    `pulse` gets a report before each pass, and after each turn or error.

    If a pass fails, the turn ends, and the turn's remaining passes do not run.
    """
    pulse = pulse or Pulse("the settler")
    while not stop.is_set():
        wait_s = pause_s
        try:
            for run_once in passes:
                pulse.turn()
                run_once()
            pulse.work()
        except RetryError as error:
            logger().warning("settler_waits", reason=error.reason, message=error.message)
            pulse.fail(error)
            count_store_error(metrics, error)
            wait_s = max(pause_s, error.retry_after_s)
        stop.wait(wait_s)
