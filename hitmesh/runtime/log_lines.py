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
from typing import Any, Final, NamedTuple, TextIO

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
_KIND: Final = (
    "level",
    "event",
    "reason",
    "error",
    "partition",
    "site",
    "worker",
    "owner",
    "date",
    "id",
    "thread",
    "source",
)
# A key, a token in a header, and a JWT, whose first two parts are base64url of JSON objects.
_SECRET: Final = re.compile(
    r"hm[sb]_[\w-]{6,}|(?<=[Bb]earer )[\w.~+/=-]{16,}|(?<![\w-])eyJ[\w-]{5,}\.[\w-]{3,}(?:\.[\w-]*){1,3}"
)
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
        line[name] = _masked(value)
    return line


def _masked(value: Any) -> Any:
    """Return a value, or the elements of a list or tuple, without secrets.

    A text is cut last, because a cut inside a secret would hide the secret's form.
    """
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, str):
        return _cut(without_password(_SECRET.sub(HIDDEN, value)))
    if isinstance(value, list | tuple):
        return [_masked(each) for each in value]
    return value


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARS:
        return text
    half = MAX_TEXT_CHARS // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


_Kind = tuple[str | int, ...]


def _plain(value: object) -> str | int:
    return value if isinstance(value, str | int) else "" if value is None else str(value)


@dataclass(slots=True)
class _Repeats:
    ends_s: float
    written: int = 0
    suppressed: int = 0


class Summary(NamedTuple):
    """A kind of dropped lines: the fields that are not empty, without level and event, and the number of lines."""

    level: str
    event: str
    fields: Mapping[str, str | int]
    lines: int


class RepeatLimit:
    """A step that drops repeated lines. The next line of the same kind states the number of dropped lines.

    Two lines are of the same kind if their level, event, reason, error, partition, site, worker, owner, date, id,
    thread and source are equal. A line that has `suppressed` already is a summary of dropped lines, and passes
    unchanged. Thread-safe.

    Args:
        repeats: number of lines of a kind that are written within `pause_s`.
        pause_s: seconds after which lines of a kind are written again.
        max_kinds: number of kinds that are remembered; further kinds replace the oldest, whose number of dropped lines
            is kept until `overdue` yields the number, for at most as many kinds again.
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
        self._kinds: OrderedDict[_Kind, _Repeats] = OrderedDict()
        self._forgotten: dict[_Kind, int] = {}
        self._lock = threading.Lock()

    def __call__(self, _logger: Any, _method: str, line: Line) -> Line:
        """Return the line, with the number of lines that were dropped before it, or drop the line."""
        if "suppressed" in line:
            return line
        kind = tuple(_plain(line.get(name, "")) for name in _KIND)
        with self._lock:
            now_s = self._now_s()
            known = self._kinds.get(kind)
            if known is None or now_s >= known.ends_s:
                suppressed = known.suppressed if known else self._forgotten.pop(kind, 0)
                known = self._kinds[kind] = _Repeats(now_s + self._pause_s)
                self._kinds.move_to_end(kind)
                if suppressed:
                    line["suppressed"] = suppressed
                while len(self._kinds) > self._max_kinds:
                    self._forget()
            if known.written >= self._repeats:
                known.suppressed += 1
                raise structlog.DropEvent
            known.written += 1
        return line

    def _forget(self) -> None:
        kind, oldest = self._kinds.popitem(last=False)
        if not oldest.suppressed:
            return
        if len(self._forgotten) >= self._max_kinds:  # further counts are kept together, without the fields
            self._forgotten[kind[:2]] = self._forgotten.get(kind[:2], 0) + oldest.suppressed
        else:
            self._forgotten[kind] = oldest.suppressed

    def overdue(self, *, everything: bool = False) -> Iterator[Summary]:
        """Yield a summary for each kind whose pause is over or that was replaced, and forget the kind.

        Args:
            everything: also yield the kinds whose pause is not over.
        """
        with self._lock:
            now_s = self._now_s()
            over = [kind for kind, known in self._kinds.items() if everything or now_s >= known.ends_s]
            counts = [*self._forgotten.items(), *((kind, self._kinds.pop(kind).suppressed) for kind in over)]
            self._forgotten.clear()
        for kind, count in counts:
            if count:
                fields = {name: value for name, value in zip(_KIND[2:], kind[2:], strict=False) if value != ""}
                yield Summary(str(kind[0]), str(kind[1]), fields, count)


class LineWriter:
    """Writes each line to a stream at once. structlog calls the method with the name of the line's level.

    A line that a full pipe does not take within `within_s` is lost, and so is a line that cannot be written. After such
    a line, no further line waits until the pipe takes a line again. If a line was written in part, the next line begins
    with a line break, so that only the torn line is damaged.

    Args:
        stream: sys.stderr; None if the process was started with a closed descriptor, whose number another file may
            have by now.
        within_s: maximum number of seconds for which a line waits for a full pipe and for another thread's line.
    """

    def __init__(self, stream: TextIO | None, within_s: float = WRITE_WITHIN_S) -> None:
        self._stream, self._within_s = stream, within_s
        self._lock = threading.Lock()
        self._descriptor = _descriptor_of(stream)
        self._is_stalled = self._is_torn = False
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
        wait_s = 0.0 if self._is_stalled else self._within_s
        ends_s = time.monotonic() + wait_s
        if self._lock.acquire(timeout=wait_s):
            try:
                self._write(self._descriptor, text, ends_s)
            finally:
                self._lock.release()

    log = debug = info = warning = error = critical = exception = fatal = msg

    def _write(self, descriptor: int, text: str, ends_s: float) -> None:
        if self._is_stalled:
            ends_s = 0.0  # another thread has found this out while this thread waited
        line = f"{text}\n".encode("utf-8", "backslashreplace")
        start = b"\n" if self._is_torn else b""
        left, written = memoryview(start + line), 0
        try:
            while left and self._ready.poll(max(0.0, (ends_s - time.monotonic()) * 1_000)):
                taken = os.write(descriptor, left[:_PIPE_BYTES])
                left, written = left[taken:], written + taken
        finally:
            self._is_stalled = bool(left)
            if written:
                self._is_torn = bool(left) and written > len(start)


def _descriptor_of(stream: TextIO | None) -> int | None:
    """Return the descriptor of the process's own standard error; None for another stream, as a test has."""
    standard = sys.__stderr__
    if standard is None or stream is not standard:
        return None
    try:
        return standard.fileno()
    except (OSError, ValueError):
        return None
