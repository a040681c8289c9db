"""Test ledger, drift, traces and cell states in a running mesh, through Envoy and the command line."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.model.names import short_site_name
from tests.e2e.conftest import NewSite
from tests.support.dates import in_query
from tests.support.mesh import Mesh, one_json_line
from tests.support.messages import page_view
from tests.support.rest import Rest, reason_of
from tests.support.waiting import eventually

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Sent:
    """A site with three page views, a copy of the first page view, and a refused hit.

    All hits have the present time.
    """

    site: str
    now_ms: int

    @property
    def date(self) -> dt.date:
        """Return the UTC day of the hits."""
        return dt.datetime.fromtimestamp(self.now_ms / 1_000, dt.UTC).date()

    @property
    def short(self) -> str:
        """Return the site's short name."""
        return short_site_name(self.site)


def send(mesh: Mesh, site: str, hits: Sequence[hit_pb2.Hit]) -> collector_pb2.SendHitsResponse:
    request = collector_pb2.SendHitsRequest(batch=hit_pb2.HitBatch(ingest_key=mesh.key, hits=hits))
    return mesh.collector().SendHits(request, metadata=(("hitmesh-site", site),), timeout=60)


def ledger_of(mesh: Mesh, sent: Sent) -> Any:
    return one_json_line(mesh.cli("ledger", "--site", sent.short, "-o", "json"))


@pytest.fixture(scope="module")
def sent(mesh: Mesh, new_site: NewSite) -> Sent:
    site, now_ms = new_site("operations"), int(time.time() * 1_000)
    views = [page_view(f"view-{number}", now_ms - 3 + number, f"/{number}") for number in range(3)]
    first = send(mesh, site, [*views, page_view("ahead", now_ms + 2 * DAY_MS)])
    second = send(mesh, site, views[:1])
    assert (first.accepted_count, first.rejected_count, second.accepted_count) == (3, 1, 1)
    mesh.wait_visible(site, [receipt for receipt in (*first.receipts, *second.receipts) if receipt.topic == "hits"])
    found = Sent(site, now_ms)
    # The stream writes the ledger at most 10 s after the rows.
    eventually(lambda: ledger_of(mesh, found)["received"]["hits"] == 5, "the ledger knows all hits", 30.0)
    return found


@pytest.mark.timeout(120)
def test_every_hit_is_accounted_for(mesh: Mesh, sent: Sent) -> None:
    found = ledger_of(mesh, sent)
    assert found["imbalance"] == 0
    assert [found[name]["hits"] for name in ("received", "rejected", "accepted")] == [5, 1, 4]
    (day,) = found["days"]
    assert (day["utc_date"], day["settled"], day["accepted"]["hits"]) == (f"{sent.date}", False, 4)
    assert (day["counted"], day["duplicate"], day["excluded"], day["pending"]["hits"]) == (3, 1, 0, 0)


@pytest.mark.timeout(120)
def test_the_ledger_of_everything_balances(mesh: Mesh, sent: Sent) -> None:
    done = mesh.run("ledger", "-o", "json")
    found = one_json_line(done.out)
    assert (done.code, found["imbalance"]) == (0, 0), done.err
    assert sent.short in [site["site"] for site in found["sites"]]
    assert found["siteless"] is not None
    assert "(no site)" in mesh.cli("ledger", "-o", "table")


@pytest.mark.timeout(60)
def test_a_hit_is_traced_from_the_log_to_its_cell(mesh: Mesh, sent: Sent) -> None:
    found = one_json_line(mesh.cli("trace", "view-0", "--site", sent.short, "-o", "json"))
    first, copy = found["copies"]
    assert (first["verdict"], first["timeliness"], first["type"]) == ("COUNTED", "ON_TIME", "PAGE_VIEW")
    assert (copy["verdict"], copy["duplicate_of"]) == ("DUPLICATE", first["position"])
    assert (first["visit"]["hits"], first["visit"]["landing_page"]) == (3, "/0")
    assert (first["settled"], first["generation"]) == (False, None)
    neighbour = one_json_line(mesh.cli("trace", "view-1", "--site", sent.short, "-o", "json"))
    assert neighbour["copies"][0]["visit"]["id"] == first["visit"]["id"]


