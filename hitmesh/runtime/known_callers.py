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
ANYONE: Final = "anyone"
_FIELD: Final = "authorization"

Metadata = Iterable[tuple[str, str | bytes]]


class KnownCallers:
    """The merchants of accepted credentials, keyed by the digest of the header `authorization`. Thread-safe.

    Args:
        open_reads: whether calls without a credential are normal. Such calls then belong to the caller ANYONE.
        max_callers: maximum number of credentials; the credential that was used least recently is forgotten first.
    """

    def __init__(self, *, open_reads: bool = False, max_callers: int = MAX_CALLERS) -> None:
        self._open_reads = open_reads
        self._max_callers = max_callers
        self._lock = threading.Lock()
        self._merchants: OrderedDict[bytes, str] = OrderedDict()

    def merchant_of(self, metadata: Metadata) -> str | None:
        """Return the merchant whose credential is in a call's metadata; None if the credential is not known."""
        digest = _digest(metadata)
        if digest is None:
            return ANYONE if self._open_reads else None
        with self._lock:
            found = self._merchants.get(digest)
            if found is not None:
                self._merchants.move_to_end(digest)
            return found

    def note(self, metadata: Metadata, merchant: str) -> None:
        """Record that a call's credential was accepted for a merchant."""
        digest = _digest(metadata)
        if digest is None or self._merchants.get(digest) == merchant:
            return
        with self._lock:
            self._merchants[digest] = merchant
            if len(self._merchants) > self._max_callers:
                self._merchants.popitem(last=False)

    def forget(self, metadata: Metadata) -> None:
        """Record that a call's credential was refused: a revoked or expired key takes no places of its merchant."""
        digest = _digest(metadata)
        if digest is not None and digest in self._merchants:
            with self._lock:
                self._merchants.pop(digest, None)


def _digest(metadata: Metadata) -> bytes | None:
    for name, value in metadata:
        if name == _FIELD:
            return hashlib.sha256(value.encode() if isinstance(value, str) else value).digest()
    return None
