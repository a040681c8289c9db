"""Limits the number of open streams.

A stream is unproven until its client has sent a known key. Separate limits apply to all streams together, to the
streams of each merchant and of each key, to streams whose message `open` had no key, and to unproven streams. A silent
stream with a known key keeps its slot, so the limit per merchant keeps slots for other merchants. The limit for
unproven streams is low. If too many unproven streams are open, a new stream ends the oldest unproven stream. Clients
that open streams without sending anything therefore cannot lock out other clients. Browser keys are public, so some
slots are reserved for streams with secret keys. This module uses no lock and no clock. The service makes only one call
to this module at a time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from hitmesh.model.errors import RetryError
from hitmesh.model.reasons import ErrorReason

StreamT = TypeVar("StreamT")


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """The maximum numbers of open streams.

    Attributes:
        total: the limit for all streams.
        per_merchant: the limit for streams that have shown keys of the same merchant.
        per_key: the limit for streams that have shown the same key, in `open` or in a batch.
        keyless: the limit for streams whose message `open` had no key.
        unproven: the limit for streams that have not shown a known key.
        reserved: the number of slots in `total` that only streams with secret keys may use; at most a quarter of
            `total` is reserved.
    """

    total: int
    per_merchant: int
    per_key: int
    keyless: int
    unproven: int
    reserved: int = 0

    @property
    def public(self) -> int:
        """The maximum number of streams with browser keys."""
        return self.total - min(self.reserved, self.total // 4)


class ShownKey(NamedTuple):
    """The key that a stream has shown.

    `merchant` is the full name of the key's merchant, or "" if the key could not be looked up; such a stream counts for
    no merchant. `is_keyless` is true if the stream's message `open` had no key.
    """

    key: str
    merchant: str
    is_secret: bool
    is_keyless: bool = False


class StreamSlots(Generic[StreamT]):
    """The open streams, each with the key that the stream has shown."""

    def __init__(self, limits: SlotLimits) -> None:
        self._limits = limits
        self._proven: dict[StreamT, ShownKey] = {}
        self._unproven: dict[StreamT, None] = {}  # in order of arrival
        self._per_key: Counter[str] = Counter()
        self._per_merchant: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._proven) + len(self._unproven)

    @property
    def streams(self) -> list[StreamT]:
        """All open streams."""
        return [*self._proven, *self._unproven]

    def enter(self, stream: StreamT) -> StreamT | None:
        """Add a stream that has not shown a known key.

        If another stream must end to make room, return the other stream.

        Raises:
            RetryError: streams with a key use all slots (TOO_MANY_STREAMS).
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
        """Record that a stream has shown this key.

        Raises:
            RetryError: too many streams have keys of this merchant, this key, or this kind of key (TOO_MANY_STREAMS).
        """
        limits = self._limits
        if shown.merchant and self._per_merchant[shown.merchant] >= limits.per_merchant:
            held = f"{limits.per_merchant} open streams with keys of {shown.merchant} (max_streams_per_merchant)"
            raise too_many_streams(held, limits.per_merchant)
        if self._per_key[shown.key] >= limits.per_key:
            raise too_many_streams(f"{limits.per_key} open streams of this key", limits.per_key)
        if shown.is_keyless and sum(key.is_keyless for key in self._proven.values()) >= limits.keyless:
            raise too_many_streams(f"{limits.keyless} open streams whose `open` message has no key", limits.keyless)
        if not shown.is_secret and sum(not key.is_secret for key in self._proven.values()) >= limits.public:
            raise too_many_streams(f"{limits.public} open streams of browser keys", limits.public)
        if stream in self._unproven:
            del self._unproven[stream]
            self._proven[stream] = shown
            self._per_key[shown.key] += 1
            if shown.merchant:
                self._per_merchant[shown.merchant] += 1

    def leave(self, stream: StreamT) -> None:
        """Free a stream's slot. Idempotent."""
        self._unproven.pop(stream, None)
        shown = self._proven.pop(stream, None)
        if shown is not None:
            for counter, name in ((self._per_key, shown.key), (self._per_merchant, shown.merchant)):
                counter[name] -= 1
                if counter[name] <= 0:
                    del counter[name]


def displaced() -> RetryError:
    """Return the error that ends the oldest unproven stream."""
    return RetryError(
        "the collector needed this stream's slot before the stream had shown a known key: open the stream again, with "
        "a known key in `open`",
        reason=ErrorReason.TOO_MANY_STREAMS,
        retry_after_s=2.0,
    )


def too_many_streams(held: str, limit: int) -> RetryError:
    """Return the error that refuses a stream."""
    return RetryError(
        f"this collector has {held}; the limit is {limit}: open the stream again later",
        reason=ErrorReason.TOO_MANY_STREAMS,
        retry_after_s=2.0,
        limit=limit,
    )
