"""List, show, mend and replay rejected hits on the command line. All calls go through Envoy. No hit may count twice."""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import NewSite
from tests.support.mesh import Mesh, one_json_line
from tests.support.rest import Rest, reason_of
from tests.support.waiting import eventually


def rejected(mesh: Mesh, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = mesh.run("rejected", *arguments, "-o", "json")
    assert done.code == code, done
    found: dict[str, Any] = one_json_line(done.out)
    return found


def totals(mesh: Mesh, site: str) -> tuple[int, ...]:
    """Return the ledger's numbers of received, rejected and accepted hits, and the imbalance."""
    found = one_json_line(mesh.cli("ledger", "--site", site, "-o", "json"))
    return (*(found[name]["hits"] for name in ("received", "rejected", "accepted")), found["imbalance"])


def counted(mesh: Mesh, site: str) -> tuple[int, int]:
    """Return the numbers of hits and copies that reports show."""
    arguments = ("--metrics", "hits,duplicate_hits", "--last", "3d", "--grain", "none", "-o", "json")
    rows = one_json_line(mesh.cli("query", "--site", site, *arguments))["rows"]
    return (rows[0]["hits"], rows[0]["duplicate_hits"]) if rows else (0, 0)


def a_hit(number: int, url: str, **fields: str) -> dict[str, object]:
    return {"hitId": f"h{number}", "type": "HIT_TYPE_PAGE_VIEW", "pageView": {"url": url}, **fields}


def test_rejected_hits_are_listed_mended_and_replayed_once(mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("rejects")
    door = Rest(mesh, {"hitmesh-site": site})
    operator = Rest(mesh, {"authorization": f"Bearer {mesh.operator_key}"})
    wrong = [a_hit(number, "/a", visitor=f"v{number}", note="\u001b[2J") for number in range(2)]
    status, _, answer = door.post("/v1/hits:send", {"ingestKey": mesh.key, "hits": wrong})
    assert (status, answer["rejectedCount"]) == (200, "2")

    def stored() -> bool:
        status, _, page = operator.get(f"/v1/rejectedHits?site={site}&reason=REASON_MISSING_FIELD&pageSize=1")
        assert status == 200
        return bool(page["nextPageToken"])

    eventually(stored, "both refusals are stored")
    status, _, error = Rest(mesh, {"authorization": f"Bearer {mesh.key}"}).get("/v1/rejectedHits")
    assert (status, reason_of(error)) == (403, "PERMISSION_DENIED")

    listed = rejected(mesh, "list", "--site", site, "--reason", "missing_field", "--since", "yesterday")["rejected"]
    assert [each["hit_id"] for each in listed] == ["h1", "h0"]
    first = listed[0]["id"]
    shown = rejected(mesh, "show", first)
    assert (shown["reason"], shown["field"], shown["kept"]) == ("MISSING_FIELD", "visitor_id", wrong[1])
    assert operator.get(f"/v1/rejectedHits/{first}")[2]["rejectedHit"]["name"] == f"rejectedHits/{first}"
    assert "\u001b" not in mesh.cli("rejected", "show", first, "-o", "table")

    cure = ("--rename", "visitor=visitorId", "--set", "pageView.url=/mended")
    preview = rejected(mesh, "replay", "--site", site, *cure, "--dry-run")
    assert [each["hits"][0]["pageView"]["url"] for each in preview["would_send"]] == ["/mended"] * 2
    assert (preview["would_replay"], preview["replayed"], preview["rejected_again"]) == (2, 0, 0)
    predicted = rejected(mesh, "replay", first, "--dry-run", code=67)
    refused = rejected(mesh, "replay", first, code=67)
    assert predicted["problems"] == refused["problems"]
    assert (refused["rejected_again"], refused["problems"][0]["reason"]) == (1, "MISSING_FIELD")
    for _ in range(2):
        assert rejected(mesh, "replay", first, *cure)["replayed"] == 1
    of_site = rejected(mesh, "replay", "--site", site, *cure)  # the rejected replay is not counted
    assert (of_site["selected"], of_site["replayed_before"], of_site["replayed"]) == (2, 1, 1)
    right = [a_hit(number, "/mended", visitorId=f"v{number}") for number in range(2)]
    assert door.post("/v1/hits:send", {"ingestKey": mesh.key, "hits": right})[0] == 200

    eventually(lambda: counted(mesh, site) == (2, 3), "two hits count, the others are copies")
    eventually(lambda: totals(mesh, site) == (8, 3, 5, 0), "the ledger counts each receipt and balances")
