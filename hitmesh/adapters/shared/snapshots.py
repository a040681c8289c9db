"""Decide which of two snapshots of a partition is kept (architecture A5)."""

from __future__ import annotations

from hitmesh.model.stream_values import SnapshotManifest


def replaces(manifest: SnapshotManifest, there: SnapshotManifest | None) -> bool:
    """Return whether a snapshot may replace the existing snapshot.

    A later writer's snapshot always replaces an earlier writer's snapshot, even if the later writer's snapshot has an
    earlier position. The later writer may have discarded its state and built a new state. A snapshot must not replace a
    snapshot that the same writer saved at a later position.
    """
    if there is None:
        return True
    return (manifest.writer, manifest.position.next_offset) >= (there.writer, there.position.next_offset)
