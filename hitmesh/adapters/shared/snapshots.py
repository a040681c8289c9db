"""Decide which of two snapshots of a partition is kept (architecture A5)."""

from __future__ import annotations

from hitmesh.model.stream_values import SnapshotManifest


def replaces(manifest: SnapshotManifest, there: SnapshotManifest | None) -> bool:
    """Return whether a snapshot may replace the existing snapshot.

    A later writer's snapshot always replaces an earlier writer's snapshot, even if the later writer's snapshot has an
    earlier position. The later writer may have discarded its state and built a new state. A snapshot must not replace a
    snapshot that the same writer saved at the same or a later position.
    """
    return there is None or key_of(manifest) > key_of(there)


def key_of(manifest: SnapshotManifest) -> tuple[int, int]:
    """Return the writer and the position that identify a partition's snapshot."""
    return manifest.writer, manifest.position.next_offset


def is_visible(there: SnapshotManifest | None, writer: int, next_offset: int) -> bool:
    """Return whether the manifest `there` names this snapshot.

    The chunks of a visible snapshot must not change: if the process died in between, no snapshot would be left.
    """
    return there is not None and key_of(there) == (writer, next_offset)
