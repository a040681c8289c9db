"""Ingest keys as a process knows them, and how often it may ask a store for one that it does not know.

Decides what a stranger may cost a store: at most `unknown_keys_s` fruitless look-ups a second, whatever secrets are
sent. A look-up that finds a key is free, and so is one of a key that was known before the directory changed: a stranger
never shuts out a key that this process has seen. Refuses to know the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from hitmesh.model.errors import KeyNotLookedUp
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.model.sites import IngestKey
from hitmesh.ports import Clock

MAX_KEPT: Final = 100_000


class KnownKeys:
    """Keys by the digest of their secret. Thread-safe.

    Args:
        clock: fills the budget.
        unknown_keys_s: look-ups a second that find nothing; so many are also saved up.
        max_unknown: secrets that nobody has which are remembered until `forget_unknown`.
        max_kept: keys that were known before the directory changed and are still found for free.
    """

    def __init__(
        self,
        clock: Clock,
        unknown_keys_s: int = UNKNOWN_KEYS_S,
        *,
        max_unknown: int = 0,
        max_kept: int = MAX_KEPT,
    ) -> None:
        self._clock = clock
        self._per_s = unknown_keys_s
        self._max_unknown = max_unknown
        self._max_kept = max_kept
        self._lock = threading.Lock()
        self._keys: dict[bytes, IngestKey] = {}
        self._earlier: set[bytes] = set()
        # Secrets that nobody has: a sender who guesses does not cost a look-up for the same one again and again.
        self._unknown: set[bytes] = set()
        self._left = float(unknown_keys_s)
        self._filled_at: int | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, digest: bytes, look_up: Callable[[], IngestKey | None]) -> IngestKey | None:
        """Return the key with this digest, from memory or the store; None when the store has none.

        Raises:
            KeyNotLookedUp: it is not in memory, and too many look-ups found nothing lately.
        """
        kept, unknown = self._keys, self._unknown  # a look-up that is under way fills the old ones
        if digest in kept:
            return kept[digest]
        if digest in unknown:
            return None
        is_free = digest in self._earlier
        if not is_free:
            self._take()
        try:
            key = look_up()
        except BaseException:
            if not is_free:
                self._give_back()
            raise
        if key is None:
            if len(unknown) < self._max_unknown:
                unknown.add(digest)
            return None
        kept[digest] = key
        if not is_free:
            self._give_back()
        return key

    def forget(self) -> None:
        """Forget what was found: the directory changed."""
        with self._lock:
            self._earlier |= self._keys.keys()
            if len(self._earlier) > self._max_kept:
                self._earlier = set(self._keys)
            self._keys = {}

    def forget_unknown(self) -> None:
        """Forget which secrets nobody had: one of them may be a new key."""
        self._unknown = set()

    def _take(self) -> None:
        with self._lock:
            now = self._clock.now()
            passed_s = 0.0 if self._filled_at is None else max(0, now - self._filled_at) / 1_000
            self._left = min(float(self._per_s), self._left + passed_s * self._per_s)
            self._filled_at = now
            if self._left < 1:
                raise KeyNotLookedUp(
                    f"the key is not known here, and {self._per_s:,} look-ups of unknown keys a second are the limit: "
                    "try again in a second, with a key that exists"
                )
            self._left -= 1

    def _give_back(self) -> None:
        with self._lock:
            self._left += 1
