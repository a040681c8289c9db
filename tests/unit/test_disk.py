"""Test the check of a directory: written, full, away, read-only."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitmesh.adapters.embedded.disk import probe_disk
from hitmesh.model.errors import DiskFull, Unavailable


def test_a_directory_with_room_is_left_as_it_was(tmp_path: Path) -> None:
    probe_disk(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_less_room_than_the_minimum_is_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="the disk is full"):
        probe_disk(tmp_path, min_free_bytes=1 << 62)


def test_a_directory_that_is_away_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"cannot be written \(No such file or directory\)"):
        probe_disk(tmp_path / "away")
