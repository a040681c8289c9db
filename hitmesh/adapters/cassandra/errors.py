"""Translate driver errors, and decide which errors the caller may retry.

Time-outs, missing nodes, overloaded nodes and server errors become Unavailable. If Cassandra or the driver rejects a
statement or a value, the error is fatal. The cause of a fatal error is a bug or a missing schema.
"""

from __future__ import annotations

import struct
from typing import Final

from cassandra import (
    CoordinationFailure,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    Timeout,
    UnresolvableContactPoints,
)
from cassandra import Unavailable as TooFewReplicas
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException, ProtocolError
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ServerError,
    TruncateError,
)

from hitmesh.model.errors import FatalError, HitmeshError, Unavailable

_RETRY_AFTER_S: Final = 1.0
_CAS_WRITE_UNKNOWN: Final = 0x1700  # unknown outcome of a conditional write; the driver has no class for this code
_MAX_CHARS: Final = 300
_PASSING: Final = (
    OperationTimedOut,
    Timeout,
    TooFewReplicas,
    CoordinationFailure,
    NoHostAvailable,
    NoConnectionsAvailable,
    ConnectionException,
    ConnectionBusy,
    UnresolvableContactPoints,
    OverloadedErrorMessage,
    IsBootstrappingErrorMessage,
    TruncateError,
    ServerError,
    OSError,
)
# The list includes Python's built-in errors, because the driver raises them for values that do not fit a column.
EXPECTED: Final = (
    *_PASSING,
    DriverException,
    ErrorMessage,
    ProtocolError,
    TypeError,
    ValueError,
    OverflowError,
    struct.error,
)


def translated(error: Exception, cql: str) -> HitmeshError:
    """Return the hitmesh error that must be raised in place of a driver error.

    Args:
        error: an instance of EXPECTED.
        cql: the statement without its values, because the values may be personal data.
    """
    cause = type(error).__name__
    message = f"Cassandra, {' '.join(cql.split())[:_MAX_CHARS]}: {cause}: {str(error)[:_MAX_CHARS]}"
    if isinstance(error, _PASSING) or getattr(error, "code", None) == _CAS_WRITE_UNKNOWN:
        return Unavailable(f"{message}; try again", retry_after_s=_RETRY_AFTER_S, cause=cause)
    if isinstance(error, InvalidRequest) and ("does not exist" in str(error) or "unconfigured" in str(error)):
        return FatalError(f"{message}; run hitmesh init", cause=cause)
    return FatalError(message, cause=cause)
