"""What tests of commands share: a mesh that follows a script, and a home that leads to it."""

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
    """Run a mesh whose home has a key and a ready file, as `hitmesh dev` leaves it; commands of the test find it."""
    for name in ("HITMESH_ENDPOINT", "HITMESH_KEY", "HITMESH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "dev-server").write_text(KEY)
    monkeypatch.setenv("HITMESH_HOME", str(home))
    with running(ScriptedMesh()) as mesh:
        (home / "ready.json").write_text(json.dumps({"grpc": mesh.endpoint}))
        yield mesh
