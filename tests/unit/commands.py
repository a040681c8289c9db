"""Shared code of the command tests: meshes, and a home in which commands find the mesh's address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.reporters import OPERATOR, OWNER, Mesh, start
from tests.unit.scripted_mesh import KEY, ScriptedMesh, running

WEBLOG = "merchants/demo/sites/weblog"


@contextmanager
def mesh_of_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    """Run a scripted mesh whose home has a key and a ready file, as `hitmesh dev` creates them.

    All commands in the test use this mesh.
    """
    for name in ("HITMESH_ENDPOINT", "HITMESH_KEY", "HITMESH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "dev-server").write_text(KEY)
    monkeypatch.setenv("HITMESH_HOME", str(home))
    with running(ScriptedMesh()) as mesh:
        (home / "ready.json").write_text(json.dumps({"grpc": mesh.endpoint}))
        yield mesh


def operators_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home with the keys that `hitmesh dev` creates. All commands in the test use this home."""
    for name in ("ENDPOINT", "KEY", "KEY_FILE", "OPERATOR_KEY", "OPERATOR_KEY_FILE"):
        monkeypatch.delenv(f"HITMESH_{name}", raising=False)
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "dev-server").write_text(OWNER)
    (home / "keys" / "dev-operator").write_text(OPERATOR + "\n")
    monkeypatch.setenv("HITMESH_HOME", str(home))
    return home


@contextmanager
def control_of_home(home: Path) -> Iterator[Mesh]:
    """Run services on in-memory stores, in which reads need a key.

    Commands that use `home` call the control service that runs here.
    """
    with contextmanager(start)(open_reads=False) as mesh:
        (home / "ready.json").write_text(json.dumps({"grpc": f"127.0.0.1:{mesh.control_port}"}))
        yield mesh
