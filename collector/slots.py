"""Which streams may be open: capped in all, per key, without a key, and those that have said nothing yet.

A stream is unproven until it has shown a key. Of those there are few, and the oldest makes room for a new one, so that
silent streams cannot keep out a client that opens as it should. Pure state; the service guards it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from hitmesh.errors import RetryError

StreamT = TypeVar("StreamT")
KEYLESS_STREAM: Final = ""


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """How many streams may be open: in all, of one key, without a key in `open`, and unproven."""

    total: int
    per_key: int
    keyless: int
    unproven: int


class StreamSlots(Generic[StreamT]):
    """The open streams and what each has shown."""

    def __init__(self, limits: SlotLimits) -> None:
        self._limits = limits
        self._proven: dict[StreamT, str] = {}
        self._unproven: dict[StreamT, None] = {}  # in the order in which they came
        self._per_key: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._proven) + len(self._unproven)

    @property
    def streams(self) -> list[StreamT]:
        """All open streams."""
        return [*self._proven, *self._unproven]

    def enter(self, stream: StreamT) -> StreamT | None:
        """Take in a stream that has shown nothing; return the one that must end for it, if any.

        Raises:
            RetryError: all slots are taken by streams with a key (TOO_MANY_STREAMS).
        """
        most = min(self._limits.unproven, self._limits.total - len(self._proven))
        if most < 1:
            raise too_many_streams(f"{len(self)} open streams", self._limits.total)
        oldest = next(iter(self._unproven)) if len(self._unproven) >= most else None
        if oldest is not None:
            del self._unproven[oldest]
        self._unproven[stream] = None
        return oldest

    def prove(self, stream: StreamT, key: str) -> None:
        """Note that a stream has shown this key, KEYLESS_STREAM where its batches bring theirs.

        Raises:
            RetryError: there are too many of this key (TOO_MANY_STREAMS).
        """
        most = self._limits.keyless if key == KEYLESS_STREAM else self._limits.per_key
        if self._per_key[key] >= most:
            whose = "without a key in `open`" if key == KEYLESS_STREAM else "of this key"
            raise too_many_streams(f"{most} open streams {whose}", most)
        if stream in self._unproven:
            del self._unproven[stream]
            self._proven[stream] = key
            self._per_key[key] += 1

    def leave(self, stream: StreamT) -> None:
        """Free the slot of a stream; a second call changes nothing."""
        self._unproven.pop(stream, None)
        key = self._proven.pop(stream, None)
        if key is not None:
            self._per_key[key] -= 1
            if not self._per_key[key]:
                del self._per_key[key]


def too_many_streams(held: str, limit: int) -> RetryError:
    """Return the refusal of a stream."""
    return RetryError(
        f"this collector has {held}; the limit is {limit}: open the stream again, on another collector",
        reason="TOO_MANY_STREAMS",
        retry_after_s=2.0,
    )
