"""Store snapshots of the stream's state on one machine, in state.db.

The file is separate, so that commits to raw.db never wait for a snapshot.

This module decides which of two concurrent snapshots becomes visible, and when the chunks of older snapshots are
deleted. The module never decodes a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.snapshots import is_visible, key_of, replaces
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.stream_values import SnapshotManifest

_COLUMNS: Final = "stream, log_id, partition_no, writer, next_offset, log_time, logic_version, kept_from, chunks"
_OF_PARTITION: Final = "stream = ? AND log_id = ? AND partition_no = ?"


class EmbeddedStateStore:
    """Implements the port StateStore in state.db.

    Args:
        database: state.db.
        stream: the generation of the stream whose snapshots this store holds.
    """

    def __init__(self, database: Database, stream: int = STREAM_GENERATION) -> None:
        self._database = database
        self._stream = stream

    def save_chunks(self, partition: PartitionId, writer: int, next_offset: int, chunks: Sequence[bytes]) -> None:
        """Store a snapshot's chunks durably in a single transaction, in place of the snapshot's earlier chunks.

        Does nothing if the snapshot is visible.
        """
        snapshot = (self._stream, *partition, writer, next_offset)
        with self._database.writing() as transaction:
            if is_visible(self._manifest_of(transaction, partition), writer, next_offset):
                return
            transaction.run(f"DELETE FROM snapshots WHERE {_OF_PARTITION} AND writer = ? AND next_offset = ?", snapshot)
            transaction.run_many(
                "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((*snapshot, number, chunk) for number, chunk in enumerate(chunks)),
            )

    def save_manifest(self, manifest: SnapshotManifest) -> bool:
        """Make a snapshot visible and delete older chunks, in a single transaction.

        Returns False if the existing snapshot must be kept. The refused snapshot's chunks are then deleted.
        """
        version = key_of(manifest)
        with self._database.writing() as transaction:
            there = self._manifest_of(transaction, manifest.partition)
            if there == manifest:
                return True
            if not replaces(manifest, there):
                if not is_visible(there, *version):
                    transaction.run(
                        f"DELETE FROM snapshots WHERE {_OF_PARTITION} AND writer = ? AND next_offset = ?",
                        (self._stream, *manifest.partition, *version),
                    )
                return False
            transaction.run(
                f"REPLACE INTO snapshot_manifests ({_COLUMNS}) VALUES ({', '.join('?' * 9)})",
                (
                    self._stream,
                    *manifest.partition,
                    *version,
                    manifest.position.log_time,
                    manifest.logic_version,
                    manifest.kept_from,
                    manifest.chunks,
                ),
            )
            transaction.run(
                f"DELETE FROM snapshots WHERE {_OF_PARTITION} AND (writer, next_offset) < (?, ?)",
                (self._stream, *manifest.partition, *version),
            )
        return True

    def load(self, partition: PartitionId, logic_version: int) -> tuple[SnapshotManifest, Sequence[bytes]] | None:
        """Return the newest snapshot if it is complete and this logic version wrote it; otherwise None."""
        with self._database.reading() as transaction:
            manifest = self._manifest_of(transaction, partition)
            if manifest is None or manifest.logic_version != logic_version:
                return None
            chunks = transaction.rows(
                bytes,
                f"""SELECT value FROM snapshots WHERE {_OF_PARTITION} AND writer = ? AND next_offset = ?
                ORDER BY chunk_no""",
                (self._stream, *partition, manifest.writer, manifest.position.next_offset),
            )
        return (manifest, chunks) if len(chunks) == manifest.chunks else None

    def forget(self) -> None:
        """Remove the stream's snapshots; idempotent."""
        with self._database.erasing() as transaction:
            for table in ("snapshot_manifests", "snapshots"):
                transaction.run(f"DELETE FROM {table} WHERE stream = ?", (self._stream,))

    def _manifest_of(self, transaction: Transaction, partition: PartitionId) -> SnapshotManifest | None:
        return transaction.first(
            _manifest,
            f"SELECT {_COLUMNS} FROM snapshot_manifests WHERE {_OF_PARTITION}",
            (self._stream, *partition),
        )


def _manifest(
    _stream: int,
    log: str,
    partition: int,
    writer: int,
    next_offset: int,
    log_time: int,
    logic_version: int,
    kept_from: int,
    chunks: int,
) -> SnapshotManifest:
    position = PartitionProgress(next_offset, log_time)
    return SnapshotManifest(PartitionId(log, partition), writer, position, logic_version, kept_from, chunks)
