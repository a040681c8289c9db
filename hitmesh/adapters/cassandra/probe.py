"""Probes Cassandra whether a quorum of the mesh's tables answers."""

from __future__ import annotations

from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession

ANSWER_S: Final = 2.0


class CassandraProbe:
    """Reads a single small row, with the consistency of the services' own reads.

    The deadline is shorter than a request's, so that a process has time for a further probe before it is not ready.

    Args:
        session: the session of the process.
        answer_s: seconds to wait for the answer.
    """

    def __init__(self, session: CassandraSession, answer_s: float = ANSWER_S) -> None:
        self._session = session
        self._answer_s = answer_s

    def __call__(self) -> None:
        """Return when Cassandra has answered.

        Raises:
            Unavailable: Cassandra does not answer in time, or too few replicas do.
        """
        self._session.ask("SELECT version FROM streams WHERE zero = 0", self._answer_s)
