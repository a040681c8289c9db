"""Decide which of two snapshots of a partition stays (decision A5)."""

from __future__ import annotations

from hitmesh.model.stream_values import SnapshotManifest


def replaces(manifest: SnapshotManifest, there: SnapshotManifest | None) -> bool:
    """Return whether a snapshot may replace the existing snapshot.

    A later writer's snapshot always may, since the writer may have discarded state that an earlier writer derived from
    more of the log. A single writer's snapshots must not move back.
    """
    if there is None:
        return True
    return (manifest.writer, manifest.position.next_offset) >= (there.writer, there.position.next_offset)
