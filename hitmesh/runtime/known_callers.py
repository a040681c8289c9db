"""Remembers which merchant's credentials a service has accepted, so that calls are counted per merchant.

The look-up needs no store and no check of a credential, so it may run before a call gets a thread. The first call with
a credential counts as a call of an unknown caller until the credential is accepted. A call with a made-up credential
counts so until it ends. Credentials are kept as digests.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

MAX_CALLERS: Final = 20_000
MAX_CALLERS_PER_MERCHANT: Final = 1_000
ANYONE: Final = "anyone"
_FIELD: Final = "authorization"

Metadata = Iterable[tuple[str, str | bytes]]


class KnownCallers:
    """The merchants of accepted credentials, keyed by the digest of the header `authorization`. Thread-safe.

    Args:
        open_reads: whether calls without a credential are normal. Such calls then belong to the caller ANYONE.
        max_callers: maximum number of credentials; the credential that was used least recently is forgotten first.
        per_merchant: maximum number of credentials of a merchant. A merchant whose tokens are short-lived therefore
            forgets its own credentials, the least recently used first, and none of others.
    """

    def __init__(
        self,
        *,
        open_reads: bool = False,
        max_callers: int = MAX_CALLERS,
        per_merchant: int = MAX_CALLERS_PER_MERCHANT,
    ) -> None:
        self._open_reads = open_reads
        self._max_callers = max_callers
        self._per_merchant = per_merchant
        self._lock = threading.Lock()
        self._merchants: OrderedDict[bytes, str] = OrderedDict()
        self._of_merchants: dict[str, OrderedDict[bytes, None]] = {}

    def merchant_of(self, metadata: Metadata) -> str | None:
        """Return the merchant whose credential is in a call's metadata; None if the credential is not known."""
        digest = _digest(metadata)
        if digest is None:
            return ANYONE if self._open_reads else None
        with self._lock:
            found = self._merchants.get(digest)
            if found is not None:
                self._merchants.move_to_end(digest)
                self._of_merchants[found].move_to_end(digest)
            return found

    def note(self, metadata: Metadata, merchant: str) -> None:
        """Record that a call's credential was accepted for a merchant."""
        digest = _digest(metadata)
        if digest is None or self._merchants.get(digest) == merchant:
            return
        with self._lock:
            self._drop(digest)
            self._merchants[digest] = merchant
            held = self._of_merchants.setdefault(merchant, OrderedDict())
            held[digest] = None
            if len(held) > self._per_merchant:
                self._drop(next(iter(held)))
            if len(self._merchants) > self._max_callers:
                self._drop(next(iter(self._merchants)))

    def forget(self, metadata: Metadata) -> None:
        """Record that a call's credential was refused: a revoked or expired key takes no places of its merchant."""
        digest = _digest(metadata)
        if digest is not None and digest in self._merchants:
            with self._lock:
                self._drop(digest)

    def _drop(self, digest: bytes) -> None:
        merchant = self._merchants.pop(digest, None)
        if merchant is not None:
            del self._of_merchants[merchant][digest]
            if not self._of_merchants[merchant]:
                del self._of_merchants[merchant]


def _digest(metadata: Metadata) -> bytes | None:
    for name, value in metadata:
        if name == _FIELD:
            return hashlib.sha256(value.encode() if isinstance(value, str) else value).digest()
    return None
