"""An exclusion rule excludes new hits and is applied to history.

The reprocessing that changed history is then rolled back, and the rule is removed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from tests.e2e.asking import DAY, NOON_MS, short
from tests.e2e.conftest import NewSite
from tests.support.comparison import Question, ask
from tests.support.mesh import Mesh, one_json_line
from tests.support.messages import page_view
from tests.support.rest import Rest
from tests.support.waiting import eventually


def send(mesh: Mesh, site: str, hits: Sequence[hit_pb2.Hit]) -> None:
    """Send hits, and wait until reports contain the hits."""
    request = collector_pb2.SendHitsRequest(batch=hit_pb2.HitBatch(ingest_key=mesh.key, hits=hits))
    mesh.wait_visible(site, mesh.collector().SendHits(request, metadata=(("hitmesh-site", site),), timeout=20).receipts)


def view(path: str, at: int) -> hit_pb2.Hit:
    """Return a page view of a visitor without other hits, `at` minutes after noon."""
    return page_view(f"{path}-{at}", NOON_MS + at * 60_000, path, visitor=f"{path}-{at}")


def hits(mesh: Mesh, site: str, first: date = DAY, last: date = DAY) -> tuple[int, int]:
    """Return the number of hits without excluded hits, and the number with excluded hits."""
    counts = []
    for included in (False, True):
        question = Question(site, first, last, metrics=("hits",), include_excluded=included)
        counts.append(sum(int(str(row["hits"])) for row in ask(mesh.reporter(), question).values()))
    return counts[0], counts[1]


def wait_until_excluded(mesh: Mesh, site: str, path: str) -> None:
    """Send live hits until a hit is excluded. Collectors may cache a site's earlier rules for up to 2 s."""
    today, numbers = datetime.now(UTC).date(), count()

    def is_excluded() -> bool:
        send(mesh, site, [page_view(f"live-{next(numbers)}", time.time_ns() // 1_000_000, path)])
        counted, stored = hits(mesh, site, today - timedelta(days=1), today + timedelta(days=1))
        return counted < stored

    eventually(is_excluded, f"a rule excludes {path}")


def reprocess(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = one_json_line(mesh.cli("reprocess", *arguments, "-o", "json", timeout_s=300))
    return found


def apply_rules(mesh: Mesh, site: str) -> str:
    """Plan, run and publish a reprocessing of kind RULES, and return its id."""
    days = ("--since", f"{DAY}", "--until", f"{DAY}")
    id_: str = reprocess(mesh, "plan", "--site", short(site), *days, "--kind", "rules")["id"]
    reprocess(mesh, "run", id_, "--wait")
    reprocess(mesh, "publish", id_, "--wait")
    return id_


@pytest.mark.timeout(300)
def test_rule_is_applied_to_history_rolled_back_and_taken_back(mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("ruled")
    send(mesh, site, [view(path, 0) for path in ("/", "/admin/1", "/admin/2")])
    assert hits(mesh, site) == (3, 3)

    rest = Rest(mesh, {"authorization": f"Bearer {mesh.key}"})
    rule = {"kind": "EXCLUSION_RULE_KIND_PAGE", "value": "^/admin/"}
    status, _, created = rest.post(f"/v1/{site}/exclusionRules", rule)
    assert (status, created["rule"]["name"]) == (200, f"{site}/exclusionRules/1")
    wait_until_excluded(mesh, site, "/admin/live")
    send(mesh, site, [view(path, 5) for path in ("/", "/admin/1", "/shop")])
    assert hits(mesh, site) == (5, 6), "only new hits are excluded"

    id_ = apply_rules(mesh, site)
    found = reprocess(mesh, "diff", id_)
    assert (found["totals"]["hits"]["old"], found["totals"]["hits"]["new"]) == (5, 3)
    assert found["reasons"]["newly_excluded_hits"] == 2
    assert hits(mesh, site) == (3, 6)
    reprocess(mesh, "rollback", id_, "--wait")
    assert hits(mesh, site) == (5, 6)

    status, _, body = rest.request("PATCH", f"/v1/{site}", json.dumps({"storeNetwork": True}).encode())
    assert (status, json.loads(body)["site"]["storeNetwork"]) == (200, True)
    (listed,) = one_json_line(mesh.cli("rules", "list", "--site", short(site), "-o", "json"))
    mesh.cli("rules", "remove", "--site", short(site), listed["id"])
    apply_rules(mesh, site)
    assert hits(mesh, site) == (6, 6), "the hits are back"
    assert one_json_line(mesh.cli("ledger", "--site", short(site), "-o", "json"))["imbalance"] == 0
