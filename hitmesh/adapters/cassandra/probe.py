"""Probes Cassandra whether a quorum of the mesh's tables answers."""

from __future__ import annotations

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.cassandra.streams import CassandraStreams


class CassandraProbe:
    """Reads a single small row, with the consistency of the services' own reads.

    Args:
        session: the session of the process.
    """

    def __init__(self, session: CassandraSession) -> None:
        self._streams = CassandraStreams(session)

    def __call__(self) -> None:
        """Return when Cassandra has answered.

        Raises:
            Unavailable: Cassandra does not answer, or too few replicas do.
        """
        self._streams.read()
