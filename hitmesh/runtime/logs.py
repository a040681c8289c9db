"""Log lines: key=value on a terminal, JSON elsewhere, always on stderr, never with payloads or secrets.

A line that cannot be written is lost silently: a full disk behind stderr must not end the work.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import structlog


def configure(level: str, service: str, node: str) -> None:
    """Set up the process's logging; called once, by a composition root."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=_never_raising(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, node=node)


def _never_raising(level: int) -> type[structlog.typing.FilteringBoundLogger]:
    """Return a logger class that drops a line instead of raising when the line cannot be rendered or written."""
    filtering: Any = structlog.make_filtering_bound_logger(level)

    class NeverRaising(filtering):  # type: ignore[misc]  # structlog creates the base class at run time
        def _proxy_to_logger(self, *line: Any, **values: Any) -> Any:
            try:
                return super()._proxy_to_logger(*line, **values)
            except Exception:
                return None

    return NeverRaising


def logger() -> structlog.typing.FilteringBoundLogger:
    """Return the process's logger. Events have stable names: `log.event("stream_opened", streams=3)`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound


def traceback_of(error: BaseException, frames: int = 8) -> str:
    """Return the error's innermost frames as text, without variable values, which may hold data from visitors."""
    return "".join(traceback.format_exception(error, limit=-frames))


class Seldom:
    """Limits how often events of a kind are logged. Thread-safe.

    Args:
        pause_s: minimum time between two lines of a kind.
        now_s: a monotonic clock.
    """

    def __init__(self, pause_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._pause_s = pause_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._due_s: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def due(self, kind: str, count: int = 1) -> int:
        """Count events; return how many the line to write now stands for, `count` included, or 0 to write no line."""
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
        """Return the counts not yet logged, by kind, whose pause is over; with `held_back`, all of them."""
        now_s = self._now_s()
        with self._lock:
            kinds = [kind for kind, count in self._unsaid.items() if count]
        due = kinds if held_back else [kind for kind in kinds if now_s >= self._due_s[kind]]
        with self._lock:
            for kind in due:
                self._due_s[kind] = now_s
        return {kind: count for kind in due if (count := self.due(kind, 0))}


class Complaints:
    """Writes rate-limited warnings of an event: a line per reason and pause, without losing the last counts.

    Args:
        event: name of the lines.
        pause_s: minimum time between two lines for a reason.
        now_s: a monotonic clock.
    """

    def __init__(self, event: str, pause_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._event = event
        self._seldom = Seldom(pause_s, now_s)
        self._values: dict[str, dict[str, Any]] = {}

    def add(self, reason: str, **values: Any) -> None:
        """Count a call; write a line if due."""
        self._values[reason] = values
        self._write(reason, self._seldom.due(reason))

    def write_pending(self, *, held_back: bool = False) -> None:
        """Write the counts not yet logged whose pause is over; with `held_back`, all of them."""
        for reason, calls in self._seldom.overdue(held_back=held_back).items():
            self._write(reason, calls)

    def _write(self, reason: str, calls: int) -> None:
        if calls:
            logger().warning(self._event, reason=reason, **self._values[reason], calls=calls)
