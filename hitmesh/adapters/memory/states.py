"""Keep snapshots of the stream's state in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hitmesh.adapters.shared.snapshots import is_visible, key_of, replaces
from hitmesh.model.positions import PartitionId
from hitmesh.model.stream_values import SnapshotManifest


class MemoryStateStore:
    """Implements the port StateStore in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: dict[tuple[PartitionId, int, int], list[bytes]] = {}
        self._manifests: dict[PartitionId, SnapshotManifest] = {}

    def save_chunks(self, partition: PartitionId, writer: int, next_offset: int, chunks: Sequence[bytes]) -> None:
        """Store a snapshot's chunks; the snapshot is invisible until it has a manifest. A visible snapshot stays."""
        with self._lock:
            if not is_visible(self._manifests.get(partition), writer, next_offset):
                self._chunks[partition, writer, next_offset] = list(chunks)

    def save_manifest(self, manifest: SnapshotManifest) -> bool:
        """Make a snapshot visible and delete older snapshots; return False if the existing snapshot must be kept."""
        key = (manifest.partition, *key_of(manifest))
        with self._lock:
            there = self._manifests.get(manifest.partition)
            if there == manifest:
                return True
            if not replaces(manifest, there):
                if not is_visible(there, *key_of(manifest)):
                    self._chunks.pop(key, None)
                return False
            self._manifests[manifest.partition] = manifest
            self._chunks = {
                chunk_key: chunks
                for chunk_key, chunks in self._chunks.items()
                if chunk_key[0] != manifest.partition or chunk_key[1:] >= key[1:]
            }
        return True

    def load(self, partition: PartitionId, logic_version: int) -> tuple[SnapshotManifest, Sequence[bytes]] | None:
        """Return the newest snapshot if it is complete and this logic version wrote it; otherwise None."""
        with self._lock:
            manifest = self._manifests.get(partition)
            if manifest is None or manifest.logic_version != logic_version:
                return None
            chunks = self._chunks.get((partition, manifest.writer, manifest.position.next_offset), [])
        return (manifest, list(chunks)) if len(chunks) == manifest.chunks else None

    def forget(self) -> None:
        """Remove all snapshots."""
        with self._lock:
            self._chunks.clear()
            self._manifests.clear()
