"""Test that the comparison of the contract with its image detects breaking changes and allows additions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).parent / "buf"
HIT = "proto/hitmesh/api/hit/v1/hit.proto"


def breaks(tree: Path) -> subprocess.CompletedProcess[str]:
    image = str(ROOT / "proto" / "contract.binpb")
    return subprocess.run(
        [str(BUF), "breaking", str(tree), "--against", image], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the contract."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def change(tree: Path, old: str, new: str) -> None:
    proto = tree / HIT
    text = proto.read_text()
    assert text.count(old) == 1
    proto.write_text(text.replace(old, new))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("repeated string category = 3;", "repeated string category = 13;", '"category"'),
        ("repeated string category = 3;", "repeated string categories = 3;", '"category"'),
        ("repeated string category = 3;", "string category = 3;", '"category"'),
        ("package hitmesh.api.hit.v1;", "package hitmesh.api.hit.v2;", "hitmesh.api.hit.v1"),
    ],
)
def test_a_field_that_is_renumbered_renamed_or_of_another_type_is_a_break(
    tree: Path, old: str, new: str, message: str
) -> None:
    change(tree, old, new)
    found = breaks(tree)
    assert found.returncode == 100, found.stderr
    assert message in found.stdout


@pytest.mark.timeout(60)
def test_an_added_field_is_no_break(tree: Path) -> None:
    change(tree, "repeated string category = 3;", "repeated string category = 3;\n  // New.\n  string colour = 100;")
    found = breaks(tree)
    assert (found.returncode, found.stdout) == (0, "")
