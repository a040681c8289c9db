"""Shared parts of the command tests: a mesh that follows a script, and a home that leads to the mesh."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.scripted_mesh import KEY, ScriptedMesh, running

WEBLOG = "merchants/demo/sites/weblog"


@contextmanager
def mesh_of_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    """Run a mesh with a home that has a key and a ready file, as after `hitmesh dev`; commands find this mesh."""
    for name in ("HITMESH_ENDPOINT", "HITMESH_KEY", "HITMESH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "dev-server").write_text(KEY)
    monkeypatch.setenv("HITMESH_HOME", str(home))
    with running(ScriptedMesh()) as mesh:
        (home / "ready.json").write_text(json.dumps({"grpc": mesh.endpoint}))
        yield mesh
