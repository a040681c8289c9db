"""A rule excludes hits from now on, is applied to history, rolled back, and taken back; through Envoy and commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hitmesh.model.names import short_site_name
from tests.e2e.conftest import NewSite
from tests.support.mesh import Mesh, one_json_line
from tests.support.rest import Rest

DAY = "2015-05-17"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:25.0) Gecko/20100101 Firefox/25.0"
LINE = '{ip} - - [17/May/2015:{at} +0000] "GET {path} HTTP/1.1" 200 10 "-" "' + AGENT + '"'


def import_views(mesh: Mesh, file: Path, site: str, paths: list[str]) -> None:
    """Import a view of another visitor for each path."""
    lines = [LINE.format(ip=f"203.0.113.{at}", at=f"10:00:{at:02}", path=path) for at, path in enumerate(paths, 1)]
    file.write_text("\n".join(lines) + "\n")
    mesh.cli("import", "access-log", str(file), "--site", site, timeout_s=120)


def hits(mesh: Mesh, site: str, *more: str) -> int:
    out = mesh.cli(
        *("query", "--site", site, "--metrics", "hits", "--since", DAY, "--until", DAY, "--tz", "UTC"),
        *("--grain", "none", "-o", "json", *more),
    )
    return int(one_json_line(out)["rows"][0]["hits"])


def reprocess(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = one_json_line(mesh.cli("reprocess", *arguments, "-o", "json", timeout_s=300))
    return found


def apply_rules(mesh: Mesh, site: str) -> str:
    """Plan, run and publish; return the id."""
    days = ("--since", DAY, "--until", DAY)
    id_: str = reprocess(mesh, "plan", "--site", site, *days, "--kind", "rules")["id"]
    reprocess(mesh, "run", id_, "--wait")
    reprocess(mesh, "publish", id_, "--wait")
    return id_


@pytest.mark.timeout(300)
def test_rule_is_applied_to_history_rolled_back_and_taken_back(mesh: Mesh, new_site: NewSite, tmp_path: Path) -> None:
    full_name = new_site("ruled")
    site = short_site_name(full_name)
    import_views(mesh, tmp_path / "early.log", site, ["/", "/admin/1", "/admin/2"])
    assert hits(mesh, site) == 3

    rest = Rest(mesh, {"authorization": f"Bearer {mesh.key}"})
    rule = {"kind": "EXCLUSION_RULE_KIND_PAGE", "value": "^/admin/"}
    status, _, created = rest.post(f"/v1/{full_name}/exclusionRules", rule)
    assert (status, created["rule"]["name"]) == (200, f"{full_name}/exclusionRules/1")
    assert one_json_line(mesh.cli("rules", "list", "--site", site, "-o", "json"))[0]["value"] == "^/admin/"
    import_views(mesh, tmp_path / "late.log", site, ["/", "/admin/1", "/admin/2", "/admin/3", "/shop"])
    assert (hits(mesh, site), hits(mesh, site, "--include-excluded")) == (4, 5), "only new hits are excluded"

    id_ = apply_rules(mesh, site)
    changed = reprocess(mesh, "diff", id_)["totals"]["hits"]
    assert (changed["old"], changed["new"]) == (4, 2)
    assert (hits(mesh, site), hits(mesh, site, "--include-excluded")) == (2, 5)
    reprocess(mesh, "rollback", id_, "--wait")
    assert hits(mesh, site) == 4
    reprocess(mesh, "publish", id_, "--wait")
    assert hits(mesh, site) == 2

    status, _, body = rest.request("PATCH", f"/v1/{full_name}", json.dumps({"storeNetwork": True}).encode())
    assert (status, json.loads(body)["site"]["storeNetwork"]) == (200, True)
    status, _, _ = rest.request("DELETE", f"/v1/{full_name}/exclusionRules/1")
    assert status == 200
    apply_rules(mesh, site)
    assert hits(mesh, site) == 5, "the hits are back"
    assert one_json_line(mesh.cli("ledger", "--site", site, "-o", "json"))["imbalance"] == 0
