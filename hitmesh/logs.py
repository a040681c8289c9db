"""Log lines: key=value on a terminal, JSON elsewhere, always on stderr, never with payloads or secrets."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog


def configure(level: str, service: str, node: str) -> None:
    """Sets up logging of a process; called once, by a composition root."""
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
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, node=node)


def logger() -> structlog.typing.FilteringBoundLogger:
    """Returns the process's logger. Events have stable names: `log.event("stream_opened", streams=3)`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound


def traceback_of(error: BaseException, frames: int = 8) -> str:
    """Returns the innermost frames of an error as text: no values of variables, which may hold what visitors sent."""
    return "".join(traceback.format_exception(error, limit=-frames))
