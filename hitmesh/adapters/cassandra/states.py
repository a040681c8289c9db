"""Store snapshots of the stream's state on Cassandra, as chunks and a manifest that makes a snapshot visible.

A conditional write decides which of two concurrent snapshots becomes visible. When a snapshot has become visible, the
chunks of older snapshots are deleted. This module never decodes a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.shared.catalogue import log_of_stream
from hitmesh.adapters.shared.snapshots import is_visible, key_of, replaces
from hitmesh.model.errors import Unavailable
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.stream_values import SnapshotManifest

# Chunks have at most 1 MiB. With more than four chunks in flight, requests would time out on a busy node and delay all
# other requests.
_CHUNKS_IN_FLIGHT: Final = 4
_MAX_TRIES: Final = 8
_OF: Final = "log = ? AND partition = ?"
_OF_SNAPSHOT: Final = f"{_OF} AND writer = ? AND next_offset = ?"
_COLUMNS: Final = "writer, next_offset, log_time, logic_version, kept_from, chunks"


class CassandraStateStore:
    """Implements the port StateStore. Thread-safe.

    Args:
        session: the connection.
        stream: the generation of the stream whose snapshots this store holds.
    """

    def __init__(self, session: CassandraSession, stream: int = STREAM_GENERATION) -> None:
        self._session = session
        self._stream = stream

    def save_chunks(self, partition: PartitionId, writer: int, next_offset: int, chunks: Sequence[bytes]) -> None:
        """Store a snapshot's chunks durably, in place of the snapshot's earlier chunks.

        Does nothing if the snapshot is visible.
        """
        if is_visible(self._manifest(partition), writer, next_offset):
            return
        snapshot = (*self._key(partition), writer, next_offset)
        self._session.run(
            "INSERT INTO snapshot_chunks (log, partition, writer, next_offset) VALUES (?, ?, ?, ?)", snapshot
        )
        self._session.run(f"DELETE FROM snapshots WHERE {_OF_SNAPSHOT}", snapshot)
        self._session.run_many(
            "INSERT INTO snapshots (log, partition, writer, next_offset, chunk, value) VALUES (?, ?, ?, ?, ?, ?)",
            ((*snapshot, number, chunk) for number, chunk in enumerate(chunks)),
            max_in_flight=_CHUNKS_IN_FLIGHT,
        )

    def save_manifest(self, manifest: SnapshotManifest) -> bool:
        """Make a snapshot visible; return whether it became visible.

        After the snapshot has become visible, delete the chunks of older snapshots. Delete a refused snapshot's chunks.
        """
        for _ in range(_MAX_TRIES):
            there = self._manifest(manifest.partition)
            if there == manifest:
                break
            if not replaces(manifest, there):
                if not is_visible(there, *key_of(manifest)):
                    self._remove([(*self._key(manifest.partition), *key_of(manifest))])
                return False
            if self._replaced(manifest, there):
                break
        else:
            raise Unavailable(
                f"other processes write the manifest of {manifest.partition} at the same time; try again",
                partition=str(manifest.partition),
            )
        self._remove_older(manifest)
        return True

    def load(self, partition: PartitionId, logic_version: int) -> tuple[SnapshotManifest, Sequence[bytes]] | None:
        """Return the newest snapshot if it is complete and this logic version wrote it; otherwise None."""
        manifest = self._manifest(partition)
        if manifest is None or manifest.logic_version != logic_version:
            return None
        snapshot = (*self._key(partition), manifest.writer, manifest.position.next_offset)
        chunks = [
            row.value
            for row in self._session.stream(
                f"SELECT chunk, value FROM snapshots WHERE {_OF_SNAPSHOT}", snapshot, page_rows=_CHUNKS_IN_FLIGHT
            )
        ]
        return (manifest, chunks) if len(chunks) == manifest.chunks else None

    def _manifest(self, partition: PartitionId) -> SnapshotManifest | None:
        rows = self._session.run(
            f"SELECT {_COLUMNS} FROM snapshot_manifests WHERE {_OF}", self._key(partition), serial=True
        )
        return _manifest(partition, rows[0]) if rows else None

    def _replaced(self, manifest: SnapshotManifest, there: SnapshotManifest | None) -> bool:
        """Replace the manifest `there` unless another process has changed it; return whether the write succeeded."""
        values = (
            manifest.writer,
            manifest.position.next_offset,
            manifest.position.log_time,
            manifest.logic_version,
            manifest.kept_from,
            manifest.chunks,
        )
        if there is None:
            return self._session.apply(
                f"INSERT INTO snapshot_manifests (log, partition, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "IF NOT EXISTS",
                (*self._key(manifest.partition), *values),
            )
        return self._session.apply(
            f"""UPDATE snapshot_manifests SET writer = ?, next_offset = ?, log_time = ?, logic_version = ?,
                kept_from = ?, chunks = ? WHERE {_OF} IF writer = ? AND next_offset = ?""",
            (*values, *self._key(manifest.partition), there.writer, there.position.next_offset),
        )

    def _remove_older(self, manifest: SnapshotManifest) -> None:
        newest, key = key_of(manifest), self._key(manifest.partition)
        rows = self._session.run(f"SELECT writer, next_offset FROM snapshot_chunks WHERE {_OF}", key)
        older = [(*key, *row) for row in rows if (row.writer, row.next_offset) < newest]
        self._remove(older)

    def _remove(self, snapshots: Sequence[tuple[str, int, int, int]]) -> None:
        """Delete the chunks of snapshots, each given by log, partition, writer and next_offset."""
        self._session.run_many(f"DELETE FROM snapshots WHERE {_OF_SNAPSHOT}", snapshots)
        self._session.run_many(f"DELETE FROM snapshot_chunks WHERE {_OF_SNAPSHOT}", snapshots)

    def forget(self, partitions: Iterable[PartitionId]) -> None:
        """Remove the stream's snapshots of these partitions; idempotent."""
        for key in map(self._key, partitions):
            rows = self._session.run(f"SELECT writer, next_offset FROM snapshot_chunks WHERE {_OF}", key)
            self._session.apply(f"DELETE FROM snapshot_manifests WHERE {_OF} IF EXISTS", key)
            self._remove([(*key, *row) for row in rows])

    def _key(self, partition: PartitionId) -> PartitionId:
        return PartitionId(log_of_stream(partition.log, self._stream), partition.partition)


def _manifest(partition: PartitionId, row: Row) -> SnapshotManifest:
    position = PartitionProgress(row.next_offset, row.log_time)
    return SnapshotManifest(partition, row.writer, position, row.logic_version, row.kept_from, row.chunks)
