"""Bounded cache for classified strings.

The least recently used entries are evicted when the number of entries or of characters exceeds the limit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=str | tuple[str, ...])
V = TypeVar("V")

DEFAULT_MAX_ENTRIES = 100_000
# 100,000 typical user agents have 11 million characters. Without a limit on characters, a sender could fill the cache
# with 100 million characters, by using only strings of the maximum length (1,024).
DEFAULT_MAX_CHARS = 16 << 20


class BoundedCache(Generic[K, V]):
    """An LRU cache for a pure function. The number of entries, and the number of characters in all keys, are bounded.

    Not thread-safe.
    """

    def __init__(
        self,
        compute: Callable[[K], V],
        max_entries: int = DEFAULT_MAX_ENTRIES,
        max_chars: int = DEFAULT_MAX_CHARS,
    ) -> None:
        if max_entries < 1 or max_chars < 1:
            raise ValueError(f"max_entries is {max_entries} and max_chars is {max_chars}: both must be at least 1")
        self._compute = compute
        self._max_entries = max_entries
        self._max_chars = max_chars
        self._chars = 0
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def values_of(self, keys: Iterable[K]) -> list[V]:
        """Return the value of each key, in order. Values that are not cached are computed."""
        entries = self._entries
        values: list[V] = []
        for key in keys:
            try:
                value = entries[key]
                entries.move_to_end(key)
            except KeyError:
                value = self._compute(key)
                self._keep(key, value)
            values.append(value)
        return values

    def _keep(self, key: K, value: V) -> None:
        chars = _chars_of(key)
        if chars > self._max_chars:
            return
        self._entries[key] = value
        self._chars += chars
        while len(self._entries) > self._max_entries or self._chars > self._max_chars:
            oldest, _ = self._entries.popitem(last=False)
            self._chars -= _chars_of(oldest)


def _chars_of(key: str | tuple[str, ...]) -> int:
    return len(key) if isinstance(key, str) else sum(map(len, key))
