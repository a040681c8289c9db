"""The last changes of sites and keys on Cassandra, from which processes learn which cache entries are outdated.

A change has a number, the name of the changed site or key, and a version. Numbers have no gaps, because one conditional
batch stores the change and raises `last`. A process polls `directory_version`, a single row, and reads the changes only
if the version differs. A merchant who changes a site again and again therefore costs the other merchants' cache entries
nothing. If the stored changes do not explain a new version, for example because a process of an earlier release wrote
the version, or because later changes have overwritten some changes, then all entries are outdated.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.model.errors import RetryError

# The store keeps this many changes. A process that missed more changes reads all entries again.
RING: Final = 1_024
ATTEMPTS: Final = 50
_LONGEST_PAUSE_S: Final = 0.1
_VERSION: Final = "SELECT version FROM directory_version WHERE zero = 0"
_LAST: Final = "SELECT last FROM directory_changes WHERE zero = 0 LIMIT 1"
_SLOTS: Final = "SELECT number, name, version FROM directory_changes WHERE zero = 0 AND slot >= ? AND slot < ?"
_FIRST: Final = "UPDATE directory_changes SET last = ? WHERE zero = 0 IF last = null"
_NEXT: Final = "UPDATE directory_changes SET last = ? WHERE zero = 0 IF last = ?"
_INSERT: Final = "INSERT INTO directory_changes (zero, slot, number, name, version) VALUES (0, ?, ?, ?, ?)"
_ANNOUNCE: Final = "UPDATE directory_version SET version = ? WHERE zero = 0 IF version != ?"


class DirectoryChanges:
    """Writes and reads changes. `note` is thread-safe; call `changed` from one thread at a time.

    Args:
        session: a session on the keyspace.
        ring: number of changes that the store keeps; all processes of a mesh must use the same number.
        attempts: how often `note` tries to be the next change.
    """

    def __init__(self, session: CassandraSession, *, ring: int = RING, attempts: int = ATTEMPTS) -> None:
        self._session = session
        self._ring = ring
        self._attempts = attempts
        self._version: object = None
        self._last: int | None = None
        # Versions of changes that were read already. Two writers may announce their versions in another order than
        # their changes were stored.
        self._known: deque[object] = deque(maxlen=ring)

    def note(self, name: str) -> None:
        """Store that the site or key with this name has changed; call this method after the change is stored.

        Raises:
            RetryError: the store is unavailable, or other processes note too many changes.
        """
        version = uuid.uuid1()
        self._append(name, version)
        # The condition is always true. Cassandra orders conditional writes without clocks, so a later version always
        # replaces an earlier version.
        self._session.apply(_ANNOUNCE, (version, version))

    def _append(self, name: str, version: uuid.UUID) -> None:
        for attempt in range(self._attempts):
            if attempt:
                # Many writers at the same time would otherwise overtake each other again and again.
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.002 * 2**attempt)))
            last = self._stored_last(serial=True)
            number = (last or 0) + 1
            raised = (_FIRST, (number,)) if last is None else (_NEXT, (number, last))
            if self._session.apply_batch([raised, (_INSERT, (number % self._ring, number, name, version))]):
                return
        raise RetryError(
            "the change is stored, but other processes may use the earlier values for some minutes, because at every "
            "attempt to announce the change other changes came first: send the request again"
        )

    def changed(self) -> Sequence[str] | None:
        """Return the names that changed since the last call; None if all sites and keys may have changed.

        Raises:
            RetryError: the store is unavailable. The next call returns the same names.
        """
        rows = self._session.run(_VERSION)
        version = rows[0].version if rows else None
        if version == self._version and self._last is not None:
            return ()
        last = self._stored_last() or 0
        names = self._names(last, version)
        self._version, self._last = version, last
        return names

    def _names(self, last: int, version: object) -> list[str] | None:
        """Return the names in the changes after the last known change; None if these changes are not all there."""
        if self._last is None or not 0 <= last - self._last <= self._ring:
            return None
        numbers = range(self._last + 1, last + 1)
        found = {row.number: row for row in self._rows(numbers)}
        if not found.keys() >= set(numbers):
            return None
        rows = [found[number] for number in numbers]
        self._known.extend(row.version for row in rows)
        return [row.name for row in rows] if version in self._known else None

    def _rows(self, numbers: range) -> Iterator[Row]:
        """Read the slots of at most `ring` numbers: one range of slots, or two where the ring begins again."""
        if not numbers:
            return
        first, end = numbers[0] % self._ring, numbers[0] % self._ring + len(numbers)
        yield from self._session.run(_SLOTS, (first, min(end, self._ring)))
        if end > self._ring:
            yield from self._session.run(_SLOTS, (0, end - self._ring))

    def _stored_last(self, *, serial: bool = False) -> int | None:
        rows = self._session.run(_LAST, serial=serial)
        return rows[0].last if rows else None
