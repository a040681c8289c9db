"""The error classes, grouped by how the caller must react.

HitmeshError
├── RetryError          try again, not before `retry_after_s`
│   ├── KeyNotLookedUp  too many recent look-ups found no key: this key may or may not exist
│   ├── QuotaExceeded   a quota is used up: the refused work was not charged
│   ├── LogFull         the log cannot accept the record now
│   ├── Unavailable     a store or service does not answer
│   │   └── DiskFull    the disk has no room for the write
│   ├── PartitionsMoved the consumer group reassigned partitions: read the new assignment
│   └── CommitInDoubt   the outcome of a transaction is unknown: query the outcome, do not repeat the transaction
├── RefusedError        a value is wrong: the message names field, rule and remedy; a retry fails again
│   ├── NotFound        the object does not exist, or is not the caller's
│   ├── AlreadyExists   the name is taken by a different object
│   ├── Unauthenticated the key is unknown, revoked or expired, or the token is not valid
│   └── PermissionDenied the key is valid, but lacks this permission
├── Abandoned           the caller left or its deadline passed: the work has no result
└── FatalError          give up: a bug or a broken store
    ├── StaleGeneration another settlement of the site-day published first
    ├── Fenced          another writer took over: stop writing
    └── StoreCorrupt    stored bytes are damaged or in the wrong format

Adapters translate the errors of their drivers into subclasses of HitmeshError. `hitmesh.runtime.rpc_errors` maps the
subclasses to gRPC status codes.
"""

from __future__ import annotations

import errno
from typing import Final

from hitmesh.model.reasons import ErrorReason, LocalReason, Reason

MAX_VARIABLE_CHARS: Final = 200
"""Maximum length of a variable when its error is sent or printed; longer variables are cut."""

Variable = str | int | float


class HitmeshError(Exception):
    """Base class of all errors that hitmesh raises on purpose.

    `reason` is stable; `message` names value, rule and remedy. `variables` holds the variable parts of the message, so
    that no program has to parse the message. hitmesh.api.error.v1.ErrorReason documents the keys of `variables`.
    """

    reason: Reason = ErrorReason.INTERNAL

    def __init__(self, message: str, *, reason: Reason | None = None, **variables: Variable) -> None:
        super().__init__(message)
        self.message = message
        self.variables: dict[str, Variable] = variables
        if reason is not None:
            self.reason = reason

    def metadata(self) -> dict[str, str]:
        """Return the non-empty variables as texts of at most MAX_VARIABLE_CHARS characters.

        Example:
            >>> HitmeshError("2,001 hits; the limit is 2,000", limit=2_000).metadata()
            {'limit': '2000'}
        """
        return {key: _text_of(value)[:MAX_VARIABLE_CHARS] for key, value in self.variables.items() if value != ""}


class RetryError(HitmeshError):
    """The call failed, but the same call may succeed later."""

    reason: Reason = ErrorReason.UNAVAILABLE

    def __init__(
        self, message: str, *, retry_after_s: float = 1.0, reason: Reason | None = None, **variables: Variable
    ) -> None:
        super().__init__(message, reason=reason, **variables)
        self.retry_after_s = retry_after_s


class KeyNotLookedUp(RetryError):
    """The key was not looked up, because too many recent look-ups found nothing; the key may exist."""

    reason = ErrorReason.QUOTA


class QuotaExceeded(RetryError):
    """A quota is used up. The work was neither done nor charged, and is possible after `retry_after_s`.

    Attributes:
        subject: full name of the resource with the quota.
        quota: the kind of quota, a value of hitmesh.model.quotas.QuotaKind.
        limit: the quota, in units per `window_s` seconds.
        window_s: see `limit`.
    """

    reason = ErrorReason.QUOTA

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float,
        subject: str,
        quota: str,
        limit: int,
        window_s: int,
        wait_s: str,
    ) -> None:
        super().__init__(
            message,
            retry_after_s=retry_after_s,
            subject=subject,
            quota=quota,
            limit=limit,
            window_s=window_s,
            wait_s=wait_s,
        )
        self.subject, self.quota, self.limit, self.window_s = subject, quota, limit, window_s


class LogFull(RetryError):
    """The log cannot accept the record now; nothing was written."""

    reason = ErrorReason.LOG_FULL


class Unavailable(RetryError):
    """A store or service does not answer."""


class DiskFull(Unavailable):
    """The disk has no room for the write. Nothing was written. Writes succeed again once space is free."""

    reason = ErrorReason.DISK_FULL


class PartitionsMoved(RetryError):
    """The reader's assignment changed; records that were read but not committed will be read again."""

    reason = LocalReason.PARTITIONS_MOVED


class CommitInDoubt(RetryError):
    """The transaction may or may not be committed: discard all dependent state and read the committed positions."""

    reason = ErrorReason.COMMIT_IN_DOUBT


class RefusedError(HitmeshError):
    """The caller sent a wrong value; `field` is the path of the value in the request."""

    reason: Reason = ErrorReason.INVALID_FIELD

    def __init__(self, message: str, *, field: str = "", reason: Reason | None = None, **variables: Variable) -> None:
        super().__init__(message, reason=reason, **variables)
        self.field = field

    def metadata(self) -> dict[str, str]:
        """Return the variables as texts, and `field` if the error has a field.

        Example:
            >>> RefusedError("limit 0 is not 1 to 100,000", field="limit", max_rows=100_000).metadata()
            {'field': 'limit', 'max_rows': '100000'}
        """
        return {**({"field": self.field[:MAX_VARIABLE_CHARS]} if self.field else {}), **super().metadata()}


class NotFound(RefusedError):
    """The object does not exist or belongs to another caller; the error does not say which."""

    reason = ErrorReason.NOT_FOUND


class AlreadyExists(RefusedError):
    """The name is taken by an object that differs from the requested object."""

    reason = ErrorReason.ALREADY_EXISTS


class Unauthenticated(RefusedError):
    """The key is unknown (UNKNOWN_KEY), revoked (KEY_REVOKED) or expired (KEY_EXPIRED), or the token is not valid.

    The reasons for tokens are INVALID_TOKEN and TOKEN_EXPIRED.
    """

    reason = ErrorReason.UNKNOWN_KEY


class PermissionDenied(RefusedError):
    """The key is valid, but lacks this permission."""

    reason = ErrorReason.PERMISSION_DENIED


class Abandoned(HitmeshError):
    """The work was abandoned: the deadline passed (DEADLINE_EXCEEDED) or the caller left (CANCELLED)."""

    reason = ErrorReason.CANCELLED


class FatalError(HitmeshError):
    """The work cannot succeed, and a retry does not help."""


class StaleGeneration(FatalError):
    """Another generation of the site-day was published after the scan began. The caller must scan again."""

    reason = LocalReason.STALE_GENERATION


class Fenced(FatalError):
    """A later writer took over; the fenced writer must not write again."""

    reason = LocalReason.FENCED


class StoreCorrupt(FatalError):
    """Stored bytes are damaged or in the wrong format."""

    reason = ErrorReason.STORE_CORRUPT


def as_disk_full(error: OSError) -> DiskFull | None:
    """Return DiskFull for an out-of-space error; None for any other operating system error.

    Example:
        >>> as_disk_full(OSError(errno.ENOSPC, "No space left on device"))
        DiskFull('the disk is full: free some space')
        >>> as_disk_full(OSError(errno.EIO, "Input/output error")) is None
        True
    """
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or f"os error {errno.ENOSPC})" in str(error)
    return DiskFull("the disk is full: free some space", retry_after_s=5.0) if is_full else None


def _text_of(value: Variable) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
