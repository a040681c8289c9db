"""Token buckets, one per key. A bucket's level is the amount of a resource that the key may still use.

Buckets are refilled continuously, and their level may be negative.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class TokenBuckets(Generic[Key]):
    """Token buckets, which are full at first. Not thread-safe.

    Args:
        refill_s: the number of tokens that a bucket gains per second.
        burst_s: the capacity of a bucket, in seconds of refill.
        max_keys: the maximum number of keys that have a bucket. If more keys are used, the bucket that was set least
            recently is dropped. The key of the dropped bucket then has a full bucket again, and so loses its debt.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(self, refill_s: float, burst_s: float, max_keys: int, now_s: Callable[[], float]) -> None:
        self.full = burst_s * refill_s
        self._refill_s = refill_s
        self._max_keys = max_keys
        self._now_s = now_s
        self._levels: OrderedDict[Key, tuple[float, float]] = OrderedDict()  # (level, time at which the level was set)

    def __len__(self) -> int:
        """Return the number of keys that have a bucket."""
        return len(self._levels)

    def level(self, key: Key) -> float:
        """Return the number of tokens that are in a key's bucket now."""
        level, at_s = self._levels.get(key, (self.full, 0.0))
        return min(self.full, level + (self._now_s() - at_s) * self._refill_s)

    def set(self, key: Key, level: float) -> None:
        """Set the level that a key's bucket has now."""
        self._levels[key] = (level, self._now_s())
        self._levels.move_to_end(key)
        while len(self._levels) > self._max_keys:
            self._levels.popitem(last=False)
