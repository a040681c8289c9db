"""A cache of ingest keys that limits store look-ups for unknown keys.

A sender with guessed secrets causes at most `unknown_keys_s` fruitless look-ups per second. A look-up that finds a key
does not count against the limit `unknown_keys_s`. After the directory has changed, a look-up of a key that this process
already knew does not count against the limit. A sender with guessed secrets therefore never locks out a known key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Set
from typing import Final

from hitmesh.model.errors import KeyNotLookedUp
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.model.names import ingest_key_name
from hitmesh.model.sites import IngestKey
from hitmesh.ports import Clock

MAX_KEPT: Final = 100_000


class KnownKeys:
    """Caches keys by the digest of their secret. Thread-safe.

    Args:
        clock: refills the look-up budget.
        unknown_keys_s: maximum number of fruitless look-ups per second, and in a burst after an idle time.
        max_unknown: maximum number of unknown secrets that are remembered until `forget_unknown`.
        max_kept: maximum number of known keys that are remembered after a change of the directory.
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
        self._digests: dict[str, bytes] = {}
        self._times_forgotten = 0
        self._earlier: set[bytes] = set()
        # The digests of unknown secrets are kept, so that a repeated guess causes no further look-up.
        self._unknown: set[bytes] = set()
        self._left = float(unknown_keys_s)
        self._filled_at: int | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, digest: bytes, look_up: Callable[[], IngestKey | None]) -> IngestKey | None:
        """Return the key with this digest from memory or from the store; None if the store has no such key.

        Raises:
            KeyNotLookedUp: the key is not in memory, and too many recent look-ups found no key.
        """
        # a look-up uses the collections that exist at its start, even if `forget` replaces them meanwhile
        kept, unknown, times_forgotten = self._keys, self._unknown, self._times_forgotten
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
            self._earlier.discard(digest)  # a deleted key counts against the limit from now on
            if len(unknown) < self._max_unknown:
                unknown.add(digest)
            return None
        self._keep(digest, key, times_forgotten)
        if not is_free:
            self._give_back()
        return key

    def _keep(self, digest: bytes, key: IngestKey, times_forgotten: int) -> None:
        """Keep a key, unless keys were forgotten since the look-up began: the store may have had an earlier value."""
        with self._lock:
            if self._times_forgotten == times_forgotten:
                self._keys[digest] = key
                self._digests[ingest_key_name(key.merchant, key.key_id)] = digest

    def forget(self) -> None:
        """Forget the cached keys, because the directory has changed."""
        with self._lock:
            self._remember(self._keys.keys())
            self._keys, self._digests = {}, {}
            self._times_forgotten += 1

    def forget_some(self, names: Collection[str]) -> None:
        """Forget the cached keys with these full names, because these keys have changed."""
        with self._lock:
            digests = {self._digests.pop(name) for name in names if name in self._digests}
            self._remember(digests)
            for digest in digests:
                self._keys.pop(digest, None)
            self._times_forgotten += 1

    def _remember(self, digests: Set[bytes]) -> None:
        self._earlier |= digests
        if len(self._earlier) > self._max_kept:
            self._earlier = set(digests)

    def forget_unknown(self) -> None:
        """Forget the unknown secrets, because a new key may have one of these secrets."""
        self._unknown = set()

    def _take(self) -> None:
        with self._lock:
            now = self._clock.now()
            passed_s = 0.0 if self._filled_at is None else max(0, now - self._filled_at) / 1_000
            self._left = min(float(self._per_s), self._left + passed_s * self._per_s)
            self._filled_at = now
            if self._left < 1:
                raise KeyNotLookedUp(
                    f"the key is unknown, and the limit is {self._per_s:,} look-ups of unknown keys per second: "
                    "check the key, and try again after a second",
                    limit=self._per_s,
                )
            self._left -= 1

    def _give_back(self) -> None:
        with self._lock:
            self._left += 1
