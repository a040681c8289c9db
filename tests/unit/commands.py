"""Shared parts of the command tests: meshes, and a home that leads to the mesh."""

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
    """Run a mesh with a home that has a key and a ready file, as after `hitmesh dev`; commands find this mesh."""
    for name in ("HITMESH_ENDPOINT", "HITMESH_KEY", "HITMESH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "dev-server").write_text(KEY)
    monkeypatch.setenv("HITMESH_HOME", str(home))
    with running(ScriptedMesh()) as mesh:
        (home / "ready.json").write_text(json.dumps({"grpc": mesh.endpoint}))
        yield mesh


def operators_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home with the keys of `hitmesh dev`; commands find this home."""
    for name in ("ENDPOINT", "KEY", "KEY_FILE", "OPERATOR_KEY", "OPERATOR_KEY_FILE"):
        monkeypatch.delenv(f"HITMESH_{name}", raising=False)
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "dev-server").write_text(OWNER)
    (home / "keys" / "dev-operator").write_text(OPERATOR + "\n")
    monkeypatch.setenv("HITMESH_HOME", str(home))
    return home


@contextmanager
def control_of_home(home: Path) -> Iterator[Mesh]:
    """Run services on in-memory stores, with closed reads; commands that find the home call the control service."""
    with contextmanager(start)(open_reads=False) as mesh:
        (home / "ready.json").write_text(json.dumps({"grpc": f"127.0.0.1:{mesh.control_port}"}))
        yield mesh
