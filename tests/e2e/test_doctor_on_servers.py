"""Test `hitmesh doctor` on the mesh that other tests share, over every store: the canary passes both serving paths."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.mesh import Mesh, one_json_line
from tests.support.waiting import eventually

CHECKS = ("door", "services", "envoy", "processes", "contract", "canary", "freshness", "clocks", "files")
ON_SERVERS = ("topics", "tables", "sources")


@pytest.mark.timeout(240)
def test_a_running_mesh_has_no_finding_over_any_store(mesh: Mesh) -> None:
    names = CHECKS + ON_SERVERS
    arguments = [argument for name in names for argument in ("--check", name)]
    found: dict[str, Any] = {}

    def is_well() -> bool:
        found.update(one_json_line(mesh.run("doctor", *arguments, "-o", "json").out))
        return bool(found["ok"])

    # Druid's supervisors of a mesh that has just started need a moment to start their tasks.
    eventually(is_well, f"the doctor finds nothing; found {found}", 90)
    statuses = {check["check"]: check["status"] for check in found["checks"]}
    of_other_store = {"files"} if mesh.on_servers else set(ON_SERVERS)
    assert {name for name, status in statuses.items() if status == "skipped"} == of_other_store
    canary = next(check for check in found["checks"] if check["check"] == "canary")
    assert canary["status"] == "ok"
