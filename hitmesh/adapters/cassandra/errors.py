"""What the driver's errors mean. Decides which of them another try may mend.

A time-out, a node that is gone or overloaded, a server's own trouble: Unavailable. A statement or value that Cassandra
or the driver refuses: a bug or a schema that was not made.
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
_CAS_WRITE_UNKNOWN: Final = 0x1700  # the driver has no class for it
_MAX_SAID: Final = 300
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
# Values that do not fit their column are refused by the driver with Python's own errors.
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
    """Returns what is raised instead of a driver's error.

    Args:
        error: one of EXPECTED.
        cql: what was asked, without its values, which may be a visitor's.
    """
    said = f"Cassandra, {' '.join(cql.split())[:_MAX_SAID]}: {type(error).__name__}: {str(error)[:_MAX_SAID]}"
    if isinstance(error, _PASSING) or getattr(error, "code", None) == _CAS_WRITE_UNKNOWN:
        return Unavailable(f"{said}; try again", retry_after_s=_RETRY_AFTER_S)
    if isinstance(error, InvalidRequest) and ("does not exist" in str(error) or "unconfigured" in str(error)):
        return FatalError(f"{said}; run hitmesh init")
    return FatalError(said)
