"""Sources of the keys that check tokens: a file, or a URL whose keys are cached. Both see a rotation without a restart.

If a source has no usable keys at the moment, it keeps the keys that it read last. A new key set replaces all keys, so a
key that the issuer removed is no longer accepted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jwt

from hitmesh.access.token_keys import MAX_SET_BYTES, TokenKeys, keys_in
from hitmesh.adapters.jwks import read_file, version_of
from hitmesh.model.errors import HitmeshError, Unavailable
from hitmesh.runtime.logs import logger
from hitmesh.runtime.token_settings import JWKS_KEEP_S, JWKS_REFRESH_S, JWKS_RETRY_S, JWKS_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class FetchTimes:
    """Times for keys from a URL, in seconds.

    Attributes:
        refresh_s: age at which keys are fetched again.
        retry_s: minimum time between the starts of two fetches, also if tokens have unknown key ids or the URL does not
            answer.
        wait_s: maximum time for which a call waits for the fetch that it started.
        keep_s: time for which keys are used while the URL does not answer; afterwards, all tokens are refused.
    """

    refresh_s: float = JWKS_REFRESH_S
    retry_s: float = JWKS_RETRY_S
    wait_s: float = JWKS_TIMEOUT_S
    keep_s: float = JWKS_KEEP_S


class FileKeys:
    """Keys in a file, which is read again when it changes.

    Args:
        path: the file with the JWKS. A writer must replace the file atomically, or the file is read twice.

    Raises:
        Unavailable: the file cannot be read.
        RefusedError: the file has no usable keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version = version_of(path)
        self._keys = keys_in(read_file(path, MAX_SET_BYTES))

    def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key from the current version of the file, or None."""
        with self._lock:
            self._read_if_changed()
            return self._keys.find(key_id, algorithm)

    def _read_if_changed(self) -> None:
        """Read a changed file. If the file is not usable, keep the keys, and log this once for each version."""
        try:
            version = version_of(self._path)
            if version == self._version:
                return
            self._version = version
            self._keys = keys_in(read_file(self._path, MAX_SET_BYTES))
        except HitmeshError as error:
            logger().warning("token_keys_not_read", cause=error.message)
            return
        logger().info("token_keys_changed", keys=len(self._keys.by_id))


class UrlKeys:
    """Keys from a URL. A separate thread fetches the keys, at most one thread at a time.

    Args:
        fetch: returns the bytes of the JWKS; raises HitmeshError if the URL does not answer.
        times: when keys are fetched, and how long keys are used.
        elapsed_s: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        fetch: Callable[[], bytes],
        times: FetchTimes,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._times = times
        self._elapsed_s = elapsed_s
        self._lock = threading.Lock()
        self._keys: TokenKeys | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching: threading.Thread | None = None

    def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with this id, or None.

        If the keys are old, start a fetch and use the old keys. If the id is unknown, start a fetch and wait for its
        end. A fetch starts only if the last fetch started at least `retry_s` seconds ago.

        Raises:
            Unavailable: no keys were fetched within `keep_s` seconds, or another call is fetching the keys.
        """
        found = self._known(key_id, algorithm)
        mine = self._fetch_if_due(is_unknown=found is None)
        if found is not None:
            return found
        if mine is not None:
            mine.join(self._times.wait_s)
        found = self._known(key_id, algorithm)
        if found is None:
            self._require_current_keys()
        return found

    @property
    def is_fetching(self) -> bool:
        """Whether a fetch is running."""
        with self._lock:
            return self._is_running()

    def _is_running(self) -> bool:
        return self._fetching is not None and self._fetching.is_alive()

    def _known(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        with self._lock:
            is_current = self._elapsed_s() - self._fetched_at <= self._times.keep_s
            return self._keys.find(key_id, algorithm) if self._keys is not None and is_current else None

    def _fetch_if_due(self, *, is_unknown: bool) -> threading.Thread | None:
        """Return the thread of the fetch that this call started, or None."""
        with self._lock:
            now = self._elapsed_s()
            is_due = is_unknown or now - self._fetched_at >= self._times.refresh_s
            if self._is_running() or not is_due or now - self._tried_at < self._times.retry_s:
                return None
            self._tried_at = now
            self._fetching = threading.Thread(target=self._replace_keys, name="token-keys", daemon=True)
            self._fetching.start()
            return self._fetching

    def _replace_keys(self) -> None:
        try:
            keys = keys_in(self._fetch())
        except HitmeshError as error:
            logger().warning("token_keys_not_read", cause=error.message)
            return
        with self._lock:
            is_changed = self._keys is None or self._keys.by_id.keys() != keys.by_id.keys()
            self._keys, self._fetched_at = keys, self._elapsed_s()
        if is_changed:
            logger().info("token_keys_changed", keys=len(keys.by_id))

    def _require_current_keys(self) -> None:
        """Raise if an unknown key id does not prove that the token is wrong."""
        with self._lock:
            has_keys = self._keys is not None and self._elapsed_s() - self._fetched_at <= self._times.keep_s
            is_running = self._is_running()
            wait_s = 1.0 if is_running else max(1.0, self._times.retry_s - (self._elapsed_s() - self._tried_at))
        if not has_keys or is_running:
            raise Unavailable(
                "the keys of the token's issuer are not available at the moment: send the call again later, or use an "
                "ingest key",
                retry_after_s=wait_s,
            )
