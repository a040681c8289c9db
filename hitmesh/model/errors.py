"""The one tree of errors, branched by what the caller should do.

HitmeshError
├── RetryError          try again, not before `retry_after_s`
│   ├── KeyNotLookedUp  too many unknown keys were looked up lately: whether this one exists is not known
│   ├── LogFull         the log cannot take the record now
│   ├── Unavailable     a store or service does not answer
│   │   └── DiskFull    the disk has no room for what is to be written
│   ├── PartitionsMoved the group gave partitions to another reader: see what this one has now
│   └── CommitInDoubt   whether a transaction was committed is not known: ask, do not repeat
├── RefusedError        the question or value is wrong: names field, rule and cure; trying again changes nothing
│   ├── NotFound        no such thing, or not yours
│   ├── AlreadyExists   the name is taken by something else
│   ├── Unauthenticated the key is unknown or revoked
│   └── PermissionDenied the key is valid, but not for this
├── Abandoned           the caller left or its deadline passed: nothing was decided
└── FatalError          give up: a bug or a broken store
    ├── StaleGeneration another writer published first
    ├── Fenced          another writer took over: stop writing
    └── StoreCorrupt    stored bytes are not what they must be
Adapters translate driver errors into these at their edge; `hitmesh.runtime.rpc_errors` maps them to gRPC status.
"""

from __future__ import annotations

import errno


class HitmeshError(Exception):
    """Anything hitmesh raises on purpose.

    `reason` is UPPER_SNAKE, stable, at most 63 characters; `message` names value, rule and cure.
    """

    reason: str = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class RetryError(HitmeshError):
    """The same call may succeed later."""

    reason = "UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class KeyNotLookedUp(RetryError):
    """Whether a key exists was not looked up: too many look-ups found nothing lately."""

    reason = "QUOTA"


class LogFull(RetryError):
    """The log cannot take the record now; nothing of it was written."""

    reason = "LOG_FULL"


class Unavailable(RetryError):
    """A store or service does not answer."""


class DiskFull(Unavailable):
    """The disk has no room for what is to be written; nothing of it is there, and it goes on once room is made."""

    reason = "DISK_FULL"


class PartitionsMoved(RetryError):
    """This reader lost or got partitions; what was read and not committed will be read again."""

    reason = "PARTITIONS_MOVED"


class CommitInDoubt(RetryError):
    """The transaction may or may not be committed: throw away what depends on it and read what was committed."""

    reason = "COMMIT_IN_DOUBT"


class RefusedError(HitmeshError):
    """The caller's value is wrong; `field` is its path in the request."""

    reason = "INVALID_FIELD"

    def __init__(self, message: str, *, field: str = "", reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.field = field


class NotFound(RefusedError):
    """There is no such thing, or it is not the caller's: the two are not told apart."""

    reason = "NOT_FOUND"


class AlreadyExists(RefusedError):
    """The name is taken by something that differs from what was asked for."""

    reason = "ALREADY_EXISTS"


class Unauthenticated(RefusedError):
    """The key is unknown (UNKNOWN_KEY) or revoked (KEY_REVOKED)."""

    reason = "UNKNOWN_KEY"


class PermissionDenied(RefusedError):
    """The key is valid, but not for this."""

    reason = "PERMISSION_DENIED"


class Abandoned(HitmeshError):
    """The work was left: its result would come too late (DEADLINE_EXCEEDED) or to a caller who left (CANCELLED)."""

    reason = "CANCELLED"


class FatalError(HitmeshError):
    """Trying again does not help."""


class StaleGeneration(FatalError):
    """Another entry was published for the site-day since the scan began; scan again."""

    reason = "STALE_GENERATION"


class Fenced(FatalError):
    """A later writer took over; this one must write no more."""

    reason = "FENCED"


class StoreCorrupt(FatalError):
    """Stored bytes are not what they must be."""

    reason = "STORE_CORRUPT"


def as_disk_full(error: OSError) -> DiskFull | None:
    """Return the error of a disk without room; None for any other error of the operating system."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or f"os error {errno.ENOSPC})" in str(error)
    return DiskFull("the disk has no room: free some", retry_after_s=5.0) if is_full else None
