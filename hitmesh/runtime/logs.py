"""Writes log lines to stderr, as key=value on a terminal, otherwise as JSON. No line contains payloads or secrets.

The lines of every thread name the service and the node. Lines that are written inside `bound_to` also name the site or
the partition. Repeated lines are dropped and counted.

A line that cannot be written is lost silently, because a full disk or a stalled reader behind stderr must not stop the
service.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import structlog

from hitmesh.runtime.log_lines import LineWriter, RepeatLimit, with_facts, without_secrets

_REPEATED: Final = RepeatLimit()


def configure(level: str, service: str, node: str) -> None:
    """Set up logging for the process; a composition root must call this function once."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer(default=str)
    )
    writer = LineWriter(sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            with_facts({"service": service, "node": node}),
            structlog.processors.add_log_level,
            _REPEATED,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            without_secrets,
            renderer,
        ],
        wrapper_class=_never_raising(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )


def bound_to(**facts: str | int) -> AbstractContextManager[None]:
    """Return a context in which all lines of this thread have these facts, such as a site or a partition."""
    return structlog.contextvars.bound_contextvars(**facts)


def write_suppressed(*, everything: bool = False) -> None:
    """Write a line for each kind of dropped lines whose pause is over; call regularly, and once at the end.

    Args:
        everything: also write a line for each kind whose pause is not over.
    """
    for level, event, fields, count in _REPEATED.overdue(everything=everything):
        logger().log(logging.getLevelNamesMapping()[level.upper()], event, **fields, suppressed=count)


def _never_raising(level: int) -> type[structlog.typing.FilteringBoundLogger]:
    """Return a logger class that raises no error for a line that cannot be rendered or written."""
    filtering: Any = structlog.make_filtering_bound_logger(level)

    class NeverRaising(filtering):  # type: ignore[misc]  # structlog creates the base class at run time
        def _proxy_to_logger(self, *line: Any, **values: Any) -> Any:
            try:
                return super()._proxy_to_logger(*line, **values)
            except Exception:
                return None

    return NeverRaising


def logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger of the process. Event names are stable, for example `logger().info("stopped")`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound


def traceback_of(error: BaseException, frames: int = 8) -> str:
    """Return the error's innermost frames as text.

    Variable values are left out, because they may contain visitors' data.
    """
    return "".join(traceback.format_exception(error, limit=-frames))


class Seldom:
    """A thread-safe rate limit for log lines.

    A minimum time must pass between two lines of the same kind.

    Args:
        pause_s: minimum time in seconds between two lines of a kind.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(self, pause_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._pause_s = pause_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._due_s: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def due(self, kind: str, count: int = 1) -> int:
        """Add `count` events of a kind.

        Returns the number of unlogged events, or 0 if no line may be written yet.

        The result includes the `count` new events. If the result is not 0, the caller must write a log line with the
        result.
        """
        with self._lock:
            total = self._unsaid.get(kind, 0) + count
            now_s = self._now_s()
            if now_s < self._due_s.get(kind, now_s):
                self._unsaid[kind] = total
                return 0
            self._due_s[kind] = now_s + self._pause_s
            self._unsaid[kind] = 0
            return total

    def overdue(self, *, held_back: bool = False) -> dict[str, int]:
        """Return the number of unlogged events for each kind whose pause is over.

        If `held_back` is true, the result also has the kinds whose pause is not over. The caller must write a log line
        for each kind in the result.
        """
        now_s = self._now_s()
        with self._lock:
            kinds = [kind for kind, count in self._unsaid.items() if count]
        due = kinds if held_back else [kind for kind in kinds if now_s >= self._due_s[kind]]
        with self._lock:
            for kind in due:
                self._due_s[kind] = now_s
        return {kind: count for kind in due if (count := self.due(kind, 0))}


class Complaints:
    """Writes rate-limited warnings.

    Each line has a reason, and the number of calls of `add` since the last line with this reason.

    Call `write_pending` regularly, and with `held_back=True` before the process ends, so that every call of `add` is
    counted in a log line.

    Args:
        event: event name of the log lines.
        pause_s: minimum time in seconds between two lines for a reason.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(self, event: str, pause_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._event = event
        self._seldom = Seldom(pause_s, now_s)
        self._values: dict[str, dict[str, Any]] = {}

    def add(self, reason: str, **values: Any) -> None:
        """Count a call, and write a line with `values` if the reason's pause is over."""
        self._values[reason] = values
        self._write(reason, self._seldom.due(reason))

    def write_pending(self, *, held_back: bool = False) -> None:
        """Write a line for each reason that has unlogged calls and whose pause is over.

        If `held_back` is true, also write a line for each reason whose pause is not over.
        """
        for reason, calls in self._seldom.overdue(held_back=held_back).items():
            self._write(reason, calls)

    def _write(self, reason: str, calls: int) -> None:
        if calls:
            logger().warning(self._event, reason=reason, **self._values[reason], calls=calls)
