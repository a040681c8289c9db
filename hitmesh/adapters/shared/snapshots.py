"""Which of two snapshots of a partition stays (decision A5). Decides that only; knows no storage."""

from __future__ import annotations

from hitmesh.model.stream_values import SnapshotManifest


def replaces(manifest: SnapshotManifest, there: SnapshotManifest | None) -> bool:
    """Returns whether a snapshot may take the place of the one that is there.

    A later writer's always may: it may have thrown away what the earlier one made of a longer stretch of the log. Of
    one writer, a snapshot may not go back.
    """
    if there is None:
        return True
    return (manifest.writer, manifest.position.next_offset) >= (there.writer, there.position.next_offset)
