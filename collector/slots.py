"""Which streams may be open: capped in all, per key, without a key, and those that have said nothing yet.

A stream is unproven until it has shown a key. Of those there are few, and the oldest makes room for a new one, so that
silent streams cannot keep out a client that opens as it should. Browser keys are public, so their streams leave a part
of the slots to secret keys. Pure state; the service guards it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from hitmesh.model.errors import RetryError

StreamT = TypeVar("StreamT")


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """How many streams may be open.

    Attributes:
        total: in all.
        per_key: that have shown the same key, in `open` or in a batch.
        keyless: without a key in `open`.
        unproven: that have shown none.
        reserved: of the total, so many are for secret keys; a quarter at most.
    """

    total: int
    per_key: int
    keyless: int
    unproven: int
    reserved: int = 0

    @property
    def public(self) -> int:
        """How many may be of browser keys."""
        return self.total - min(self.reserved, self.total // 4)


class ShownKey(NamedTuple):
    """What a stream has shown: its key, whether that is secret, and whether `open` had none."""

    key: str
    is_secret: bool
    is_keyless: bool = False


class StreamSlots(Generic[StreamT]):
    """The open streams and what each has shown."""

    def __init__(self, limits: SlotLimits) -> None:
        self._limits = limits
        self._proven: dict[StreamT, ShownKey] = {}
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

    def prove(self, stream: StreamT, shown: ShownKey) -> None:
        """Note that a stream has shown this key.

        Raises:
            RetryError: there are too many of this key or kind (TOO_MANY_STREAMS).
        """
        limits = self._limits
        if self._per_key[shown.key] >= limits.per_key:
            raise too_many_streams(f"{limits.per_key} open streams of this key", limits.per_key)
        if shown.is_keyless and sum(one.is_keyless for one in self._proven.values()) >= limits.keyless:
            raise too_many_streams(f"{limits.keyless} open streams without a key in `open`", limits.keyless)
        if not shown.is_secret and sum(not one.is_secret for one in self._proven.values()) >= limits.public:
            raise too_many_streams(f"{limits.public} open streams of browser keys", limits.public)
        if stream in self._unproven:
            del self._unproven[stream]
            self._proven[stream] = shown
            self._per_key[shown.key] += 1

    def leave(self, stream: StreamT) -> None:
        """Free the slot of a stream; a second call changes nothing."""
        self._unproven.pop(stream, None)
        shown = self._proven.pop(stream, None)
        if shown is not None:
            self._per_key[shown.key] -= 1
            if not self._per_key[shown.key]:
                del self._per_key[shown.key]


def too_many_streams(held: str, limit: int) -> RetryError:
    """Return the refusal of a stream."""
    return RetryError(
        f"this collector has {held}; the limit is {limit}: open the stream again, on another collector",
        reason="TOO_MANY_STREAMS",
        retry_after_s=2.0,
    )
