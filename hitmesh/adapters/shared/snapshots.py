"""Decide which of two snapshots of a partition stays (architecture A5)."""

from __future__ import annotations

from hitmesh.model.stream_values import SnapshotManifest


def replaces(manifest: SnapshotManifest, there: SnapshotManifest | None) -> bool:
    """Return whether a snapshot may replace the existing snapshot.

    A snapshot by a later writer always replaces an earlier writer's, even at an earlier position, because the later
    writer may have discarded state. A snapshot by the same writer must not be at an earlier position.
    """
    if there is None:
        return True
    return (manifest.writer, manifest.position.next_offset) >= (there.writer, there.position.next_offset)
