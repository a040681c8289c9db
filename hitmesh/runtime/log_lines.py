"""The steps that a log line passes before `hitmesh.runtime.logs` writes the line: facts, limits, secrets, the write.

No step raises an error for a line that can be made. A write never blocks a thread for longer than WRITE_WITHIN_S.
"""

from __future__ import annotations

import os
import re
import select
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TextIO

import structlog

from hitmesh.runtime.variables import HIDDEN, without_password

Line = MutableMapping[str, Any]

MAX_TEXT_CHARS: Final = 8_192
"""A longer text in a line is cut. The innermost frames of a traceback are at its end, so the middle is cut out."""
REPEATS: Final = 10
"""Number of lines of a kind that are written within REPEAT_S; further lines are only counted."""
REPEAT_S: Final = 10.0
MAX_KINDS: Final = 1_024
WRITE_WITHIN_S: Final = 0.1
# Fields that tell two kinds of lines apart. All other fields are measurements or texts of one event.
_KIND: Final = ("level", "event", "reason", "error", "partition", "site", "worker", "owner")
_SECRET: Final = re.compile(r"hms_[\w-]{6,}|(?<=[Bb]earer )[\w.~+/=-]{16,}")
# A write of at most this many bytes to a pipe that is ready for writing does not block.
_PIPE_BYTES: Final = select.PIPE_BUF


def with_facts(facts: Mapping[str, str]) -> structlog.typing.Processor:
    """Return a step that adds facts about the process to the lines of every thread."""

    def add(_logger: Any, _method: str, line: Line) -> Line:
        for name, value in facts.items():
            line.setdefault(name, value)
        return line

    return add


def without_secrets(_logger: Any, _method: str, line: Line) -> Line:
    """Hide keys, tokens and passwords in the texts of a line, and cut long texts."""
    for name, value in line.items():
        if isinstance(value, bytes):
            line[name] = f"({len(value)} bytes)"
        elif isinstance(value, str):
            line[name] = without_password(_SECRET.sub(HIDDEN, _cut(value)))
    return line


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARS:
        return text
    half = MAX_TEXT_CHARS // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


@dataclass(slots=True)
class _Repeats:
    ends_s: float
    written: int = 0
    suppressed: int = 0


class RepeatLimit:
    """A step that drops repeated lines. The next line of the same kind states the number of dropped lines.

    Two lines are of the same kind if their levels, events, reasons, partitions and sites are equal. Thread-safe.

    Args:
        repeats: number of lines of a kind that are written within `pause_s`.
        pause_s: seconds after which lines of a kind are written again.
        max_kinds: number of kinds that are remembered; further kinds replace the oldest.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        repeats: int = REPEATS,
        pause_s: float = REPEAT_S,
        max_kinds: int = MAX_KINDS,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repeats, self._pause_s, self._max_kinds, self._now_s = repeats, pause_s, max_kinds, now_s
        self._kinds: OrderedDict[tuple[str, ...], _Repeats] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, _logger: Any, _method: str, line: Line) -> Line:
        """Return the line, with the number of lines that were dropped before it, or drop the line."""
        kind = tuple(str(line.get(name, "")) for name in _KIND)
        with self._lock:
            now_s = self._now_s()
            known = self._kinds.get(kind)
            if known is None or now_s >= known.ends_s:
                suppressed = known.suppressed if known else 0
                known = self._kinds[kind] = _Repeats(now_s + self._pause_s)
                self._kinds.move_to_end(kind)
                if suppressed:
                    line["suppressed"] = suppressed
                while len(self._kinds) > self._max_kinds:
                    self._kinds.popitem(last=False)
            if known.written >= self._repeats:
                known.suppressed += 1
                raise structlog.DropEvent
            known.written += 1
        return line

    def overdue(self, *, everything: bool = False) -> Iterator[tuple[str, str, int]]:
        """Yield level, event and number of dropped lines for each kind whose pause is over, and forget the kind.

        Args:
            everything: also yield the kinds whose pause is not over.
        """
        with self._lock:
            now_s = self._now_s()
            over = [kind for kind, known in self._kinds.items() if everything or now_s >= known.ends_s]
            counts = [(kind[0], kind[1], self._kinds.pop(kind).suppressed) for kind in over]
        yield from ((level, event, count) for level, event, count in counts if count)


class LineWriter:
    """Writes each line to a stream at once. structlog calls the method with the name of the line's level.

    A line that a full pipe does not take within `within_s` is lost, and so is a line that cannot be written.

    Args:
        stream: sys.stderr; None if the process was started with a closed descriptor, whose number another file may
            have by now.
        within_s: maximum number of seconds for which a line waits for a full pipe, or for another thread's line.
    """

    def __init__(self, stream: TextIO | None, within_s: float = WRITE_WITHIN_S) -> None:
        self._stream, self._within_s = stream, within_s
        self._lock = threading.Lock()
        self._descriptor = _descriptor_of(stream)
        self._ready = select.poll()
        if self._descriptor is not None:
            self._ready.register(self._descriptor, select.POLLOUT)

    def msg(self, text: str) -> None:
        """Write a line, which has no line break at its end yet.

        Raises:
            OSError: the line cannot be written.
        """
        if self._descriptor is None:
            if self._stream is not None:
                print(text, file=self._stream, flush=True)
            return
        if self._lock.acquire(timeout=self._within_s):
            try:
                self._write(self._descriptor, memoryview(f"{text}\n".encode("utf-8", "backslashreplace")))
            finally:
                self._lock.release()

    log = debug = info = warning = error = critical = exception = fatal = msg

    def _write(self, descriptor: int, left: memoryview) -> None:
        ends_s = time.monotonic() + self._within_s
        while left and self._ready.poll(max(0.0, (ends_s - time.monotonic()) * 1_000)):
            left = left[os.write(descriptor, left[:_PIPE_BYTES]) :]


def _descriptor_of(stream: TextIO | None) -> int | None:
    """Return the descriptor of the process's own standard error; None for another stream, as a test has."""
    standard = sys.__stderr__
    if standard is None or stream is not standard:
        return None
    try:
        return standard.fileno()
    except (OSError, ValueError):
        return None