@pytest.mark.timeout(60)
def test_trace_distinguishes_a_refused_hit_from_a_hit_that_was_never_sent(mesh: Mesh, sent: Sent) -> None:
    found = one_json_line(mesh.cli("trace", "ahead", "--site", sent.short, "-o", "json"))
    assert found["copies"] == []
    assert [refusal["reason"] for refusal in found["refusals"]] == ["TIME_FUTURE"]
    missing = mesh.run("trace", "never-sent", "--site", sent.short, "-o", "json")
    assert missing.code == 69
    assert reason_of(one_json_line(missing.err)) == "NOT_FOUND"


@pytest.mark.timeout(60)
def test_operations_are_rest_too(mesh: Mesh, sent: Sent) -> None:
    rest = Rest(mesh)
    status, _, ledger = rest.get(f"/v1/{sent.site}/ledger?{in_query('first_utc_date', sent.date)}")
    assert (status, ledger["totals"]["received"]["hits"], ledger["imbalance"]) == (200, "5", "0")
    status, _, traced = rest.get(f"/v1/{sent.site}:traceHit?hit_id=view-0")
    assert (status, traced["copies"][0]["verdict"]) == (200, "HIT_VERDICT_COUNTED")
    status, _, drift = rest.get(f"/v1/{sent.site}/drift")
    assert (status, drift["days"]) == (200, [])
    status, _, siteless = Rest(mesh, for_operators=True).get("/v1/sitelessLedger")
    assert (status, siteless["totals"]["imbalance"]) == (200, "0")
    for path in (
        "/ledger?first_utc_date.year=2026",
        "/drift?last_utc_date.year=2026&last_utc_date.month=13&last_utc_date.day=1",
        f":traceHit?hit_id=x&{in_query('first_utc_date', dt.date(2000, 1, 1))}",
    ):
        status, _, error = rest.get(f"/v1/{sent.site}{path}")
        assert (status, reason_of(error)) == (400, "INVALID_FIELD"), path
    for path in ("/ledger", "/drift", ":traceHit?hit_id=view-0"):
        status, _, error = rest.get(f"/v1/merchants/demo/sites/never-made{path}")
        assert (status, reason_of(error)) == (404, "NOT_FOUND"), path


@pytest.mark.timeout(60)
def test_drift_of_a_site_without_settled_days_is_empty(mesh: Mesh, sent: Sent) -> None:
    assert one_json_line(mesh.cli("drift", "--site", sent.short, "-o", "json")) == []
    assert mesh.cli("drift", "--site", sent.short, "-o", "table")


@pytest.mark.timeout(60)
def test_todays_numbers_are_live_and_those_of_last_week_settled(mesh: Mesh, sent: Sent) -> None:
    question = reporter_pb2.RunReportRequest(
        site=sent.site,
        metrics=["hits", "visits"],
        time_range=reporter_pb2.TimeRange(last_days=8),
        time_grain=reporter_pb2.TIME_GRAIN_DAY,
    )
    reporter = mesh.reporter()

    def once_every_partition_has_a_heartbeat() -> reporter_pb2.RunReportResponse | None:
        found = reporter.RunReport(question, timeout=60)
        return found if found.rows[0].time_bucket.state == reporter_pb2.CELL_STATE_SETTLED else None

    found = eventually(once_every_partition_has_a_heartbeat, "last week is settled", 30.0)
    assert found.meta.freshness.state == reporter_pb2.FRESHNESS_STATE_LIVE
    states = [row.time_bucket.state for row in found.rows]
    assert states[-1] == reporter_pb2.CELL_STATE_LIVE
    assert states == sorted(states, reverse=True)
    assert [cell.int64_value for cell in found.rows[-1].cells] == [3, 1]
    fresh = one_json_line(mesh.cli("freshness", "--site", sent.short, "-o", "json"))
    assert (fresh["open_days"], fresh["dirty_days"]) == (1, 0)
    assert fresh["provisional_from"] <= f"{sent.date}T00:00:00Z"
